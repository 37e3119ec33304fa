"""What this machine can emulate: found out by trying, in a namespace that is gone again at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from shoal import allowance
from shoal.errors import LabError
from shoal_lab.cgroup import Cgroup, Hierarchy, hierarchy
from shoal_lab.clock import COMPILERS

TUN = Path("/dev/net/tun")
PROBE_TIMEOUT_S = 20.0


class Machine(msgspec.Struct, frozen=True):
    """What is there. ``lacks`` says what namespaces, rates or CPU shares lack, in words for the
    user; with any of them a lab runs on loopback. ``netem`` and ``tun`` are the two ways to delay;
    a C ``compiler`` is what clocks need to jump.
    """

    cores: float
    lacks: tuple[str, ...] = ()
    netem: bool = False
    tun: bool = False
    compiler: str | None = None

    @property
    def can_emulate(self) -> bool:
        """Whether hosts can be namespaces with rates and CPU shares."""
        return not self.lacks


def look() -> Machine:
    """Find out what this machine can emulate. Takes about 20 ms."""
    cores = allowance.cores()
    lacks = tuple(_lacks())
    if lacks:
        return Machine(cores=cores, lacks=lacks)
    name = f"shoal-probe-{os.getpid()}"
    made = _try("ip", "netns", "add", name)
    if made is not None:
        return Machine(cores=cores, lacks=(f"network namespaces ({made})",))
    try:
        inside = ("ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", "lo", "root")
        tbf = _try(*inside, "tbf", "rate", "1mbit", "burst", "2000", "limit", "30000")
        netem = _try(*inside, "netem", "delay", "1ms", "rate", "1mbit")
    finally:
        _try("ip", "netns", "del", name)
    return Machine(
        cores=cores,
        lacks=() if tbf is None else (f"the queueing discipline tbf of the kernel ({tbf})",),
        netem=netem is None,
        tun=TUN.exists(),
        compiler=next(filter(None, map(shutil.which, COMPILERS)), None),
    )


def _lacks() -> list[str]:
    if sys.platform != "linux":
        return ["Linux (network namespaces and cgroups)"]
    lacks = []
    if os.geteuid() != 0:
        lacks.append("root (run it with sudo)")
    tools = ("ip", "tc", "nsenter", "mount")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        lacks.append(f"{', '.join(missing)} (Debian, Ubuntu: apt install iproute2 util-linux)")
    found = hierarchy()
    if not isinstance(found, Hierarchy):
        lacks.append(found)
    elif not lacks:
        probe = Cgroup(found, f"probe-{os.getpid()}", "probe")
        try:
            probe.make()
            probe.remove()
        except LabError as error:
            lacks.append(f"control groups of our own ({error})")
    return lacks


def _try(*command: str) -> str | None:
    """None if the command works, otherwise the first line of what it says."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]

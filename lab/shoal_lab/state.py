"""Which labs are up on this machine, and what they made, so that nothing stays behind.

Each lab has a folder (root: under /run/shoal-lab) whose ``state.json`` is written before anything
is made. All that a lab makes has names that follow from it, so a lab whose owner is gone can be
cleaned up by anybody: the next ``up`` does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from shoal.errors import LabFileError, LabRightsError, LabStateError
from shoal_lab import wiring
from shoal_lab.cgroup import Cgroup, Hierarchy, hierarchy
from shoal_lab.namespace_host import unmount
from shoal_lab.network import network
from shoal_lab.spec import LabSpec, check

FILE = "state.json"
MAX_BYTES = 1 << 20


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A lab that is up, or was when its owner died.

    ``owner`` is the process whose end ends the lab, ``started`` when it began (numbers of
    processes are used again). ``keeper`` says that it does nothing else (``shoal lab up``).
    ``folder`` is where the lab file's traces lie. ``up_at_s`` is when it was up, on the machine's
    monotonic clock.
    """

    spec: LabSpec
    loopback: bool
    owner: int
    started: float
    keeper: bool
    folder: str
    relay_pid: int | None = None
    ways: dict[str, str] = {}
    ready: bool = False
    up_at_s: float = 0.0

    @property
    def name(self) -> str:
        """The lab."""
        return self.spec.name

    @property
    def alive(self) -> bool:
        """Whether its owner still is."""
        return _is_process(self.owner, self.started)


def base_folder() -> Path:
    """Where the folders of all labs of this user lie."""
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run/shoal-lab")
    return Path(tempfile.gettempdir()) / f"shoal-lab-{os.geteuid()}"


def lab_folder(name: str) -> Path:
    """The folder of one lab."""
    return base_folder() / name


def claim(state: State) -> Path:
    """Take the lab's name and folder; labs of dead owners are cleaned up first.

    LabStateError if a lab of this name is up.
    """
    with _lock():
        for other in labs():
            if not other.alive:
                clean(other)
            elif other.name == state.name:
                raise LabStateError(
                    f"lab {state.name} is up already (process {other.owner}); take it down first "
                    f"(shoal lab down {state.name}) or choose another name"
                )
        # What is there under our names without a readable state file is of no use to anybody.
        clean(state)
        folder = lab_folder(state.name)
        folder.mkdir(mode=0o700)
        try:
            write(state)
        except BaseException:
            _remove_folder(folder)
            raise
    return folder


def write(state: State) -> None:
    """Save ``state`` in its lab's folder."""
    file = lab_folder(state.name) / FILE
    new = file.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(file)


def read(name: str) -> State:
    """The state of the lab ``name``; LabStateError if there is none."""
    found = _read(lab_folder(name) / FILE)
    if found is None:
        raise LabStateError(f"lab {name} is not up; 'shoal lab status' lists those that are")
    return found


def labs() -> list[State]:
    """All labs with a state file, also those whose owner is gone."""
    base = base_folder()
    files = sorted(base.glob(f"*/{FILE}")) if base.is_dir() else []
    return [state for state in map(_read, files) if state is not None]


def clean(state: State) -> None:
    """Remove everything that a lab made. May be called for a lab that is half made or half gone,
    and twice. LabError if something cannot be removed."""
    spec = state.spec
    folder = lab_folder(spec.name)
    relay = _relay(state)
    if relay is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(relay, signal.SIGKILL)
    if not state.loopback:
        nodes = network(spec).addresses
        spaces = {wiring.space(spec.name, node) for node in nodes}
        where = hierarchy()
        if isinstance(where, Hierarchy):
            groups = [Cgroup(where, spec.name, host) for host in spec.hosts]
            for group in groups:
                group.kill()
            _end_strays(spaces)
            for group in groups:
                group.remove()
        wiring.remove([name for name in spaces if (Path(wiring.FOLDER) / name).exists()])
    else:
        _end_marked(spec.name)
    _remove_folder(folder)


def release(state: State) -> None:
    """Clean up, and let others have the name."""
    with _lock():
        clean(state)
    with contextlib.suppress(OSError):  # other labs are still there
        base_folder().rmdir()


def this_process() -> tuple[int, float]:
    """Number and start of this process, as ``owner`` and ``started``."""
    return os.getpid(), psutil.Process().create_time()


def _is_process(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # The start is computed from the clock of the system, which may have been set since.
        return abs(process.create_time() - started) < 2 and process.status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def _read(file: Path) -> State | None:
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        state = msgspec.json.decode(file.read_bytes(), type=State)
        check(state.spec)
    except (OSError, msgspec.DecodeError, LabFileError):
        return None
    return state if state.name == file.parent.name else None


def _relay(state: State) -> int | None:
    """The relay of a lab if it still runs."""
    if state.relay_pid is None:
        return None
    try:
        words = psutil.Process(state.relay_pid).cmdline()
    except psutil.Error:
        return None
    return state.relay_pid if str(lab_folder(state.name)) in " ".join(words) else None


def _end_strays(spaces: set[str]) -> None:
    """End processes that are in a namespace of the lab but left its cgroups."""
    inodes = set()
    for name in spaces:
        with contextlib.suppress(OSError):
            inodes.add((Path(wiring.FOLDER) / name).stat().st_ino)
    for pid in psutil.pids() if inodes else ():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino in inodes:
                os.kill(pid, signal.SIGKILL)


def _end_marked(name: str, within_s: float = 10.0) -> None:
    """End processes of a loopback lab: those with its name in their environment, but not us. They
    are waited for, as a busy machine takes its time to end them."""
    us = psutil.Process()
    user = us.uids().real
    spared = {us.pid, *(parent.pid for parent in us.parents())}
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid in spared or process.uids().real != user:
                continue
            if process.environ().get("SHOAL_LAB") == name:
                process.kill()
                killed.append(process)
    deadline = time.monotonic() + within_s
    while any(map(_lives, killed)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        for disk in folder.glob("*/disk"):
            unmount(disk)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(within_s: float = 30.0) -> Iterator[None]:
    """One process at a time makes and cleans labs."""
    base = base_folder()
    deadline = time.monotonic() + within_s
    while True:
        base.mkdir(mode=0o700, exist_ok=True)
        if base.stat().st_uid != os.geteuid():
            raise LabRightsError(f"{base} belongs to somebody else; remove it")
        file = os.open(base.with_name(f"{base.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            os.close(file)
            if time.monotonic() > deadline:
                raise LabStateError(
                    f"another lab has been coming up or going down for {within_s:g} s; try again"
                ) from None
            time.sleep(0.01)
    try:
        yield
    finally:
        os.close(file)

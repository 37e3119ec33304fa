"""Hosts in the lab, of equal shares or of stated ones, each with a link to each other, one of which
asks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import psutil

from shoal.errors import LabError
from shoal.model.dtypes import Array
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Power
from shoal.plan.plan import Playbook
from shoal.plan.playbook import save
from shoal_benchmarks.measure import resident_mib
from shoal_benchmarks.node.virtual import Busy, Single, shares
from shoal_benchmarks.split.asker import Asker
from shoal_benchmarks.split.driver import Measured, Order, Told
from shoal_lab import Fault, HostSpec, Lab, LabSpec, LinkSpec
from shoal_lab.player import Happening
from shoal_lab.spec import Mesh

GATE = "gate"
PORT = 7743
LEASE_MS = 1000


class Ground(msgspec.Struct, frozen=True):
    """What the hosts are like: ``workers`` of them beside the gateway, each with ``share`` of a
    core, links of ``mbit_s`` and ``delay_ms`` in each direction. ``computes``: the gateway too.
    ``power`` is what each is said to draw. ``times`` says how many times that share each worker has
    (empty: once), ``gate`` which share the gateway has (None: the same)."""

    workers: int
    share: float
    mbit_s: float
    delay_ms: float
    computes: bool = False
    power: Power | None = None
    times: tuple[float, ...] = ()
    gate: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The workers."""
        return tuple(f"worker-{number + 1}" for number in range(self.workers))

    def share_of(self, name: str) -> float:
        """Of a core, that a host has."""
        shares = dict(zip(self.names, (self.share * each for each in self.times), strict=False))
        own = self.share if self.gate is None else self.gate
        return own if name == GATE else shares.get(name, self.share)

    def _like(self, name: str) -> str:
        """What a host is like, as in a cluster file."""
        like, power = f"speed: {self.share_of(name)}", self.power
        if power is not None:
            watts = f"idle_w: {power.idle_w}, busy_w: {power.busy_w}"
            like += f", power: {{{watts}, transmit_w: {power.transmit_w}}}"
        return like

    def cluster(self, addresses: Sequence[str] = ()) -> Cluster:
        """As planning is told of it; deploying needs the addresses of the workers."""
        found = addresses or [""] * self.workers
        devices = ", ".join(
            f"{{name: {name}, {self._like(name)}{f', address: {at}' if at else ''}}}"
            for name, at in zip(self.names, found, strict=True)
        )
        return Cluster.from_yaml(
            f"devices: [{devices}]\n"
            f"gateway: {{name: {GATE}, compute: {str(self.computes).lower()}, "
            f"{self._like(GATE)}}}\n"
            f"links: {{default: {{mbit_s: {self.mbit_s}, rtt_ms: {2 * self.delay_ms}}}}}\n"
            f"lease_ms: {LEASE_MS}\n"
        )


class Followed(NamedTuple):
    """What became of each request, and what was done to the hosts since ``began_s`` (monotonic
    clock); how many milliseconds of a core of this machine each host spent on a request; and, at a
    rate, how many were ``asked``."""

    told: tuple[Told, ...]
    began_s: float
    happenings: tuple[Happening, ...]
    spent_ms: Mapping[str, float] = MappingProxyType({})
    asked: int = 0


class Equals:
    """The lab, in a ``with`` block; its files are in ``folder``. Workers listen at ``port``."""

    def __init__(
        self,
        ground: Ground,
        folder: Path,
        *,
        name: str = "equals",
        port: int = PORT,
        loopback: bool = False,
    ) -> None:
        self.ground = ground
        self.store = PartStore(folder / "store")
        self._port = port
        self._folder = folder
        self._stack = ExitStack()
        self._asker: Asker | None = None
        self._network = ""
        link = LinkSpec(mbit=ground.mbit_s, delay_ms=ground.delay_ms)
        hosts = {each: HostSpec(share=ground.share_of(each)) for each in (GATE, *ground.names)}
        spec = LabSpec(name=name, hosts=hosts, topology=Mesh(link=link))
        self._lab = Lab(spec, loopback=loopback, logs=folder)

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            begun.enter_context(self._lab)
            begun.callback(self._end)
            for name in self.ground.names:
                self._start(name)
            self._stack = begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def serve(
        self, playbook: Playbook, images: Sequence[Array], labels: Sequence[int] = ()
    ) -> None:
        """Serve a playbook whose parts are in the store; these images are asked for, whose classes
        are ``labels``. One of another network has a service of its own."""
        if self._asker is None or self._asker.ended or playbook.network != self._network:
            self._end()
            self._asker = self._begin(images, labels)
            self._network = playbook.network
        path = self._folder / f"{playbook.id}.json"
        save(playbook, path)
        self._tell(Order(playbook=str(path)))

    def busy(self, seconds: float, window: int) -> Busy:
        """As in virtual time (:meth:`shoal_benchmarks.node.virtual.Virtual.busy`)."""
        self._tell(Order(seconds=seconds / 2, few=True, window=window))
        before_s = self._cpu_s()
        found = self._tell(Order(seconds=seconds, few=True, window=window))
        rate = found.images / max(found.seconds, 1e-9)
        return Busy(
            rate,
            self._spent_ms(before_s, found.answered),
            found.plans,
            found.agreed / found.answered,
            found.busy_ms,
            shares(found.tasks),
            found.handed / found.answered,
        )

    def single(self, seconds: float) -> Single:
        """As in virtual time (:meth:`shoal_benchmarks.node.virtual.Virtual.single`)."""
        self._tell(Order(seconds=seconds / 2, follow=True))
        before_s = self._cpu_s()
        told = self._tell(Order(seconds=seconds, follow=True)).told
        spent_ms = self._spent_ms(before_s, len(told))
        if any(one.lost for one in told):
            raise LabError("a request was lost: nothing is to be learned from this")
        p50_ms = statistics.median((one.answered_s - one.asked_s) * 1e3 for one in told)
        return Single(p50_ms, spent_ms, dict(Counter(one.plan for one in told)))

    def pour(
        self, rate: float, seconds: float, budget_ms: float, faults: Sequence[Fault] = ()
    ) -> Followed:
        """Ask ``rate`` times in a second while faults happen. LabError for a fault that could not
        be done."""
        return self._while(faults, Order(seconds=seconds, rate=rate, budget_ms=budget_ms))

    def follow(self, seconds: float, faults: Sequence[Fault] = ()) -> Followed:
        """Ask one by one while faults happen. LabError for a fault that could not be done."""
        return self._while(faults, Order(seconds=seconds, follow=True))

    def _while(self, faults: Sequence[Fault], order: Order) -> Followed:
        before_s = self._cpu_s()
        player = self._lab.play(faults)
        began_s = time.monotonic() - player.now_s
        found = self._tell(order)
        told = found.told
        spent_ms = self._spent_ms(before_s, len(told))
        player.wait(order.seconds)
        for happening in player.happenings:
            if happening.error is not None:
                raise LabError(f"{happening.text}: {happening.error}")
        return Followed(told, began_s, tuple(player.happenings), spent_ms, found.asked)

    def resident_mib(self) -> dict[str, float]:
        """Resident memory of each host's processes, and of those that they started."""
        return {host.name: sum(map(family_mib, host.processes)) for host in self._lab.hosts}

    def _begin(self, images: Sequence[Array], labels: Sequence[int]) -> Asker:
        whole, file = np.concatenate(list(images)), self._folder / "images.npz"
        np.savez(file, images=whole, expected=list(labels) or [0] * len(whole))
        cluster = self._folder / "cluster.yaml"
        addresses = [self._address(name) for name in self.ground.names]
        cluster.write_text(self.ground.cluster(addresses).to_yaml())
        log = self._folder / "driver.log"
        return Asker(self._lab.host(GATE), cluster, self.store.root, file, log)

    def _end(self) -> None:
        if self._asker is not None:
            self._asker.end()

    def _start(self, name: str) -> None:
        options = {
            "name": name,
            "listen": [self._address(name)],
            "store": str(self._folder / name),
            "lease_ms": LEASE_MS,
            "data_port": 0,
        }
        argv = [sys.executable, "-m", "shoal.runtime.worker"]
        command = [*argv, msgspec.json.encode(options).decode()]
        self._lab.host(name).spawn(command, stdin=subprocess.PIPE)

    def _address(self, name: str) -> str:
        return f"tcp/{self._lab.host(name).address}:{self._port}"

    def _cpu_s(self) -> dict[str, float]:
        return {host.name: host.usage().cpu_s for host in self._lab.hosts}

    def _spent_ms(self, before_s: dict[str, float], images: int) -> dict[str, float]:
        """Of each host for an image."""
        now_s = self._cpu_s()
        return {name: (now_s[name] - before_s[name]) / max(1, images) * 1e3 for name in now_s}

    def _tell(self, order: Order) -> Measured:
        if self._asker is None:
            raise LabError("nothing is served yet")
        return self._asker.tell(order)


def family_mib(process: subprocess.Popen[Any]) -> float:
    """Resident memory of a process and its children; 0 of one that has ended."""
    with suppress(psutil.Error):
        own = psutil.Process(process.pid)
        return sum(resident_mib(each.pid) for each in (own, *own.children(recursive=True)))
    return 0.0

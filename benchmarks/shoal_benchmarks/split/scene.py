"""A device and a server in a lab, the link between them, and what measures there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from shoal.errors import LabError
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.playbook import save
from shoal_benchmarks.split.asker import Asker
from shoal_benchmarks.split.driver import WINDOW, Measured, Order, Told
from shoal_benchmarks.split.systems import System
from shoal_lab import HostSpec, Lab, LabSpec, LinkSpec
from shoal_lab.player import Player
from shoal_lab.spec import Star
from shoal_lab.trace import Trace

DEVICE, SERVER = "device", "server"
PORT = 7741
QUICK_SHARE = 0.7
"""The device's share while nothing is measured: starting takes seconds of a whole core."""
SERVER_SHARE = 1.0
DELAY_MS = 1.0
FASTEST_MBIT = 100.0
LEASE_MS = 1000
"""As advised for links below 5 Mbit/s (docs/clusters.md)."""


class Result(msgspec.Struct, frozen=True):
    """What a system did at a point: images/s, single requests; bytes on the wire, CPU time of the
    device's host and time of the server for an image; agreement with the whole network."""

    images_per_s: float
    p50_ms: float
    p99_ms: float
    bytes_per_image: float
    device_ms: float
    server_ms: float
    agreement: float
    plans: dict[str, int]


class Scene:
    """The lab, in a ``with`` block. ``images`` are asked for, ``expected`` the whole network's
    classes."""

    def __init__(self, folder: Path, images: Sequence[Any], expected: Sequence[int]) -> None:
        self.folder = folder
        self.store = PartStore(folder / "store")
        self._server_store = PartStore(folder / "server")
        hosts = {
            DEVICE: HostSpec(share=QUICK_SHARE),
            SERVER: HostSpec(share=SERVER_SHARE),
        }
        link = LinkSpec(mbit=FASTEST_MBIT, delay_ms=DELAY_MS / 2)
        spec = LabSpec(name="split", hosts=hosts, topology=Star(link=link))
        self._lab = Lab(spec, logs=folder)
        self._stack = ExitStack()
        self._asker: Asker | None = None
        np.savez(folder / "images.npz", images=np.concatenate(images), expected=list(expected))

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            begun.enter_context(self._lab)
            begun.callback(self._end_asker)
            self._start_server()
            self._asker = self._start_asker()
            self._stack = begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cluster(self, share: float, mbit_s: float) -> Cluster:
        """The cluster as planning is told of it."""
        address = f"tcp/{self._lab.host(SERVER).address}:{PORT}"
        return Cluster.from_yaml(
            f"devices: [{{name: {SERVER}, address: {address}, speed: {SERVER_SHARE}}}]\n"
            f"gateway: {{name: {DEVICE}, compute: true, speed: {share}}}\n"
            f"links: {{default: {{mbit_s: {mbit_s}, rtt_ms: {2 * DELAY_MS}}}}}\n"
            f"lease_ms: {LEASE_MS}\n"
        )

    def link(self, mbit_s: float | None) -> None:
        """Give the device's link this rate; None: the fastest."""
        for cable in self._lab.cables:
            if DEVICE in cable.wire.ends:
                cable.change(mbit=mbit_s)

    def share(self, share: float) -> None:
        """Give the device this share of a core."""
        self._lab.host(DEVICE).slow(min(1.0, share / QUICK_SHARE))

    def serve(self, system: System) -> None:
        """Serve a system on both hosts. Parts are laid where the hosts look for them, and the
        device is quick meanwhile: how long it takes to begin is not what is measured."""
        self.share(QUICK_SHARE)
        for part in system.parts.values():
            for store in (self.store, self._server_store):
                if store.missing(part.hash):
                    store.add_part(part)
        path = self.folder / "playbook.json"
        save(system.playbook, path)
        if self._asker is None or self._asker.ended:
            self._asker = self._start_asker()
        self._tell(Order(playbook=str(path)))

    def measure(
        self, share: float, seconds: float, together: int = 1, window: int = WINDOW
    ) -> Result:
        """Measure what is served, on this device and the link as it is, with so many images in a
        request and requests under way."""
        self.share(share)
        # A few requests teach the policy how quick device and link are.
        self._tell(Order(seconds=seconds / 2, few=True, together=together, window=window))
        before = self._lab.host(DEVICE).usage()
        measured = self._tell(Order(seconds=seconds, together=together, window=window))
        after = self._lab.host(DEVICE).usage()
        answered = max(1, measured.answered)
        times = measured.latencies_ms or (float("nan"),)
        return Result(
            images_per_s=measured.images / max(measured.seconds, 1e-9),
            p50_ms=float(np.percentile(times, 50)),
            p99_ms=float(np.percentile(times, 99)),
            bytes_per_image=(after.sent_bytes - before.sent_bytes) / answered,
            device_ms=(after.cpu_s - before.cpu_s) * 1e3 / answered,
            server_ms=measured.server_ms / answered,
            agreement=measured.agreed / answered,
            plans=measured.plans,
        )

    def follow(
        self, share: float, changes: Sequence[tuple[float, Callable[[], None]]], seconds: float
    ) -> tuple[list[float], tuple[Told, ...]]:
        """Ask one by one while ``changes`` happen, each so many seconds after the begin; when they
        did (monotonic clock), and all requests."""
        self.share(share)
        began = time.monotonic()
        done: list[float] = []

        def change() -> None:
            for at_s, happen in changes:
                time.sleep(max(0.0, began + at_s - time.monotonic()))
                happen()
                done.append(time.monotonic())

        changing = threading.Thread(target=change, name="changes")
        changing.start()
        try:
            measured = self._tell(Order(seconds=seconds, follow=True))
        finally:
            changing.join()
        return done, measured.told

    def cut(self, is_cut: bool) -> None:
        """Let nothing pass the device's link, or all again."""
        for cable in self._lab.cables:
            if DEVICE in cable.wire.ends:
                cable.change(cut=is_cut)

    @contextmanager
    def trace(self, trace: Trace) -> Iterator[None]:
        """Let the device's link follow a trace."""
        cables = [cable for cable in self._lab.cables if DEVICE in cable.wire.ends]
        self.link(None)
        player = Player(self._lab, traces=[(cable, trace) for cable in cables]).start()
        try:
            yield
        finally:
            player.stop()
            for cable in cables:
                cable.change(sample=None)

    def _start_server(self) -> None:
        server = self._lab.host(SERVER)
        address = f"tcp/{server.address}:{PORT}"
        options = {
            "name": SERVER,
            "listen": [address],
            "store": str(self.folder / "server"),
            "lease_ms": LEASE_MS,
        }
        argv = [sys.executable, "-m", "shoal_benchmarks.split.server"]
        server.spawn([*argv, msgspec.json.encode(options).decode()], stdin=subprocess.PIPE)

    def _start_asker(self) -> Asker:
        cluster = self.folder / "cluster.yaml"
        cluster.write_text(self.cluster(1.0, FASTEST_MBIT).to_yaml())
        images, log = self.folder / "images.npz", self.folder / "driver.log"
        return Asker(self._lab.host(DEVICE), cluster, self.store.root, images, log)

    def _tell(self, order: Order) -> Measured:
        if self._asker is None:
            raise LabError("the device of the bench was not started")
        return self._asker.tell(order)

    def _end_asker(self) -> None:
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.end()


def merged(results: Sequence[Result]) -> Result:
    """Rounds of one system at one point as one: medians."""
    middle = {
        field: float(np.median([getattr(result, field) for result in results]))
        for field in Result.__struct_fields__
        if field != "plans"
    }
    plans: Counter[str] = Counter()
    for result in results:
        plans.update(result.plans)
    return Result(**middle, plans=dict(plans))


def geometric_mean(values: Mapping[object, float]) -> float:
    """Of the values of a mapping."""
    return float(np.exp(np.mean(np.log(list(values.values())))))

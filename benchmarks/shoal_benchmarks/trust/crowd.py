"""Two workers within this process that answer for a network as a service does: planned, cut,
asked by several at once, and by several in one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from shoal.errors import InputError, ModelError, PlanError, ShoalError
from shoal.model.engine import Engine
from shoal.model.network import Network
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Device
from shoal.plan.plan import Playbook
from shoal.plan.playbook import playbook_id
from shoal.plan.profiles import Profiles
from shoal.runtime.answer import Answer
from shoal.runtime.deploy import deploy
from shoal.runtime.node import Node
from shoal.runtime.service import Service
from shoal.strategies.making import make
from shoal_benchmarks.trust.draft import Array
from shoal_lab.inproc import InprocMesh

WORKERS = ("one", "two")
BATCH = 8
"""Images that every stage of a playbook is told to run at once, as if that had paid."""
WAIT_MS = 50.0
"""How long a stage waits for others."""
TOGETHER = 4
_RATIO = {4: 0.5, 8: 0.4}


@dataclass(frozen=True)
class Even:
    """A profile in which each node takes a millisecond."""

    nodes: int

    @property
    def node_ms(self) -> tuple[float, ...]:
        return (1.0,) * self.nodes

    def range_ms(self, start: int, end: int) -> float:
        return float(end - start)

    def range_memory(self, start: int, end: int) -> int:
        return 1_000_000


@dataclass(frozen=True)
class Told:
    """What a service answered: to each image alone in its request, and to several in one (None:
    it refused that); None for an image that it had no answer for. ``most`` is the largest number
    of images that a stage ran at once."""

    alone: list[Answer | None]
    together: list[Answer | None] | None
    most: int


class Crowd:
    """The workers; use it in a ``with`` block."""

    def __init__(self, folder: str | Path) -> None:
        self._mesh = InprocMesh()
        self._store = PartStore(folder)
        self._nodes = [Node(self._mesh(name), self._store, Engine()) for name in WORKERS]
        self._cluster = Cluster(devices=tuple(Device(name=name) for name in WORKERS))
        for node in self._nodes:
            node.start()

    def ask(self, network: Network, images: Sequence[Mapping[str, Array]]) -> Told:
        """Serve a network in two stages, or in one where it has no cut, and ask for each image."""
        with self._serve(self._planned(network)) as service:
            alone = [_answer(future) for future in [service.submit(feeds) for feeds in images]]
            together = _together(service, images)
        most = max((step.batch for answer in alone if answer for step in answer.trace), default=1)
        return Told(alone, together, most)

    def _planned(self, network: Network) -> Playbook:
        """A playbook whose every stage is told to run several images at once: it is up to what is
        known of the parts whether that is done."""
        facts = Profiles.scaled(self._cluster, Even(len(network.nodes)), batch_ratio=_RATIO)
        try:
            built = make("pipeline", network, self._cluster, facts, store=self._store, stages=2)
        except PlanError:
            built = make("replicas", network, self._cluster, facts, store=self._store)
        plans = tuple(
            msgspec.structs.replace(
                plan,
                stages=tuple(
                    msgspec.structs.replace(stage, batch=BATCH, batch_wait_ms=WAIT_MS)
                    for stage in plan.stages
                ),
            )
            for plan in built.playbook.plans
        )
        book = msgspec.structs.replace(built.playbook, plans=plans)
        return msgspec.structs.replace(book, id=playbook_id(book))

    def _serve(self, playbook: Playbook) -> Service:
        return deploy(
            playbook, self._cluster, store=self._store, link=self._mesh("gateway"), wait_s=10.0
        )

    def close(self) -> None:
        """Stop the workers."""
        for node in self._nodes:
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _together(
    service: Service, images: Sequence[Mapping[str, Array]]
) -> list[Answer | None] | None:
    asked: list[Future[Answer]] = []
    try:
        for start in range(0, len(images), TOGETHER):
            asked += service.submit_together(images[start : start + TOGETHER])
    except InputError:
        return None
    return [_answer(future) for future in asked]


def _answer(future: Future[Answer]) -> Answer | None:
    try:
        return future.result()
    except ShoalError:
        return None


def loaded(model: bytes) -> Network | None:
    """The network; None where Shoal refuses it."""
    from shoal.model.network import load

    try:
        return load(model, name="generated")
    except ModelError:
        return None

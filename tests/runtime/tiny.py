"""A tiny network, playbooks for it, and nodes that talk within this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

import shoal
from shoal.core.messages import DeviceInfo
from shoal.model.engine import Engine
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Device
from shoal.plan.plan import Forecast, PartInfo, Plan, Playbook, PolicySpec, Stage
from shoal.plan.playbook import make_playbook, playbook_id
from shoal.runtime.deploy import deploy
from shoal.runtime.node import Node
from shoal.runtime.service import Service
from shoal_lab.inproc import InprocMesh

WIDTH = 8
PATIENT_MS = 60_000.0
"""The deadline of requests where no other is named."""


@cache
def network(layers: int = 4, width: int = WIDTH, seed: int = 0) -> Network:
    """``layers`` times tanh(x W), from ``x`` to ``y``."""
    random = np.random.default_rng(seed)
    nodes, weights, here = [], [], "x"
    for k in range(layers):
        there = "y" if k == layers - 1 else f"t{k}"
        matrix = random.standard_normal((width, width)).astype(np.float32) / width**0.5
        weights.append(numpy_helper.from_array(matrix, f"w{k}"))
        nodes.append(helper.make_node("MatMul", [here, f"w{k}"], [f"m{k}"]))
        nodes.append(helper.make_node("Tanh", [f"m{k}"], [there]))
        here = there
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        weights,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return shoal.load(model.SerializeToString(), name="tiny")


def images(count: int, seed: int = 1, width: int = WIDTH) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal((1, width)).astype(np.float32) for _ in range(count)]


def expected(net: Network, image: np.ndarray) -> np.ndarray:
    return net.run({"x": image})["y"]


def halves(net: Network) -> list[Part]:
    return net.split([net.cuts[len(net.cuts) // 2]])


def stage(part: Part, *devices: str, **settings: object) -> Stage:
    return Stage(
        parts=dict.fromkeys(devices, part.hash),
        inputs=part.inputs,
        outputs=part.outputs,
        **settings,
    )


def plan(name: str, *stages: Stage, accuracy: float = 1.0, ms: float = 1.0) -> Plan:
    times = (ms,) * len(stages)
    forecast = Forecast(ms * len(stages), 1e3 / ms, accuracy, stage_ms=times)
    return Plan(name, stages, forecast, tolerance=None if accuracy < 1 else 1e-4)


def book(net: Network, parts: Sequence[Part], *plans: Plan, policy: str = "preferred") -> Playbook:
    return make_playbook(
        network=net.name,
        strategy="by hand",
        policy=PolicySpec(policy),
        plans=plans,
        parts={part.hash: part.info for part in parts},
        inputs=net.inputs,
        outputs=net.outputs,
        stacks=net.stacks,
    )


def with_parts(playbook: Playbook, parts: Mapping[str, PartInfo]) -> Playbook:
    """The same plans with other words about the parts."""
    changed = msgspec.structs.replace(playbook, parts=dict(parts))
    return msgspec.structs.replace(changed, id=playbook_id(changed))


def pipeline(net: Network, first: str = "a", second: str = "b") -> Playbook:
    """The halves on two devices; each alone as a spare."""
    parts = halves(net)
    (whole,) = net.split([])
    return book(
        net,
        [*parts, whole],
        plan("both", stage(parts[0], first), stage(parts[1], second)),
        plan(f"only {first}", stage(whole, first)),
        plan(f"only {second}", stage(whole, second)),
    )


def anywhere(net: Network, *devices: str) -> Playbook:
    """The whole network on any of some devices."""
    (whole,) = net.split([])
    return book(net, [whole], plan("whole", stage(whole, *devices)), policy="replicas")


def fill(store: PartStore, net: Network) -> PartStore:
    """Put everything in that the playbooks above need."""
    for part in (*halves(net), *net.split([])):
        store.add_part(part)
    return store


def device_info() -> DeviceInfo:
    return DeviceInfo("peer", "1")


class SlowEngine(Engine):
    """An engine whose runs take ``seconds`` longer, or wait for ``gate`` where it is closed."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()
        self.runs = 0
        self.spoil: Callable[[Mapping[str, np.ndarray]], None] = lambda feeds: None

    def load(self, graph, blobs, **settings):
        session = super().load(graph, blobs, **settings)
        really_run = session.run

        def run(feeds, outputs=None):
            self.runs += 1
            self.spoil(feeds)
            time.sleep(self.seconds)
            assert self.gate.wait(60)
            return really_run(feeds, outputs)

        session.run = run
        return session


class Crowd:
    """Workers on a mesh within this process, and services that use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mesh = InprocMesh()
        self.store = PartStore(folder / "gateway")
        self.nodes: dict[str, Node] = {}
        self.services: list[Service] = []

    def start(
        self,
        *names: str,
        memory: int = 0,
        engine: Engine | None = None,
        store: PartStore | None = None,
        record: bool = False,
    ) -> Node:
        """Start (or restart) workers; the last one. ``record``: what they do, each to a file of its
        name."""
        for name in names:
            self.nodes[name] = Node(
                self.mesh(name),
                store or PartStore(self.folder / name),
                engine or Engine(),
                memory_limit=memory,
                record=self.recording(name) if record else None,
            )
            self.nodes[name].start()
        return self.nodes[names[-1]]

    def recording(self, name: str) -> Path:
        """The file for what a node does."""
        return self.folder / f"{name}.rec"

    def kill(self, name: str) -> None:
        """Without a goodbye."""
        self.mesh.kill(name)
        self.nodes.pop(name).close()

    def serve(
        self, playbook: Playbook, name: str = "gateway", wait_s: float = 30.0, **how
    ) -> Service:
        """A gateway of its own for ``playbook``, with patience: the machine may be busy."""
        how.setdefault("deadline_ms", PATIENT_MS)
        devices = sorted({*self.nodes, *playbook.devices} - {"gateway"})
        cluster = Cluster(devices=tuple(Device(name=device) for device in devices))
        service = deploy(
            playbook, cluster, store=self.store, link=self.mesh(name), wait_s=wait_s, **how
        )
        self.services.append(service)
        return service

    def close(self) -> None:
        for service in self.services:
            service.close()
        for node in self.nodes.values():
            node.close()


def soon(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.005)

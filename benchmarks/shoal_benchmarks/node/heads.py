"""Bytes of the heads of all messages of one image: what it costs beside its tensors.

The messages are those that the nodes send in the simulator. Each is encoded as it would be for the
wire, with the head of a frame that holds one tensor, the incarnation of a gateway that runs, and
the number of its millionth request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from shoal.codec.frame import FrameHead, pack
from shoal.core.actions import NodeAction, Send
from shoal.core.events import NodeEvent
from shoal.core.messages import Answered, Task
from shoal.mesh.frames import HEADER_BYTES
from shoal.mesh.names import new_incarnation
from shoal.plan.plan import Playbook
from shoal.runtime import wire
from shoal.sim.engine import Token
from shoal.sim.node import Node
from shoal.sim.world import World
from shoal_benchmarks.node.books import book, gathered, line
from shoal_benchmarks.row import Row, row

TENSORS = ("getitem_138", "/features/features.7/conv/conv.1/Conv_output_0")
"""Names as PyTorch's exporter gives them now, and as it did before."""
DEVICES, STAGES = 8, 13
STRETCHES = 4
NUMBER = 1_000_000
GATEWAY = "gateway"


def rows(quick: bool) -> Iterator[Row]:
    """A plan of stages that all devices run together, and a pipeline."""
    names = [f"worker-{number + 1}" for number in range(DEVICES)]
    gathers, passes = book(gathered(names, STAGES)), book(line(names[:STRETCHES]))
    for tensor in TENSORS:
        sizes = heads_of(gathers, tensor)
        what = f"{STAGES} gathered stages on {DEVICES} devices, tensors like {tensor}"
        yield from rows_of(what, sizes, "<= 100")
    yield from rows_of(f"a pipeline of {STRETCHES} stages", heads_of(passes, TENSORS[0]))


def rows_of(what: str, sizes: Sequence[int], goal: str | None = None) -> Iterator[Row]:
    """The rows of one plan, by the bytes of each head."""
    yield row(f"heads of one image, {what}", sum(sizes) / 1e3, "kB", goal)
    framed = sum(sizes) + HEADER_BYTES * len(sizes)
    yield row(f"heads of one image and the frames around them, {what}", framed / 1e3, "kB")
    yield row(f"messages of one image, {what}", len(sizes), "messages")
    yield row(f"largest head, {what}", max(sizes), "bytes")


def heads_of(playbook: Playbook, tensor: str) -> list[int]:
    """Bytes of the head of each message that one image needs. What tells devices that requests are
    over is not among them: each second of a stream there is one for each device."""
    world = World()
    world.add(GATEWAY, gateway={})
    for name in playbook.devices:
        world.add(name)
    world.run(1.0)
    world.adopt(GATEWAY, playbook)
    gateway = world.gateway(GATEWAY)
    if not world.run_until(lambda: not gateway.unready(playbook)):
        raise AssertionError("the devices of the simulator did not load their parts")
    world.run(1.0)
    sizes: list[int] = []
    incarnation, frame = new_incarnation(), _frame(tensor)

    def watch(node: Node, event: NodeEvent, actions: Sequence[NodeAction]) -> None:
        sizes.extend(
            len(wire.encode(_as_told(action.message, incarnation), frame))
            for action in actions
            if isinstance(action, Send) and isinstance(action.message, Task | Answered)
        )

    world.watch = watch
    ticket = world.submit(GATEWAY, Token(("input",), 1000))
    if not world.run_until(lambda: bool(world.replies[ticket])):
        raise AssertionError("the devices of the simulator did not answer")
    return sizes


def _as_told(message: Task | Answered, incarnation: str) -> Task | Answered:
    """A message as in a service that has run for a while."""
    told = msgspec.structs.replace(message, incarnation=incarnation, number=NUMBER)
    return msgspec.structs.replace(told, settled=NUMBER - 8) if isinstance(told, Task) else told


def _frame(tensor: str) -> FrameHead:
    """That of a slice: eight channels of 28 x 28."""
    return pack({tensor: np.random.default_rng(0).random((1, 8, 28, 28), np.float32)}).head

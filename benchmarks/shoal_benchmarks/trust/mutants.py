"""Parts with one weight set to zero, and how many of them a proof catches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal.errors import ProofError, ShoalError

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.model.part import Part

PARTS = 4
WIDE = 3
"""Images of each kind in the wide set of inputs."""

Feeds = dict[str, np.ndarray[Any, Any]]


@dataclass
class Count:
    """What became of the weights of a network. ``idle`` are those among the missed that change
    no bit of any output, for all inputs of the wide set."""

    caught: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """All that hold anything but zeros."""
        return len(self.caught) + len(self.missed)

    @property
    def share(self) -> float:
        """The share that was caught of those that matter, in percent."""
        return 100 * len(self.caught) / max(1, self.tried - len(self.idle))


def count(network: Network, more: Sequence[Feeds] = ()) -> Count:
    """Cut ``network`` into :data:`PARTS`, set each weight of each part to zero in turn, and see
    whether the proof refuses the parts. Weights that are zero anyway are left out. ``more`` are
    inputs of the kind that it was trained on, for the wide set on which a weight that was missed
    must change a bit of an output, or it is idle.

    Raises ProofError when the parts are refused as they are.
    """
    parts = network.split(places(network), prove=False)
    network.evidence.check(parts, network.name)
    found, feeds = Count(), wide(network, more)
    expected = _given(parts, feeds)
    for index, part in enumerate(parts):
        for name, mutant in mutants(part):
            wrong = [*parts[:index], mutant, *parts[index + 1 :]]
            try:
                network.evidence.check(wrong, network.name)
            except ProofError:
                found.caught.append(name)
                continue
            found.missed.append(name)
            if _given(wrong, feeds) == expected:
                found.idle.append(name)
    return found


def _given(parts: Sequence[Part], feeds: Sequence[Feeds]) -> list[dict[str, bytes]]:
    """The outputs of parts in sequence, bit for bit."""
    tensors = list(feeds)
    for part in parts:
        session = part.session()
        tensors = [part.run_on(session, each) for each in tensors]
    return [{name: array.tobytes() for name, array in each.items()} for each in tensors]


def places(network: Network) -> list[int]:
    """The cuts nearest to an equal number of nodes in each part."""
    if not network.cuts:
        return []
    wanted = [len(network.nodes) * k // PARTS for k in range(1, PARTS)]
    return sorted({min(network.cuts, key=lambda cut: abs(cut.at - at)).at for at in wanted})


def wide(network: Network, more: Sequence[Feeds]) -> list[Feeds]:
    """Inputs of every kind that runs, and ``more``."""
    found = []
    for kind in range(len(network.evidence.source.kinds)):
        try:
            for seed in range(WIDE):
                feeds = network.evidence.source.draw(kind, [seed])
                network.run(feeds)
                found.append(feeds)
        except ShoalError:  # indices that are out of range, say
            continue
    return [*found, *more]


def mutants(part: Part) -> Iterator[tuple[str, Part]]:
    """The part with each of its weights that is not zero set to zero, and the weight's name."""
    import onnx
    from onnx import numpy_helper

    from shoal.model.wire import externals

    outside = {weight.name: weight for weight in externals(part.graph)}
    model = onnx.ModelProto.FromString(part.graph)
    for index, tensor in enumerate(model.graph.initializer):
        changed = onnx.ModelProto.FromString(part.graph)
        blobs = dict(part.blobs)
        weight = outside.get(tensor.name)
        if weight is not None:
            if not np.frombuffer(part.blobs[weight.blob], np.uint8).any():
                continue
            # Under a name of its own: other weights may have the same bytes.
            blobs[ZEROS] = bytes(weight.nbytes)
            for entry in changed.graph.initializer[index].external_data:
                entry.value = entry.value.replace(weight.blob, ZEROS)
        else:
            array = numpy_helper.to_array(tensor)
            if not array.any():
                continue
            zeros = numpy_helper.from_array(np.zeros_like(array), tensor.name)
            changed.graph.initializer[index].CopyFrom(zeros)
        yield tensor.name, _part(part, changed.SerializeToString(), blobs)


ZEROS = "0" * 64


def _part(part: Part, graph: bytes, blobs: dict[str, Any]) -> Part:
    from shoal.model.part import Part as Made

    inputs, outputs = (
        tuple(part.specs[name] for name in names) for names in (part.inputs, part.outputs)
    )
    return Made(graph, blobs, inputs, outputs, part.range, lambda: False, part.memory)

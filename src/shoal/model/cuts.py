"""Where a network can be cut. Pure: names of tensors in, cuts out.

A cut lies between two nodes of the topological order: everything before it is one side. What
crosses are all tensors that exist before it and are needed after it, network outputs that are
already made included. A cut is valid if every one of them can travel: a tensor of a type and a
shape that are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from shoal.model.spec import TensorSpec


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A valid cut: ``at`` nodes lie before it, ``tensors`` cross it, ``bytes`` for one image."""

    at: int
    tensors: tuple[TensorSpec, ...]
    bytes: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that cross."""
        return tuple(tensor.name for tensor in self.tensors)


class Tensor(msgspec.Struct, frozen=True):
    """A tensor that can travel: its spec, and its bytes for one image."""

    spec: TensorSpec
    bytes: int


class Step(msgspec.Struct, frozen=True):
    """A node as cuts see it: the tensors it reads (weights left out) and makes."""

    reads: tuple[str, ...]
    makes: tuple[str, ...]


def crossings(
    steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str]
) -> list[tuple[str, ...]]:
    """For each position 0..len(steps), the tensors that cross there, in the order they are made."""
    end = len(steps)
    last_use: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name in step.reads:
            last_use[name] = index
    for name in outputs:
        last_use[name] = end
    live = [name for name in dict.fromkeys(inputs) if name in last_use]
    found = [tuple(live)]
    for index, step in enumerate(steps):
        live = [name for name in live if last_use[name] > index]
        live += [name for name in step.makes if last_use.get(name, -1) > index]
        found.append(tuple(live))
    return found


def find_cuts(
    steps: Sequence[Step],
    inputs: Sequence[str],
    outputs: Sequence[str],
    tensors: Mapping[str, Tensor],
) -> tuple[Cut, ...]:
    """All valid cuts inside the network, in topological order.

    ``tensors`` holds the tensors that can travel. Positions 0 and ``len(steps)`` are no cuts.
    """
    cuts = []
    for at, names in enumerate(crossings(steps, inputs, outputs)):
        if 0 < at < len(steps) and all(name in tensors for name in names):
            crossing = [tensors[name] for name in names]
            specs = tuple(tensor.spec for tensor in crossing)
            cuts.append(Cut(at, specs, sum(tensor.bytes for tensor in crossing)))
    return tuple(cuts)

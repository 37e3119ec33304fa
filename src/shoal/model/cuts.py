"""Where a network can be cut. Pure: names of tensors in, cuts out.

A cut lies between two nodes of the topological order: everything before it is one side. What
crosses are all tensors that exist before it and are needed after it, network outputs that are
already made included. A cut is valid if every one of them can travel: a tensor of a type and a
shape that are known.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from shoal.model import limits
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


class Node(msgspec.Struct, frozen=True):
    """A node of a network: its position in ``Network.nodes`` is its number everywhere. The tensors
    that it reads (weights left out) and makes."""

    name: str
    op: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


def lifetimes(
    nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """For each tensor that crosses anywhere, in the order they are made, the first and the last
    position where it does. Position k has k nodes before it: 0 are the inputs, len(nodes) the
    outputs."""
    end = len(nodes)
    last = {name: index for index, node in enumerate(nodes) for name in node.reads}
    last.update(dict.fromkeys(outputs, end))
    made = dict.fromkeys(inputs, 0)
    for index, node in enumerate(nodes):
        made.update(dict.fromkeys(node.makes, index + 1))
    return {
        name: (first, last[name]) for name, first in made.items() if first <= last.get(name, -1)
    }


def crossings(
    nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]
) -> list[tuple[str, ...] | None]:
    """For each position 0..len(nodes), the tensors that cross there, in the order they are made;
    None where they are more than any part may take."""
    entering: list[list[str]] = [[] for _ in range(len(nodes) + 1)]
    leaving: list[list[str]] = [[] for _ in range(len(nodes) + 2)]
    for name, (first, last) in lifetimes(nodes, inputs, outputs).items():
        entering[first].append(name)
        leaving[last + 1].append(name)
    live: dict[str, None] = {}
    found: list[tuple[str, ...] | None] = []
    for new, gone in zip(entering, leaving, strict=False):
        for name in gone:
            del live[name]
        live.update(dict.fromkeys(new))
        found.append(tuple(live) if len(live) <= limits.CROSSING else None)
    return found


def crossing_bytes(
    nodes: Sequence[Node],
    inputs: Sequence[str],
    outputs: Sequence[str],
    sizes: Mapping[str, int],
) -> list[int]:
    """The bytes that cross each position; tensors that are not in ``sizes`` count nothing."""
    changes = [0] * (len(nodes) + 2)
    for name, (first, last) in lifetimes(nodes, inputs, outputs).items():
        changes[first] += sizes.get(name, 0)
        changes[last + 1] -= sizes.get(name, 0)
    return list(itertools.accumulate(changes[:-1]))


def find_cuts(
    nodes: Sequence[Node],
    inputs: Sequence[str],
    outputs: Sequence[str],
    tensors: Mapping[str, Tensor],
) -> tuple[Cut, ...]:
    """All valid cuts inside the network, in topological order.

    ``tensors`` holds the tensors that can travel. Positions 0 and ``len(nodes)`` are no cuts.
    """
    cuts = []
    for at, names in enumerate(crossings(nodes, inputs, outputs)):
        if names is None or not 0 < at < len(nodes) or any(name not in tensors for name in names):
            continue
        crossing = [tensors[name] for name in names]
        specs = tuple(tensor.spec for tensor in crossing)
        cuts.append(Cut(at, specs, sum(tensor.bytes for tensor in crossing)))
    return tuple(cuts)

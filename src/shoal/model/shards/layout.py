"""How a tensor lies on the devices while a region is found: whole, dealt, or as a sum to be made.

The units of a width are settled only when all its nodes are known: a grouped convolution makes
blocks of channels go together. Until then a width is counted in *grains*, the channels that it
begins with, and each tensor says how many of its entries belong to a grain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from shoal.model.shards.region import Run


class Strip(NamedTuple):
    """Entries along an axis: ``block`` for each of ``grains`` of ``width``; without a width, of
    no grain but there on all devices."""

    width: str
    grains: int
    block: Fraction

    @property
    def entries(self) -> int:
        """How many there are."""
        return int(self.grains * self.block)


def everywhere(entries: int) -> Strip:
    """Entries that all devices have."""
    return Strip("", entries, Fraction(1))


@dataclass(frozen=True)
class Dealt:
    """Each device has the entries of its units along ``axis``."""

    axis: int
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Partial:
    """Each device has what its units add to it. ``widths`` are those that layers sum over; others
    may have been added as they are."""

    axis: int
    widths: frozenset[str]


State: TypeAlias = Dealt | Partial
"""Of a tensor that not every device has all of."""


class Undealable(Exception):  # noqa: N818 - it is an answer, and never leaves the package
    """A node cannot be computed from what devices have of ``tensors``; ``words`` say what it needs,
    is or has."""

    def __init__(self, words: str, tensors: Iterable[str]) -> None:
        super().__init__(words)
        self.words = words
        self.tensors = tuple(tensors)


@dataclass
class _Width:
    grains: int
    makers: list[int]
    unit: int = 1
    same_as: str = ""


@dataclass
class Widths:
    """The widths of a region: which are one, what goes together in each, and the nodes that begin
    them."""

    _found: dict[str, _Width] = field(default_factory=dict)

    def begin(self, name: str, grains: int, maker: int, unit: int) -> Strip:
        """A new width of which ``unit`` grains go together, begun by the node ``maker``."""
        self._found[name] = _Width(grains, [maker], unit)
        return Strip(name, grains, Fraction(1))

    def root(self, name: str) -> str:
        """The name of the width that ``name`` has become part of."""
        while self._found[name].same_as:
            name = self._found[name].same_as
        return name

    def coarsen(self, name: str, unit: int) -> None:
        """Let ``unit`` grains go together, and what does so already."""
        width = self._found[self.root(name)]
        width.unit = math.lcm(width.unit, unit)

    def join(self, one: Dealt, other: Dealt) -> bool:
        """Make two layouts one, entry by entry; False where they do not fit."""
        if one.axis != other.axis or len(one.strips) != len(other.strips):
            return False
        pairs = list(zip(one.strips, other.strips, strict=True))
        if any(a[1:] != b[1:] or bool(a.width) != bool(b.width) for a, b in pairs):
            return False
        for a, b in pairs:
            if a.width:
                self._join(self.root(a.width), self.root(b.width))
        return True

    def _join(self, name: str, other: str) -> None:
        if name == other:
            return
        kept, gone = self._found[name], self._found[other]
        kept.makers.extend(gone.makers)
        kept.unit = math.lcm(kept.unit, gone.unit)
        gone.same_as = name

    def behind(self, state: State) -> frozenset[str]:
        """The widths that a tensor has units of, or that layers sum over in it."""
        if isinstance(state, Dealt):
            return frozenset(self.root(strip.width) for strip in state.strips if strip.width)
        return frozenset(map(self.root, state.widths))

    def makers(self, names: Iterable[str]) -> frozenset[int]:
        """The nodes that begin these widths."""
        return frozenset(maker for name in names for maker in self._found[self.root(name)].makers)

    def units(self, name: str) -> int:
        """Units of a width that has its own name still."""
        width = self._found[name]
        return width.grains // width.unit

    def runs(self, state: Dealt) -> tuple[Run, ...]:
        """A layout in units."""
        found = []
        for strip in state.strips:
            name, unit = "", 1
            if strip.width:
                name = self.root(strip.width)
                unit = self._found[name].unit
            found.append(Run(name, strip.grains // unit, int(strip.block * unit)))
        return tuple(found)

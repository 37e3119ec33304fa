"""The words of shards: units, widths, regions. Data only.

A *unit* is a channel, or a block of channels that go together. A *width* is a set of units that
are dealt as one: what a convolution makes, and all behind it that is computed channel by channel.
A *region* is a run of nodes between two cuts that several devices compute together, each with
some units of each width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from shoal.model.spec import TensorSpec


class Op(StrEnum):
    """How the slices of a region become one tensor."""

    CHANNELS = "channels"
    """Each device has some channels of the tensor, complete."""
    SUM = "sum"
    """Each device has what its units contribute to every channel; these are added."""
    CODED = "coded"
    """Each device has a sum of blocks of channels; some of the devices give all of them."""


class Kind(StrEnum):
    """Who computes a node of a region."""

    WHOLE = "whole"
    """Every device, all of it."""
    DEALT = "dealt"
    """Each device, the channels of its units."""
    PARTIAL = "partial"
    """Each device, what its units contribute to a sum."""


@dataclass(frozen=True)
class Units:
    """What one device holds of a width: numbers of units, ``dealt`` to it alone, or ``common``:
    held and computed by all devices. ``adopted`` are dealt to it later, in the place of another
    device: their weights are apart from those of the others, so that only they need be brought to
    it. Its slices hold ``dealt`` first, then ``adopted``, then ``common``."""

    dealt: tuple[int, ...] = ()
    common: tuple[int, ...] = ()
    adopted: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.dealt) + len(self.common) + len(self.adopted)


@dataclass(frozen=True)
class Width:
    """Units that are dealt as one. ``name`` is that of the tensor which the width begins with,
    the same in all regions that deal it. ``bytes`` of weights and ``macs`` (multiplications for
    one image) are those of each unit, in all nodes of its region."""

    name: str
    units: int
    bytes: float
    macs: float


class Run(NamedTuple):
    """Entries that lie one after the other along an axis: ``block`` for each of the ``units`` of
    ``width``, in order. With an empty ``width`` they are of no width: all devices have them."""

    width: str
    units: int
    block: int

    @property
    def entries(self) -> int:
        """How many there are."""
        return self.units * self.block


@dataclass(frozen=True)
class Point:
    """A tensor that has units of widths as ``runs`` along ``axis``: what is read by the node that
    sums over them, or the tensor of a region that is joined by channels or coded."""

    tensor: TensorSpec
    axis: int
    runs: tuple[Run, ...]

    @property
    def entries(self) -> int:
        """Length of the axis: how many numbers ``keep`` and ``fill`` of this point have."""
        return sum(run.entries for run in self.runs)

    def of(self, width: str, units: tuple[int, ...]) -> tuple[int, ...]:
        """Places along the axis of these units of a width, unit after unit."""
        places: list[int] = []
        start = 0
        for run in self.runs:
            if run.width == width:
                for unit in units:
                    first = start + unit * run.block
                    places.extend(range(first, first + run.block))
            start += run.entries
        return tuple(places)


class Places(NamedTuple):
    """What a device has along the axis of a dealt tensor: the ``entries`` that it holds, in its
    order, and at which places of these are those of dealt units (adopted ones last) and those that
    all devices have. ``adopted`` are the entries of adopted units.
    """

    entries: tuple[int, ...]
    dealt: tuple[int, ...]
    common: tuple[int, ...]
    adopted: frozenset[int] = frozenset()


def places(runs: Iterable[Run], own: Mapping[str, Units]) -> Places:
    """What a device with these units has: run after run, in each the dealt ones before the common
    ones, and adopted ones last."""
    entries: list[int] = []
    dealt: list[int] = []
    common: list[int] = []
    late: list[int] = []
    start = 0
    for run in runs:
        units = own.get(run.width, Units()) if run.width else Units((), tuple(range(run.units)))
        for kind, numbers in ((dealt, units.dealt), (common, units.common), (late, units.adopted)):
            kind.extend(range(len(entries), len(entries) + len(numbers) * run.block))
            for unit in numbers:
                first = start + unit * run.block
                entries.extend(range(first, first + run.block))
        start += run.entries
    adopted = frozenset(entries[at] for at in late)
    return Places(tuple(entries), (*dealt, *late), tuple(common), adopted)


@dataclass(frozen=True)
class Share:
    """Who computes a node: its number in ``Network.nodes``, the ``macs`` of all of it for one
    image, and the share of these that belongs to each width. What is missing to 1 in ``widths``
    is computed by every device."""

    node: int
    kind: Kind
    macs: int
    widths: Mapping[str, float]


@dataclass(frozen=True)
class Region:
    """The nodes from ``start`` to ``end``, which all devices compute together.

    ``source`` enters, ``tensor`` leaves; devices join their slices of it along ``axis``.
    ``widths`` are dealt. ``points`` are the tensors at which units can be missing: for ``sum``
    what the summing nodes read, else the one that leaves. ``whole_macs`` and
    ``whole_bytes`` (of weights) are what every device computes and holds besides, biases included.

    Of a coded region only the last node is dealt. Where more than one tensor crosses its start or
    its end, ``source`` or ``tensor`` is all of them in one (see :mod:`~shoal.model.shards.coded`).
    """

    start: int
    end: int
    op: Op
    source: TensorSpec
    tensor: TensorSpec
    axis: int
    widths: tuple[Width, ...]
    points: tuple[Point, ...]
    shares: tuple[Share, ...]
    whole_macs: int
    whole_bytes: int

    @property
    def key(self) -> tuple[int, int]:
        """What names it in a network: its start and its end."""
        return self.start, self.end

    @property
    def macs(self) -> int:
        """Multiplications of all of it for one image."""
        return sum(share.macs for share in self.shares)

    def macs_of(self, own: Mapping[str, Units]) -> float:
        """Multiplications of a device with these units, for one image; at most these where it has
        none of a width, as it then leaves out what only that needs."""
        dealt = sum(width.macs * len(own.get(width.name, ())) for width in self.widths)
        return self.whole_macs + dealt

    def bytes_of(self, own: Mapping[str, Units]) -> float:
        """Bytes of the weights of a device with these units; at most these where it has none of a
        width."""
        dealt = sum(width.bytes * len(own.get(width.name, ())) for width in self.widths)
        return self.whole_bytes + dealt

    def channels(self, own: Mapping[str, Units]) -> tuple[int, ...]:
        """Where the entries of a device's slice lie in the tensor (``Slice.channels``): those of
        its dealt units, then those that all have. Empty where there is something of all."""
        if self.op is not Op.CHANNELS:
            return ()
        held = self._held(own)
        return tuple(held.entries[at] for at in (*held.dealt, *held.common))

    def stays(self, own: Mapping[str, Units]) -> int:
        """How many of the last entries of a slice along the axis are the same on all devices, so
        that they are not sent (``Slice.stays``)."""
        if self.op is Op.SUM:
            return self._length
        return len(self._held(own).common)

    def block(self, blocks: int) -> int:
        """Entries along the axis of each of ``blocks`` equal blocks of the units of a coded
        region; what is missing to the last ones is 0."""
        run = self.points[0].runs[0]
        return -(-run.units // blocks) * run.block

    def sent(self, own: Mapping[str, Units], answer: bool = False) -> int:
        """Elements that a device sends to each other device, for one image; or, of an ``answer``,
        to the gateway, which holds nothing itself and is sent all."""
        along = self._length if self.op is Op.SUM else len(self._held(own).dealt)
        along += self.stays(own) if answer else 0
        rest = math.prod(size or 1 for size in self.tensor.shape) // self._length
        return along * rest

    @property
    def _length(self) -> int:
        length = self.tensor.shape[self.axis]
        assert length is not None, "the axis of a join is never free"
        return length

    def _held(self, own: Mapping[str, Units]) -> Places:
        return places(self.points[0].runs, own)


@dataclass(frozen=True)
class Why:
    """Why a node with weights is dealt in no region: its number in ``Network.nodes``, its kind of
    operator, and the reason in words."""

    node: int
    op: str
    words: str


@dataclass(frozen=True)
class Found:
    """The regions of a network, by start and then by end; they overlap, a plan takes some of
    them. ``whys`` tell what is in none."""

    regions: tuple[Region, ...]
    whys: tuple[Why, ...]

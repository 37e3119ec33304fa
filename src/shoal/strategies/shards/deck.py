"""The units of a network's regions, what each of them matters, and who holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from shoal.model.network import Network
from shoal.model.shards import Op, Point, Region, Width
from shoal.model.shards.mend import mendable, mended
from shoal.strategies.shards.dealing import Dealing, deal
from shoal.strategies.shards.failures import Floats, Kept, Lost, Sample
from shoal.strategies.shards.importance import importance
from shoal.strategies.shards.rebuild import Together
from shoal.strategies.shards.replicate import Common, Layer
from shoal.strategies.shards.trials import Contributions, Dealings, Trials, exact


@dataclass(frozen=True)
class Deck:
    """What is dealt: the units of all widths of some regions, for devices with these ``shares``.
    ``images`` are some to judge the units by; ``fill`` says what stands in for what is missing: its
    ``mean`` over them, nothing (``zero``), or what the layer that reads it can make of the rest
    (``rebuilt``). Without images all units are alike."""

    network: Network
    regions: tuple[Region, ...]
    shares: tuple[float, ...]
    images: npt.NDArray[np.float32] | None = None
    fill: str = "mean"

    @cached_property
    def widths(self) -> tuple[tuple[Region, Width], ...]:
        """All widths, each with its region."""
        return tuple((region, width) for region in self.regions for width in region.widths)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The widths as replication sees them: a unit that is not common saves its share of all
        weights, and of all multiplications."""
        weights = sum(width.bytes * width.units for _, width in self.widths)
        macs = sum(width.macs * width.units for _, width in self.widths)
        return tuple(
            Layer(width.units, 1e-9 + width.bytes / max(1.0, weights) + width.macs / max(1.0, macs))
            for _, width in self.widths
        )

    @cached_property
    def trials(self) -> Trials:
        """Failures of it."""
        return Trials(self.network, self.regions)

    @cached_property
    def adds(self) -> dict[tuple[int, int], Contributions]:
        """What units add, by region, where that is summed."""
        summed = (region for region in self.regions if region.op is Op.SUM)
        found = {region.key: Contributions(self.network, region) for region in summed}
        return {key: adds for key, adds in found.items() if adds.alone}

    @cached_property
    def _found(self) -> tuple[Mapping[str, Floats] | None, tuple[npt.NDArray[np.float64], ...]]:
        if self.images is None:
            return None, tuple(np.ones(width.units) for _, width in self.widths)
        moments = self.trials.moments(self.images)
        missed = {
            name: each.strength if self.fill == "zero" else each.spread
            for name, each in moments.items()
        }
        means = None
        if self.fill != "zero":
            means = {name: each.mean for name, each in moments.items()}
        found = []
        for region, width in self.widths:
            adds = self.adds[region.key].of if region.key in self.adds else None
            found.append(importance(region, width, missed, adds))
        return means, tuple(found)

    @property
    def means(self) -> Mapping[str, Floats] | None:
        """What stands in for each entry of a point, by its tensor; None: nothing."""
        return self._found[0]

    @property
    def importance(self) -> tuple[npt.NDArray[np.float64], ...]:
        """That of the units of each width."""
        return self._found[1]

    def deal(self, common: Common) -> dict[str, Dealing]:
        """The dealing of each width, with so many units of it common."""
        return {
            width.name: self._dealing(index, count)
            for index, ((_, width), count) in enumerate(zip(self.widths, common, strict=True))
        }

    @cached_property
    def _together(self) -> dict[str, Together]:
        return {} if self.images is None else self.trials.together(self.images)

    @cached_property
    def _mendable(self) -> frozenset[str]:
        return frozenset().union(*(mendable(self.network, region) for region in self.regions))

    def mended(self, dealings: Dealings, lost: Lost) -> Network:
        """The network that rebuilds what only these devices hold, where it can."""
        maps = {}
        for point in self.trials.points:
            name = point.tensor.name
            gone = _gone(point, dealings, lost)
            if gone and name in self._mendable:
                maps[name], _ = self._together[name].rebuild(gone)
        return mended(self.network, self.regions, maps)

    def kept(self, sample: Sample, dealings: Dealings, lost: Lost) -> Kept:
        """What is kept of the answers while these devices are lost."""
        if exact(dealings, lost):
            return sample.whole
        if self.fill != "rebuilt":
            return self.trials.kept(sample, dealings, lost, self.means)
        means = self.means or {}
        left = {n: 0 * mean if n in self._mendable else mean for n, mean in means.items()}
        trials = Trials(self.mended(dealings, lost), self.regions)
        return trials.kept(sample, dealings, lost, left)

    def energy(self, dealings: Dealings, lost: Lost) -> list[float]:
        """By width, what is missing while these devices are lost: the energy of what it would add,
        as far as it is not rebuilt."""
        found = []
        for (region, width), values in zip(self.widths, self.importance, strict=True):
            units = dealings[width.name].missing(lost)
            squares = np.square(values[list(units)])
            for point in region.points if self.fill == "rebuilt" and units else ():
                gone = _gone(point, dealings, lost)
                mine = point.of(width.name, units)
                if mine and point.tensor.name in self._mendable:
                    left = self._left(point.tensor.name, gone)
                    of_mine = left[[gone.index(place) for place in mine]]
                    squares = squares * of_mine.reshape(len(units), -1).mean(axis=1)
            found.append(float(squares.sum()))
        return found

    @cached_property
    def _dealing(self) -> Callable[[int, int], Dealing]:
        """:meth:`_deal`, worked out once: a search asks for the same few of each width again and
        again."""
        return cache(self._deal)

    @cached_property
    def _left(self) -> Callable[[str, tuple[int, ...]], npt.NDArray[np.float64]]:
        """What of the variance of missing entries of a point is not rebuilt, worked out once."""
        return cache(lambda name, gone: self._together[name].rebuild(gone)[1])

    def _deal(self, index: int, common: int) -> Dealing:
        (region, _), values = self.widths[index], self.importance[index].tolist()
        return deal_width(region, values, self.shares, common)


def deal_width(
    region: Region, importance: Sequence[float], shares: Sequence[float], common: int
) -> Dealing:
    """The dealing of a width of a region, with one common unit at least where somebody would have
    no slice to give."""
    dealing = deal(importance, shares, common)
    if region.op is Op.CHANNELS and not all(dealing.dealt) and not dealing.common:
        return deal(importance, shares, 1)
    return dealing


def _gone(point: Point, dealings: Dealings, lost: Lost) -> tuple[int, ...]:
    """The entries of a point that are missing while these devices are lost."""
    return tuple(
        place
        for width in dict.fromkeys(run.width for run in point.runs if run.width)
        for place in point.of(width, dealings[width].missing(lost))
    )

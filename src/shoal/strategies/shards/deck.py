"""The units of a network's regions, what each of them matters, and who holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shoal.model.network import Network
from shoal.model.shards import Op, Region, Width
from shoal.strategies.shards.dealing import Dealing, deal
from shoal.strategies.shards.failures import Floats
from shoal.strategies.shards.importance import importance
from shoal.strategies.shards.replicate import Common, Layer
from shoal.strategies.shards.trials import Contributions, Trials


@dataclass(frozen=True)
class Deck:
    """What is dealt: the units of all widths of some regions, for devices with these ``shares``.
    ``images`` are some to judge the units by, ``mean`` says that what is missing is filled with its
    mean over them (else with nothing). Without images all units are alike."""

    network: Network
    regions: tuple[Region, ...]
    shares: tuple[float, ...]
    images: npt.NDArray[np.float32] | None = None
    mean: bool = True

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
        return {region.key: Contributions(self.network, region) for region in summed}

    @cached_property
    def _found(self) -> tuple[Mapping[str, Floats] | None, tuple[npt.NDArray[np.float64], ...]]:
        if self.images is None:
            return None, tuple(np.ones(width.units) for _, width in self.widths)
        moments = self.trials.moments(self.images)
        missed = {
            name: each.spread if self.mean else each.strength for name, each in moments.items()
        }
        means = {name: each.mean for name, each in moments.items()} if self.mean else None
        found = []
        for region, width in self.widths:
            adds = self.adds[region.key].of if region.op is Op.SUM else None
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
            width.name: self._deal(region, values.tolist(), count)
            for (region, width), values, count in zip(
                self.widths, self.importance, common, strict=True
            )
        }

    def _deal(self, region: Region, values: Sequence[float], common: int) -> Dealing:
        dealing = deal(values, self.shares, common)
        if region.op is Op.CHANNELS and not all(dealing.dealt) and not dealing.common:
            return deal(values, self.shares, 1)  # each slice must hold something
        return dealing

"""The whole network with units that can be taken out, to try many failures in one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards.region import Point, Region

Array: TypeAlias = npt.NDArray[np.float32]


class Masked:
    """A network that computes ``t * keep + fill`` at each point of some regions.

    ``points`` are those of all its regions. ``keep`` and ``fill`` have one number for each entry
    of a point's axis (``point.entries``) and are given by the name of its tensor; a point that is
    not named is left as it is (keep 1, fill 0).
    """

    def __init__(self, part: Part, points: Sequence[Point]) -> None:
        self.part = part
        self.points = tuple(points)

    def run(
        self,
        feeds: Mapping[str, npt.NDArray[Any]],
        keep: Mapping[str, Array] | None = None,
        fill: Mapping[str, Array] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The network's outputs, by name; with ``taps``, also the tensors of all points, as they
        are before ``keep`` and ``fill`` come to them. ``fill`` is added as it is: give 0 where
        nothing is missing. Raises :class:`InputError` for names or sizes that do not fit."""
        raise NotImplementedError


def masked(network: Network, regions: Sequence[Region], *, taps: bool = False) -> Masked:
    """The network with units that can be taken out of these regions, which must not overlap."""
    raise NotImplementedError


def contribution(network: Network, region: Region) -> Part:
    """What units add to the tensor of a region that is joined by ``sum``: a part that reads the
    tensors of all ``region.points``, whole, and gives ``region.tensor`` without biases and
    without what all devices compute. So it is linear; with the means of missing units at their
    entries and 0 elsewhere, it gives what stands in for them (its mean over space:
    ``Slice.stand_in``)."""
    raise NotImplementedError

"""A network whose regions are dealt, tried on the user's images with devices missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.network import Network
from shoal.model.shards import Masked, Point, Region, contribution, masked
from shoal.plan.network import Array, Feeds
from shoal.strategies.shards.dealing import Dealing
from shoal.strategies.shards.failures import Floats, Kept, Lost, Sample, one_by_one
from shoal.strategies.shards.rebuild import Together

Dealings: TypeAlias = Mapping[str, Dealing]
"""Who holds which units of each width, by its name."""

BATCH = 32
"""Images that are run together, and units whose contribution is computed together."""
PLACES = 64


@dataclass(frozen=True)
class Moments:
    """Of each entry of a point, over images and space: its mean and the mean of its square."""

    mean: Floats
    square: Floats

    @property
    def strength(self) -> npt.NDArray[np.float64]:
        """What is lost where an entry is filled with nothing: its root mean square."""
        return np.sqrt(self.square.astype(np.float64))

    @property
    def spread(self) -> npt.NDArray[np.float64]:
        """What is lost where it is filled with its mean: its standard deviation."""
        return np.sqrt(np.maximum(0.0, self.square.astype(np.float64) - self.mean**2))


class Trials:
    """Failures of a network of which these regions are dealt."""

    def __init__(self, network: Network, regions: Sequence[Region]) -> None:
        self.network = network
        self.regions = tuple(regions)
        self._masked: Masked = masked(network, self.regions)

    @property
    def points(self) -> tuple[Point, ...]:
        """Where units can be missing."""
        return tuple(point for region in self.regions for point in region.points)

    def moments(self, images: Array) -> dict[str, Moments]:
        """The moments of all points, by the name of their tensor."""
        tapped = masked(self.network, self.regions, taps=True)
        sums = {p.tensor.name: np.zeros((2, p.entries)) for p in self.points}
        counts = dict.fromkeys(sums, 0)
        for feeds in batches(self.network, images):
            made = tapped.run(feeds)
            for point in self.points:
                name = point.tensor.name
                flat = np.moveaxis(made[name], point.axis, 0).reshape(point.entries, -1)
                wide = flat.astype(np.float64)
                sums[name] += (wide.sum(axis=1), (wide * wide).sum(axis=1))
                counts[name] += flat.shape[1]
        found = {}
        for name, (total, squares) in sums.items():
            count = max(1, counts[name])
            found[name] = Moments(
                (total / count).astype(np.float32), (squares / count).astype(np.float32)
            )
        return found

    def together(self, images: Array) -> dict[str, Together]:
        """How the entries of each point vary together, by the name of its tensor: at most
        ``PLACES`` places of each image."""
        tapped = masked(self.network, self.regions, taps=True)
        rows: dict[str, list[Array]] = {point.tensor.name: [] for point in self.points}
        for feeds in batches(self.network, images):
            made = tapped.run(feeds)
            for point in self.points:
                last = np.moveaxis(made[point.tensor.name], point.axis, -1)
                flat = last.reshape(len(last), -1, point.entries)
                step = -(-flat.shape[1] // PLACES)
                rows[point.tensor.name].append(
                    flat[:, step // 2 :: step].reshape(-1, point.entries)
                )
        return {name: Together.of(np.concatenate(each)) for name, each in rows.items()}

    def kept(
        self, sample: Sample, dealings: Dealings, lost: Lost, means: Mapping[str, Floats] | None
    ) -> Kept:
        """What is kept of the answers while these devices are lost; what they alone hold is filled
        with ``means`` (by tensor), or nothing."""
        keep, fill = holes(self.points, dealings, lost, means)
        return sample.compare(
            outputs
            for feeds in batches(self.network, sample.images)
            for outputs in one_by_one(self._masked.run(feeds, keep, fill), rows(feeds))
        )


def exact(dealings: Dealings, lost: Lost) -> bool:
    """Whether all is still there while these devices are lost."""
    return not any(dealing.missing(lost) for dealing in dealings.values())


def batches(network: Network, images: Array) -> Iterator[Feeds]:
    """The images as inputs of a network, as many at once as it takes."""
    step = BATCH if network.stacks else 1
    for start in range(0, len(images), step):
        yield {network.inputs[0].name: images[start : start + step]}


def rows(feeds: Feeds) -> int:
    """How many images are run together."""
    return len(next(iter(feeds.values())))


def holes(
    points: Sequence[Point], dealings: Dealings, lost: Lost, means: Mapping[str, Floats] | None
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What of each point is kept while these devices are lost, and what is filled in."""
    keep, fill = {}, {}
    for point in points:
        kept = np.ones(point.entries, np.float32)
        for width in dict.fromkeys(run.width for run in point.runs if run.width):
            kept[list(point.of(width, dealings[width].missing(lost)))] = 0
        name = point.tensor.name
        keep[name] = kept
        fill[name] = (1 - kept) * (means[name] if means is not None else 0.0)
    return keep, fill


class Contributions:
    """What the units of a region that is summed add to its tensor."""

    def __init__(self, network: Network, region: Region) -> None:
        self._region = region
        self._part = contribution(network, region)
        self._batch = BATCH if region.tensor.shape[0] is None else 1

    @property
    def alone(self) -> bool:
        """Whether it follows from the units alone, and not from what enters the region too."""
        return self._region.source.name not in self._part.inputs

    @cached_property
    def _session(self) -> Any:
        return self._part.session()

    def of(self, values: Mapping[str, Array]) -> Array:
        """The tensor, without biases, for rows of values of the entries of each point (by name),
        the same everywhere in space."""
        name = self._region.tensor.name
        rows = len(next(iter(values.values())))
        made = []
        for start in range(0, rows, self._batch):
            feeds = {
                point.tensor.name: _spaced(
                    values[point.tensor.name][start : start + self._batch], point
                )
                for point in self._region.points
            }
            made.append(self._part.run_on(self._session, feeds)[name])
        return np.concatenate(made)


def _spaced(rows: Array, point: Point) -> Array:
    """Values of entries, as tensors of the shape that the point has."""
    shape = [len(rows), *(size or 1 for size in point.tensor.shape[1:])]
    wide = rows.reshape(len(rows), *(1,) * (point.axis - 1), -1)
    wide = wide.reshape(*wide.shape, *(1,) * (len(shape) - wide.ndim))
    return np.ascontiguousarray(np.broadcast_to(wide, shape)).astype(point.tensor.dtype)

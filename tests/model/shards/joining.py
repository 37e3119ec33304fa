"""What shards must do together, in NumPy."""

from collections.abc import Mapping, Sequence

import numpy as np

from shoal.model.engine import Engine
from shoal.model.graph import whole
from shoal.model.network import Network
from shoal.model.shards import Op, Region, Units, shard

Dealing = Sequence[Mapping[str, Units]]


def deal(region: Region, devices: int, random: np.random.Generator) -> Dealing:
    """Units at random: some common, some devices without any of a width."""
    own: list[dict[str, Units]] = [{} for _ in range(devices)]
    for width in region.widths:
        order = random.permutation(width.units)
        common = order[: int(random.integers(0, width.units // 2 + 1)) * int(random.integers(2))]
        owners = random.integers(0, devices, width.units)
        if devices > 1 and random.integers(3) == 0:
            owners[owners == devices - 1] = 0
        for device in range(devices):
            dealt = [int(unit) for unit in order[len(common) :] if owners[unit] == device]
            own[device][width.name] = Units(tuple(dealt), tuple(map(int, common)))
    if region.op is Op.CHANNELS:
        own = [each for each in own if region.channels(each)]
    return own


def adopted(region: Region, dealing: Dealing) -> Dealing:
    """What is held once all but the first device have the units that only the first had."""
    first, *others = dealing
    return [
        {
            name: Units(units.dealt, units.common, first[name].dealt[index :: len(others)])
            for name, units in own.items()
        }
        for index, own in enumerate(others)
    ]


def run(network: Network, region: Region, dealing: Dealing, source: np.ndarray) -> list[np.ndarray]:
    """The slices of the devices."""
    return [
        shard(network, region, own).run({region.source.name: source})[region.tensor.name]
        for own in dealing
    ]


def join(
    region: Region, dealing: Dealing, slices: Sequence[np.ndarray], taker: int = 0
) -> np.ndarray:
    """The tensor as the device ``taker`` makes it: of its own slice all, of the others what they
    send."""
    axis = region.axis
    sent = [
        each if device == taker else _first(each, each.shape[axis] - region.stays(own), axis)
        for device, (own, each) in enumerate(zip(dealing, slices, strict=True))
    ]
    if region.op is Op.SUM:
        return sum(half for each in sent for half in _halves(each, axis, region.stays({})))
    shape = list(slices[taker].shape)
    shape[axis] = region.tensor.shape[axis]
    joined = np.full(shape, np.nan, slices[taker].dtype)
    for own, each in zip(dealing, sent, strict=True):
        places = np.array(region.channels(own)[: each.shape[axis]], int)
        joined[(slice(None),) * axis + (places,)] = each
    return joined


def _first(array: np.ndarray, count: int, axis: int) -> np.ndarray:
    return np.take(array, range(count), axis)


def _halves(array: np.ndarray, axis: int, length: int) -> list[np.ndarray]:
    return np.split(array, range(length, array.shape[axis], length), axis)


def tensors(network: Network, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All tensors of a network that have a shape."""
    made = [name for each in network.nodes for name in each.makes if network.spec(name)]
    return {**Engine().load(*whole(network.graph, made)).run(feeds), **feeds}


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())

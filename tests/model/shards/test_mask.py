"""The masked network answers as shards do of which some are missing."""

import numpy as np
import pytest
from tests.model.shards import families
from tests.model.shards.joining import deal, difference, join, run, tensors

from shoal.errors import InputError
from shoal.model.shards import Op, Region, contribution, masked, regions, shard


def cover(found) -> list[Region]:
    """Regions one after the other, each as long as possible."""
    chosen: list[Region] = []
    for region in sorted(found.regions, key=lambda each: (each.start, -each.end)):
        if not chosen or region.start >= chosen[-1].end:
            chosen.append(region)
    return chosen


def short(found) -> list[Region]:
    """Regions one after the other, each with little that is whole."""
    chosen: list[Region] = []
    for region in sorted(found.regions, key=lambda each: (each.end, -each.start)):
        if (not chosen or region.start >= chosen[-1].end) and region.whole_macs < region.macs / 2:
            chosen.append(region)
    return chosen


def probe(network):
    return network.probe(5, 1 if network.inputs[0].shape[0] else 2)


@pytest.mark.parametrize("choose", [cover, short])
def test_with_nothing_missing_it_is_the_network(network, choose):
    feeds = probe(network)
    chosen = choose(regions(network))
    whole = masked(network, chosen, taps=True)
    expected = tensors(network, feeds)
    found = whole.run(feeds)
    for name, value in found.items():
        assert difference(expected[name], value) < 1e-5
    names = {spec.name for spec in network.outputs}
    assert set(found) == names | {point.tensor.name for point in whole.points}
    assert set(masked(network, chosen).run(feeds)) == names


def test_a_missing_device_is_missed_in_the_same_way(network):
    """The units of the last device are gone; for channels, numbers stand in for them."""
    random = np.random.default_rng(2)
    feeds = probe(network)
    expected = tensors(network, feeds)
    (output,) = network.outputs
    for region in regions(network).regions[::4]:
        dealing = deal(region, 3, random)
        if len(dealing) < 2:
            continue
        slices = run(network, region, dealing, expected[region.source.name])
        joined = join(region, dealing[:-1], slices[:-1])
        keep, fill = {}, {}
        for point in region.points:
            name = point.tensor.name
            keep[name], fill[name] = np.ones(point.entries), np.zeros(point.entries)
            for width, units in dealing[-1].items():
                gone = list(point.of(width, units.dealt))
                keep[name][gone] = 0
                if region.op is Op.CHANNELS:
                    fill[name][gone] = random.standard_normal(len(gone))
        if region.op is Op.CHANNELS:
            at = [1] * joined.ndim
            at[region.axis] = -1
            stands = fill[region.tensor.name].reshape(at).astype(np.float32)
            joined = np.where(np.isnan(joined), stands, joined)
        if region.end < len(network.nodes):
            rest = network.split([region.end], prove=False)[1]
            joined = rest.run({region.tensor.name: joined})[output.name]
        found = masked(network, [region]).run(feeds, keep, fill)[output.name]
        assert difference(joined, found) < 1e-5, region.key


def test_a_sum_is_what_units_contribute_and_what_all_compute(network):
    feeds = probe(network)
    expected = tensors(network, feeds)
    for region in regions(network).regions:
        if region.op is Op.CHANNELS:
            with pytest.raises(InputError, match="joined by channels"):
                contribution(network, region)
            continue
        part = contribution(network, region)
        points = {point.tensor.name: expected[point.tensor.name] for point in region.points}
        fixed = {name: expected[name] for name in set(part.inputs) - set(points)}
        of_units = part.run(points | fixed)[region.tensor.name]
        nothing = shard(network, region, {}).run(
            {region.source.name: expected[region.source.name]}
        )[region.tensor.name]
        none, of_all = np.split(nothing, 2, region.axis)
        assert not none.any()
        whole_runs = any(not run.width for point in region.points for run in point.runs)
        if not whole_runs:
            assert difference(expected[region.tensor.name], of_units + of_all) < 1e-5, region.key
        twice = part.run({name: 2 * value for name, value in points.items()} | fixed)
        assert difference(2 * of_units, twice[region.tensor.name]) < 1e-6


def test_what_does_not_fit_is_refused():
    network = families.plain()
    chosen = cover(regions(network))
    whole = masked(network, chosen)
    point = whole.points[0]
    feeds = network.probe()
    with pytest.raises(InputError, match="'nothing' is no point"):
        whole.run(feeds, {"nothing": np.ones(3)})
    with pytest.raises(InputError, match=f"takes {point.entries} numbers"):
        whole.run(feeds, fill={point.tensor.name: np.ones(point.entries + 1)})
    with pytest.raises(InputError, match="overlap"):
        masked(network, [chosen[0], chosen[0]])

"""Coded slices of some devices are the whole tensor."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.shards import families
from tests.model.shards.families import Net
from tests.model.shards.joining import difference, tensors
from tests.model.shards.test_part import networks

from shoal.codec.join import join
from shoal.codec.parity import rows_of
from shoal.codec.slices import Join, Slice
from shoal.errors import InputError
from shoal.model.network import Network, load
from shoal.model.shards import Region, coded_regions, coded_shard, regions
from shoal.model.shards.coded import crossing
from shoal.zoo.entries import path


def how_to_join(region: Region, slices: int, blocks: int) -> Join:
    stays = region.stays({})
    return Join(
        op="coded",
        tensor=region.tensor,
        slices={f"d{k}": Slice(stays=stays, code=row)
                for k, row in enumerate(rows_of(slices, blocks))},
        axis=region.axis,
        least=blocks,
        block=region.block(blocks),
    )  # fmt: skip


def packed(network: Network, place: int, values: dict[str, np.ndarray]) -> np.ndarray:
    """What crosses a place, as regions have it."""
    found = [values[spec.name] for spec in crossing(network)[place]]
    if len(found) == 1:
        return found[0]
    return np.concatenate([each.reshape(len(each), -1) for each in found], axis=1)


def hold_together(
    network: Network, slices: int, blocks: int, random: np.random.Generator
) -> list[Region]:
    """Each region, with as many slices lost as may be."""
    feeds = network.probe(7, 1 if network.inputs[0].shape[0] else 3)
    values = tensors(network, feeds)
    found = coded_regions(network, blocks).regions
    for region in found:
        how = how_to_join(region, slices, blocks)
        source = packed(network, region.start, values)
        made = {
            name: coded_shard(network, region, part.code).run({region.source.name: source})[
                region.tensor.name
            ]
            for name, part in how.slices.items()
        }
        expected = packed(network, region.end, values)
        sets = list(itertools.combinations(made, blocks))
        for some in [tuple(made), *(sets[k] for k in random.permutation(len(sets))[:6])]:
            taker = some[int(random.integers(len(some)))]
            stays = how.slices[taker].stays
            sent = {
                name: made[name] if name == taker or not stays else made[name][:, :-stays]
                for name in some
            }
            assert difference(expected, join(sent, how)) < 2e-5, (region.key, some)
    return list(found)


def test_any_two_of_three_are_the_tensor(network):
    assert hold_together(network, 3, 2, np.random.default_rng(0))


@given(networks(), st.integers(2, 8), st.integers(0, 3), st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_as_many_as_there_are_blocks_are_the_tensor(net, slices, lost, seed):
    hold_together(net, slices, max(1, slices - lost), np.random.default_rng(seed))


def two_outputs() -> Network:
    net = Net()
    x = net.relu(net.conv("x", 3, 8))
    first = net.conv(x, 8, 6)
    return net.load(first, net.conv(net.relu(net.conv(x, 8, 9)), 9, 5))


def test_what_crosses_around_a_layer_stays():
    network = families.residual()
    (region,) = (each for each in coded_regions(network, 3).regions if each.key == (1, 3))
    assert region.source.name == network.nodes[0].makes[0]
    assert region.tensor.shape == (None, 2 * 8 * 9 * 9)  # what is read and what is made
    assert region.stays({}) == 8 * 9 * 9
    assert region.block(3) == 3 * 9 * 9
    assert region.whole_macs == 0
    assert region.macs == 8 * 8 * 9 * 9 * 9
    part = coded_shard(network, region, (1.0, 1.0, 1.0))
    assert part.specs[region.tensor.name].shape == (None, (3 + 8) * 9 * 9)
    assert part.stacks
    assert coded_shard(network, region, (1.0, 1.0, 1.0)).hash == part.hash


def test_why_a_layer_is_not_coded():
    found = {
        (why.op, why.words)
        for network in (families.inverted(), two_outputs())
        for why in coded_regions(network, 6).whys
    }
    assert found == {
        ("Conv", "its groups read different channels, so sums of filters say nothing"),
        ("Conv", "it makes 5 channels, fewer than the 6 blocks"),
        ("Gemm", "it makes 5 channels, fewer than the 6 blocks"),
    }
    (why,) = coded_regions(two_outputs(), 5).whys
    assert why.words == "the network ends behind it with several outputs"


def test_a_network_with_several_outputs_holds_together():
    assert hold_together(two_outputs(), 4, 3, np.random.default_rng(0))


def test_regions_that_are_not_coded_are_refused():
    network = families.plain()
    plain = regions(network).regions[0]
    coded = coded_regions(network, 2).regions[0]
    for region, code in ((plain, (1.0, 1.0)), (coded, ())):
        with pytest.raises(InputError, match="not coded, or in no blocks"):
            coded_shard(network, region, code)


def test_a_shard_holds_its_share_of_the_weights():
    network = load(path("fashion-resnet"))
    found = (each for each in coded_regions(network, 4).regions if not each.whole_bytes)
    region = max(found, key=lambda each: each.widths[0].bytes)
    sizes = [
        sum(coded_shard(network, region, rows_of(5, blocks)[0]).info.blobs.values())
        for blocks in (1, 2, 4)
    ]
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=0.05)
    assert sizes[0] == pytest.approx(4 * sizes[2], rel=0.05)

"""Coded slices of some devices are the whole tensor."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.shards.joining import difference, tensors
from tests.model.shards.test_part import networks

from shoal.codec.join import join
from shoal.codec.parity import rows_of
from shoal.codec.slices import Join, Slice
from shoal.model.network import Network
from shoal.model.shards import Region, coded_regions, coded_shard
from shoal.model.shards.coded import crossing


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

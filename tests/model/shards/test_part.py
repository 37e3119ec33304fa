"""Shards of all devices, joined, are the whole."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from tests.model.shards import families
from tests.model.shards.families import Net
from tests.model.shards.joining import adopted, deal, difference, join, run, tensors

from shoal.errors import InputError
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards import Op, Region, Units, regions, shard


def hold_together(
    network: Network, some: list[Region], random: np.random.Generator, adopting: bool = False
) -> None:
    feeds = network.probe(7, 1 if network.inputs[0].shape[0] else 3)
    expected = tensors(network, feeds)
    for region in some:
        dealing = deal(region, int(random.integers(1, 9)), random)
        if adopting and len(dealing) > 1:
            dealing = adopted(region, dealing)
        slices = run(network, region, dealing, expected[region.source.name])
        found = join(region, dealing, slices, int(random.integers(len(dealing))))
        assert difference(expected[region.tensor.name], found) < 1e-5, region.key


def test_slices_joined_are_the_tensor(network):
    hold_together(network, list(regions(network).regions), np.random.default_rng(1))


def test_so_they_are_when_others_have_adopted_what_one_held(network):
    hold_together(network, list(regions(network).regions), np.random.default_rng(5), adopting=True)


@st.composite
def networks(draw):
    """Blocks of all kinds, in any order."""
    net = Net(draw(st.integers(0, 9)))
    x, channels = net.relu(net.conv("x", 3, 8)), 8
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(["conv", "around", "depth", "beside", "dense", "group", "pool"])
        )
        if kind == "conv":
            x, channels = net.relu(net.conv(x, channels, 10, bias=draw(st.booleans()))), 10
        elif kind == "around":
            t = net.conv(net.relu(net.conv(x, channels, 6, draw(st.sampled_from([1, 3])))), 6, 12)
            if draw(st.booleans()):
                t = net.conv(net.relu(t), 12, 12, 1)
            x, channels = net.add("Add", f"{t} {net.conv(x, channels, 12, 1)}"), 12
            x = net.relu(x) if draw(st.booleans()) else x
        elif kind == "depth":
            t = net.conv(net.clip(net.conv(x, channels, 9, 1)), 9, 18, groups=9)
            x, channels = net.conv(net.clip(t), 18, 8, 1), 8
        elif kind == "beside":
            left, right = net.relu(net.conv(x, channels, 4, 1)), net.conv(x, channels, 6)
            x, channels = net.add("Concat", f"{left} {right}", axis=1), 10
        elif kind == "dense":
            new = net.conv(net.relu(net.conv(x, channels, 6, 1)), 6, 4)
            x, channels = net.add("Concat", f"{new} {x}", axis=1), channels + 4
        elif kind == "group":
            t = net.relu(net.conv(x, channels, 12))
            x, channels = net.relu(net.conv(t, 12, 8, groups=draw(st.sampled_from([2, 4])))), 8
        else:
            x = net.add("MaxPool", x, kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    return net.load(net.top(x, channels))


@given(networks(), st.data(), st.booleans())
@settings(max_examples=15)
def test_slices_of_random_networks_joined_are_the_tensor(network, data, adopting):
    found = regions(network).regions
    some = data.draw(st.lists(st.sampled_from(found), min_size=1, max_size=4, unique_by=id))
    hold_together(network, some, np.random.default_rng(data.draw(st.integers(0, 99))), adopting)


def weights(part: Part) -> int:
    """Bytes of the weights in a part, without places and shapes."""
    stored = {hash: memoryview(blob).nbytes for hash, blob in part.blobs.items()}
    total = 0
    for weight in onnx.ModelProto.FromString(part.graph).graph.initializer:
        outside = {entry.key: entry.value for entry in weight.external_data}
        if outside:
            total += stored[outside["location"]]
        elif weight.data_type == onnx.TensorProto.FLOAT:
            total += numpy_helper.to_array(weight).nbytes
    return total


def test_a_region_tells_what_its_shards_hold(network):
    random = np.random.default_rng(3)
    for region in regions(network).regions[::3]:
        for own in deal(region, 3, random):
            held, told = weights(shard(network, region, own)), region.bytes_of(own)
            if all(units.dealt or units.common for units in own.values()):
                # Constants that all channels share are in every shard.
                assert held == pytest.approx(told, rel=0.02, abs=64), region.key
            else:
                assert held <= told + 64, region.key


def test_a_region_tells_what_its_shards_compute(network):
    for region in regions(network).regions:
        own = {width.name: Units(tuple(range(width.units))) for width in region.widths}
        assert region.macs_of(own) == pytest.approx(region.macs, rel=1e-6, abs=1)
        assert region.macs_of({}) == region.whole_macs < region.macs


def test_a_shard_says_what_it_gives():
    network = families.residual()
    (region,) = [r for r in regions(network).regions if r.key == (2, 6)]
    (width,) = region.widths
    part = shard(network, region, {width.name: Units((1, 4), (0,))})
    assert part.inputs == (region.source.name,)
    assert part.specs[region.tensor.name].shape == (None, 16, 9, 9)
    assert part.range == region.key
    assert part.stacks
    assert region.stays({width.name: Units((1, 4), (0,))}) == 8
    assert region.sent({width.name: Units((1, 4), (0,))}) == 8 * 9 * 9
    again = shard(network, region, {width.name: Units((1, 4), (0,))})
    assert again.hash == part.hash


def test_memory_follows_the_units():
    network = families.plain()
    region = max(regions(network).regions, key=lambda each: each.macs - each.whole_macs)
    sizes = [
        shard(network, region, {w.name: Units(tuple(range(w.units // n))) for w in region.widths})
        for n in (4, 2, 1)
    ]
    assert sizes[0].memory < sizes[1].memory < sizes[2].memory


def test_what_the_region_does_not_have_is_refused():
    network = families.plain()
    region = next(r for r in regions(network).regions if r.op is Op.CHANNELS)
    name = region.widths[0].name
    for own, words in (
        ({"nobody": Units((0,))}, "no width 'nobody'"),
        ({name: Units((0, 99))}, "not among its 12"),
        ({name: Units((-1,))}, "not among its 12"),
        ({name: Units((0,), (0,))}, "held twice"),
        ({name: Units()}, "would hold nothing"),
        ({}, "would hold nothing"),
    ):
        with pytest.raises(InputError, match=words):
            shard(network, region, own)

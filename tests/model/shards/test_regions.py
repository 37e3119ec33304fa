"""Which regions are found, who computes what in them, and why the rest is in none."""

import numpy as np
import pytest
from tests.model.nets import model, node, random, tensor
from tests.model.shards import families
from tests.model.shards.families import Net

from shoal.model import load
from shoal.model.network import Network
from shoal.model.shards import Kind, Op, Region, Run, regions

LETTERS = {Kind.WHOLE: "w", Kind.DEALT: "d", Kind.PARTIAL: "p"}


def region(network: Network, start: int, end: int) -> Region:
    (found,) = [each for each in regions(network).regions if each.key == (start, end)]
    return found


def kinds(found: Region) -> str:
    return "".join(LETTERS[share.kind] for share in found.shares)


@pytest.mark.parametrize(
    ("family", "start", "end", "op", "expected", "units"),
    [
        # conv relu conv relu pool conv relu pool flatten gemm relu gemm
        ("plain", 0, 2, Op.CHANNELS, "dd", [12]),
        ("plain", 0, 3, Op.SUM, "ddp", [12]),
        ("plain", 5, 10, Op.SUM, "ddddp", [14]),
        ("plain", 5, 12, Op.SUM, "wwwwddp", [24]),
        # conv relu | conv relu conv add | relu conv relu conv conv add | relu ...
        ("residual", 2, 6, Op.SUM, "ddpp", [8]),
        ("residual", 7, 12, Op.SUM, "ddpdp", [12, 12]),
        ("residual", 6, 13, Op.CHANNELS, "wwwdddd", [12]),
        # ... conv relu conv relu conv add | relu
        ("bottleneck", 2, 8, Op.SUM, "wwddpp", [6]),
        ("bottleneck", 2, 9, Op.CHANNELS, "wwwwddd", [16]),
        # conv clip conv(two of each) clip conv | conv clip conv clip conv add | conv clip ...
        ("inverted", 0, 5, Op.SUM, "ddddp", [8]),
        ("inverted", 2, 5, Op.SUM, "ddp", [8]),
        ("inverted", 5, 11, Op.SUM, "ddddpp", [18]),
        # conv relu conv(4 groups) relu conv(2) relu conv(8) relu conv
        ("grouped", 0, 9, Op.SUM, "ddddddddp", [2]),
        ("grouped", 0, 3, Op.CHANNELS, "ddd", [4]),
        ("grouped", 6, 9, Op.SUM, "ddp", [8]),
        # conv relu | conv relu conv relu concat conv | relu | conv conv concat
        ("fire", 2, 8, Op.SUM, "dddddp", [8, 10]),
        ("fire", 9, 12, Op.CHANNELS, "ddd", [4, 4]),
        # conv | relu conv relu conv concat |
        ("dense", 1, 6, Op.CHANNELS, "wwwdd", [4]),
        ("dense", 16, 19, Op.CHANNELS, "wdd", [9]),
        ("dense", 0, 3, Op.SUM, "", []),
        # conv relu depthwise relu | pool conv relu conv sigmoid mul conv
        ("gate", 0, 4, Op.CHANNELS, "dddd", [12]),
        ("gate", 4, 11, Op.SUM, "wwwddd" + "p", [12]),
        ("gate", 2, 11, Op.SUM, "wwwwwdddp", [12]),
        ("numbers", 0, 11, Op.CHANNELS, "d" * 11, [8]),
        ("numbers", 0, 13, Op.SUM, "d" * 11 + "pp", [8]),
        # conv relu | conv relu conv conv relu conv pool sigmoid mul conv sum sub sub div neg add
        # pool flatten | relu gemm
        ("terms", 2, 20, Op.SUM, "ddpddpwwpdpppppppp", [6, 5, 8]),
        ("terms", 2, 21, Op.CHANNELS, "wwdwwdwwddddddddddd", [8]),
        ("turned", 2, 5, Op.SUM, "ddp", [8]),
        ("turned", 4, 9, Op.CHANNELS, "wwddd", [6]),
    ],
)
def test_who_computes_what(family, start, end, op, expected, units):
    network = getattr(families, family)()
    if not expected:
        assert (start, end) not in {each.key for each in regions(network).regions}
        return
    found = region(network, start, end)
    assert (found.op, kinds(found)) == (op, expected)
    assert [width.units for width in found.widths] == units
    assert (found.source.name, found.tensor.name) != ("", "")


def test_units_are_blocks_where_channels_go_together():
    found = region(families.grouped(), 0, 9)
    assert [point.runs for point in found.points] == [(Run(found.widths[0].name, 2, 12),)]
    flat = region(families.plain(), 5, 10)
    (point,) = flat.points
    assert point.runs == (Run(flat.widths[0].name, 14, 4),)
    assert point.entries == 56
    assert point.of(flat.widths[0].name, (2, 0)) == (8, 9, 10, 11, 0, 1, 2, 3)


def test_what_all_devices_have_is_of_no_width():
    found = region(families.dense(), 1, 6)
    (point,) = found.points
    assert [(bool(run.width), run.entries) for run in point.runs] == [(False, 6), (True, 4)]
    assert found.channels({}) == (0, 1, 2, 3, 4, 5)
    assert found.stays({}) == 6


def test_shares_tell_what_belongs_to_whom():
    found = region(families.fire(), 2, 8)
    left, right = found.widths
    summing = found.shares[-1]
    assert summing.widths == {left.name: pytest.approx(8 / 18), right.name: pytest.approx(10 / 18)}
    assert summing.macs == 18 * 7 * 81
    assert left.macs == 6 * 81 + 7 * 81
    assert left.bytes == 4 * (6 + 1 + 7)  # its weights, its bias, and what the sum reads of it


def test_regions_begin_and_end_where_one_tensor_crosses():
    network = families.residual()
    ends = {cut.at for cut in network.cuts if len(cut.tensors) == 1} | {0, len(network.nodes)}
    found = regions(network).regions
    assert {place for each in found for place in each.key} <= ends
    assert [each.key for each in found] == sorted({each.key for each in found})
    assert all(each.whole_macs < each.macs for each in found)


def test_whys_are_of_layers_that_are_dealt_nowhere():
    found = regions(families.bottleneck())
    (why,) = found.whys
    assert (why.node, why.op) == (2, "Conv")
    assert why.words == (
        "Relu 'relu5' behind it needs the whole sum, and between them more than one tensor crosses"
    )


def test_nothing_is_dealt_of_weights_that_are_not_constant():
    data = model(
        [node("MatMul", "x y", "a"), node("Relu", "a", "b")],
        [tensor("x", [1, 4, 6]), tensor("y", [1, 6, 5])],
        ["b"],
    )
    found = regions(load(data))
    assert not found.regions
    assert [why.words for why in found.whys] == ["it has weights that are computed while it runs"]


def test_nothing_is_dealt_of_a_single_channel():
    net = Net()
    network = net.load(net.relu(net.conv("x", 3, 1)))
    found = regions(network)
    assert not found.regions
    assert [why.words for why in found.whys] == ["it makes a single channel"]


def test_what_mixes_channels_needs_all_of_them():
    net = Net(size=4)
    x = net.add("Softmax", net.conv("x", 3, 8), axis=1)
    network = net.load(net.conv(x, 8, 4))
    found = {each.key: kinds(each) for each in regions(network).regions}
    assert found == {(0, 1): "d", (0, 3): "wwd", (1, 3): "wd", (2, 3): "d"}


def test_a_pad_that_names_its_axes_needs_all_channels():
    """Where the numbers of the channels stand depends on the order of the axes."""
    net = Net(size=4)
    pads, axes = net.constant(np.array([0, 0, 1, 0, 0, 0, -1, 0])), net.constant([0, 2, 1, 3])
    x = net.add("Pad", f"{net.conv('x', 3, 8)} {pads} _ {axes}")
    network = net.load(net.conv(x, 8, 4), opset=18)
    found = {each.key: kinds(each) for each in regions(network).regions}
    assert found == {(0, 1): "d", (0, 3): "wwd", (1, 3): "wd", (2, 3): "d"}


def test_rows_that_are_not_images_are_not_dealt():
    """Images that become several rows each: a shard would make zeros of the wrong shape."""
    data = model(
        [
            node("Reshape", "x to", "a"),
            node("Conv", "a w", "b", kernel_shape=[1, 1]),
            node("Relu", "b", "c"),
        ],
        [tensor("x", ["n", 6, 4, 4])],
        ["c"],
        {"to": [-1, 3, 4, 4], "w": random(5, 3, 1, 1)},
    )
    assert {each.key for each in regions(load(data)).regions} == {(1, 2), (1, 3), (2, 3)} - {(2, 3)}


def test_images_that_do_not_come_first_are_not_dealt():
    data = model(
        [node("Transpose", "x", "a", perm=[1, 0, 2]), node("MatMul", "a w", "y")],
        [tensor("x", ["n", 4, 6])],
        ["y"],
        {"w": random(6, 5)},
    )
    assert not regions(load(data)).regions


def test_an_opset_that_cannot_make_zeros_is_named():
    net = Net()
    found = regions(net.load(net.conv(net.relu(net.conv("x", 3, 4)), 4, 4), opset=7))
    assert not found.regions
    assert {why.words for why in found.whys} == {"shards need opset 8 or later"}

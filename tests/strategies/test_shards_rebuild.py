"""What is missing rebuilt from what is here."""

from __future__ import annotations

import numpy as np
import pytest
from tests.model.nets import model, node, random, tensor

from shoal.model.network import load
from shoal.model.shards import masked, regions
from shoal.model.shards.mend import Map, mendable, mended
from shoal.strategies.shards.rebuild import Together


def test_what_follows_from_others_is_rebuilt_and_what_does_not_is_its_mean() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 4)) + 2.0
    rows[:, 2] = 3 * rows[:, 0] - rows[:, 1] + 5
    found, left = Together.of(rows).rebuild([2, 3])
    here = np.where([True, True, False, False], rows, 0.0)
    rebuilt = here @ found.matrix.T + found.offset
    assert np.allclose(rebuilt[:, :2], rows[:, :2])
    assert np.abs(rebuilt[:, 2] - rows[:, 2]).max() < 0.05
    assert np.abs(rebuilt[:, 3] - rows[:, 3].mean()).max() < 0.5
    assert left[0] < 1e-4
    assert left[1] > 0.95


def test_where_nothing_is_here_all_is_its_mean() -> None:
    found, left = Together.of(np.arange(6.0).reshape(3, 2)).rebuild([0, 1])
    assert not found.matrix.any()
    assert found.offset.tolist() == [2.0, 3.0]
    assert left.tolist() == [1.0, 1.0]


BETA = {"Gemm": 1.0, "Gemm that halves its bias": 0.5, "Gemm without use of its bias": 0.0}


def two_layers(op: str):
    """A sum over twelve units that a convolution or a dense layer reads, with and without bias."""
    if op in BETA:
        nodes = [
            node("Gemm", "x w1", "a"),
            node("Relu", "a", "b"),
            node("Gemm", "b w2 c2", "y", transB=1, beta=BETA[op]),
            node("Relu", "y", "z"),
        ]
        weights = {"w1": random(6, 12), "w2": random(5, 12, seed=1), "c2": random(5, seed=2)}
        return model(nodes, [tensor("x", ["n", 6])], ["z"], weights)
    nodes = [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b w2", "y"),
        node("Relu", "y", "z"),
    ]
    weights = {"w1": random(12, 3, 3, 3), "w2": random(5, 12, 3, 3, seed=1)}
    return model(nodes, [tensor("x", ["n", 3, 8, 8])], ["z"], weights)


@pytest.mark.parametrize("op", ["Conv", *BETA])
def test_a_map_in_the_weights_does_what_it_does_to_the_tensor(op: str) -> None:
    network = load(two_layers(op))
    region = next(r for r in regions(network).regions if r.key == (0, 3))
    (point,) = region.points
    assert mendable(network, region) == {point.tensor.name}
    gone = [1, 4, 7]
    matrix = random(12, 12, seed=5).astype(np.float64)
    matrix[:, gone] = 0
    found = Map(matrix, random(12, seed=6).astype(np.float64))
    feeds = network.probe(3, batch=2)
    with_map = mended(network, [region], {point.tensor.name: found})
    keep = np.ones(12, np.float32)
    keep[gone] = 0
    (given,) = masked(with_map, [region]).run(feeds, {point.tensor.name: keep}).values()
    # The same by hand: the tensor at the point, turned by the map, through the rest.
    tapped = masked(network, [region], taps=True).run(feeds)[point.tensor.name]
    turned = np.moveaxis(np.moveaxis(tapped, 1, -1) @ matrix.T + found.offset, -1, 1)
    if op == "Conv":
        wide = np.lib.stride_tricks.sliding_window_view(turned, (3, 3), axis=(2, 3))
        expected = np.einsum("nihwkl,oikl->nohw", wide, random(5, 12, 3, 3, seed=1))
    else:
        expected = turned @ random(5, 12, seed=1).T + BETA[op] * random(5, seed=2)
    expected = np.maximum(expected, 0)
    assert np.allclose(given, expected, atol=1e-4 * np.abs(expected).max())

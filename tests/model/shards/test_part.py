"""Shards of all devices, joined, are the whole."""

import numpy as np
import pytest

from shoal.errors import InputError
from shoal.model.shards import Op, Units, regions, shard
from tests.model.shards import families
from tests.model.shards.joining import deal, difference, join, run, tensors


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
def test_slices_joined_are_the_tensor(network, devices):
    random = np.random.default_rng(devices)
    feeds = network.probe(7, 1 if network.inputs[0].shape[0] else 3)
    expected = tensors(network, feeds)
    for region in regions(network).regions:
        dealing = deal(region, devices, random)
        slices = run(network, region, dealing, expected[region.source.name])
        found = join(region, dealing, slices, int(random.integers(len(dealing))))
        assert difference(expected[region.tensor.name], found) < 1e-5, region.key

"""Requests are run together only where that has been measured to pay, and fits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.toys.network import ToyProfile

from shoal.plan.batching import LEAST_GAIN, best_batch, common_batch
from shoal.plan.cluster import Cluster, Device
from shoal.plan.profiles import DeviceProfile, Profiles
from shoal.plan.size import Size


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        ([], 1),
        ([{}], 1),
        ([{4: 0.98, 8: 0.96}], 1),
        ([{4: 0.9, 8: 0.7}], 8),
        ([{4: 0.71, 8: 0.7}], 4),
        ([{4: 1.2, 8: 0.9}], 8),
        ([{4: 0.7}, {}], 1),
        ([{4: 0.7, 8: 0.6}, {4: 0.9, 8: 1.1}], 4),
        ([{4: math.inf}], 1),
    ],
)
def test_the_batch_is_the_one_with_which_the_slowest_to_gain_gains_most(measured, best):
    assert common_batch(measured) == best


ratio_maps = st.dictionaries(st.sampled_from([2, 4, 8, 16]), st.floats(0.1, 2.0))


@given(st.lists(ratio_maps, min_size=1, max_size=4))
def test_nobody_is_made_slower_by_it(measured):
    batch = common_batch(measured)
    if batch > 1:
        assert all(each[batch] <= 1 - LEAST_GAIN for each in measured)


def test_a_device_with_little_memory_is_not_given_large_batches():
    cluster = Cluster(devices=(Device(name="a", memory=Size(500)), Device(name="b")))
    profile = DeviceProfile(ToyProfile((1.0,)), batch_ratio={4: 0.8, 8: 0.6})
    profiles = Profiles(dict.fromkeys("ab", profile))
    assert best_batch("a", 100, True, cluster, profiles) == 4
    assert best_batch("b", 100, True, cluster, profiles) == 8
    assert best_batch("ab", 100, True, cluster, profiles) == 4
    assert best_batch("ab", 100, False, cluster, profiles) == 1

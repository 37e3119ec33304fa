"""The bench of trust: networks that mix images and those that do not, served and held against the
engine."""

import numpy as np
import onnxruntime as ort
import pytest

from shoal.model.network import Network
from shoal_benchmarks import registry, trust
from shoal_benchmarks.trust import independence
from shoal_benchmarks.trust.crowd import Crowd
from shoal_benchmarks.trust.generated import DYNAMIC, apart, mixing
from shoal_benchmarks.trust.mixers import MIXERS

KINDS = len(MIXERS) + 4


@pytest.fixture
def crowd(tmp_path):
    with Crowd(tmp_path) as found:
        yield found


def test_the_bench_is_all_sections_in_turn(monkeypatch):
    monkeypatch.setattr(independence, "rows", lambda quick: iter([f"independence {quick}"]))
    monkeypatch.setattr(trust, "SECTIONS", ("independence",))
    assert list(registry.find("trust").rows(True)) == ["independence True"]


def test_the_same_seed_makes_the_same_network_and_each_way_to_mix_comes_up():
    assert apart(3).model == apart(3).model != apart(4).model
    assert {mixing(seed).mixer for seed in range(KINDS)} == {
        DYNAMIC,
        *(mixer.__name__ for mixer in MIXERS),
    }
    assert apart(3).mixer is None


def test_images_are_of_very_different_sizes_and_the_same_for_the_same_seed():
    images = apart(1).images()
    largest = [max(np.abs(array).max() for array in feeds.values()) for feeds in images]
    assert max(largest) > 1e4 * min(size for size in largest if size)
    for feeds, again in zip(images, apart(1).images(), strict=True):
        for name, array in feeds.items():
            np.testing.assert_array_equal(array, again[name])


@pytest.mark.parametrize("seed", range(KINDS))
def test_networks_that_mix_still_have_an_answer_for_each_image(seed):
    generated = mixing(seed)
    session = ort.InferenceSession(generated.model, providers=["CPUExecutionProvider"])
    images = generated.images(3)
    made = session.run(None, {n: np.concatenate([f[n] for f in images]) for n in images[0]})
    assert all(len(array) == 3 for array in made)


def test_a_few_networks_are_served_and_no_answer_is_wrong(crowd):
    found = independence.counted(crowd, map(mixing, range(0, KINDS, 3)))
    assert (found.wrong, found.together, found.stacked) == (0, 0, 0)
    assert found.mixed >= 0.7 * found.networks, "they would be wrong"
    found = independence.counted(crowd, map(apart, range(8)))
    assert (found.wrong, found.together, found.mixed) == (0, found.networks, 0)
    assert found.answers == 2 * 8 * found.networks
    assert found.stacked


def test_wrong_answers_are_counted_where_networks_that_mix_are_run_together(crowd, monkeypatch):
    """Nothing is reasoned and nothing tried: what the bench is for."""
    monkeypatch.setattr(Network, "_mixing", lambda self, names: None)
    monkeypatch.setattr("shoal.model.network.contradiction", lambda *given: None)
    found = independence.counted(crowd, map(mixing, range(0, KINDS, 6)))
    assert found.wrong > 10
    assert found.together == found.networks - found.refused

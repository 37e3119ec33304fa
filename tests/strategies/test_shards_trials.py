"""A network with units taken out, and what they add."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from shoal import zoo
from shoal.model.network import load
from shoal.model.shards import regions
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Sample
from shoal.strategies.shards.promise import BACK, Promise
from shoal.strategies.shards.replicate import uniform
from shoal.strategies.shards.trials import Contributions, Trials, exact, holes
from shoal.task import Judge, task_of
from shoal.task.agreement import WRONG

KEYS = ((0, 3), (3, 8), (19, 25))


@pytest.fixture(scope="module")
def network():
    return load(zoo.path("fashion-resnet"))


@pytest.fixture(scope="module")
def dealt(network):
    found = {region.key: region for region in regions(network).regions}
    return tuple(found[key] for key in KEYS)


@pytest.fixture(scope="module")
def images():
    return zoo.samples("fashion-resnet").images[:40]


@pytest.fixture(scope="module")
def deck(network, dealt, images):
    return Deck(network, dealt, (1.0, 1.0, 1.0), images)


@pytest.fixture(scope="module")
def sample(network, images):
    outputs = network.run({network.inputs[0].name: images})
    return Sample.of(images, None, task_of(network), outputs)


def test_while_nobody_is_lost_all_is_kept(deck, sample):
    dealings = deck.deal(uniform(deck.layers, 0.0))
    kept = deck.trials.kept(sample, dealings, (), deck.means)
    assert (kept.good, kept.count) == (40, 40)
    assert kept.apart < 1e-6


def test_holes_are_where_units_are_missing(deck, dealt):
    dealings = deck.deal(uniform(deck.layers, 0.5))
    keep, fill = holes(deck.trials.points, dealings, (1,), deck.means)
    for region in dealt:
        for point in region.points:
            gone = {
                place
                for width in region.widths
                for place in point.of(width.name, dealings[width.name].missing((1,)))
            }
            name = point.tensor.name
            assert set(np.flatnonzero(keep[name] == 0)) == gone
            assert gone
            assert set(np.flatnonzero(fill[name])) <= gone
            found = fill[name][sorted(gone)]
            assert np.array_equal(found, deck.means[name][sorted(gone)])


def test_the_most_important_units_are_common(deck):
    dealings = deck.deal(uniform(deck.layers, 0.25))
    for (_, width), values in zip(deck.widths, deck.importance, strict=True):
        assert values.sum() == pytest.approx(1)
        common = set(dealings[width.name].common)
        rest = set(range(width.units)) - common
        assert min(values[list(common)]) >= max(values[list(rest)])


def test_each_device_has_something_of_what_is_put_together(network, dealt, images):
    """Sixteen channels on seventeen devices: one of them is common."""
    deck = Deck(network, dealt, (1.0,) * 17, images)
    dealings = deck.deal(uniform(deck.layers, 0.0))
    first = dealings[dealt[0].widths[0].name]
    assert len(first.common) == 1
    assert first.units == 16


def test_moments_are_those_of_the_tensors(network, dealt, images):
    trials = Trials(network, dealt)
    found = trials.moments(images)
    point = dealt[0].points[0]
    (_, rest) = network.split([dealt[0].end], prove=False)
    (first, _) = network.split([dealt[0].end], prove=False)
    made = first.run({network.inputs[0].name: images})[point.tensor.name]
    moments = found[point.tensor.name]
    assert np.allclose(moments.mean, made.mean(axis=(0, 2, 3)), atol=1e-5)
    assert np.allclose(moments.spread, made.std(axis=(0, 2, 3)), atol=1e-3)
    assert np.allclose(moments.strength, np.sqrt((made**2).mean(axis=(0, 2, 3))), atol=1e-3)
    assert rest.inputs == (point.tensor.name,)


def test_what_units_add_is_linear(network, dealt):
    adds = Contributions(network, dealt[1])
    (point,) = dealt[1].points
    rows = np.eye(point.entries, dtype=np.float32)
    found = adds.of({point.tensor.name: rows})
    (together,) = adds.of({point.tensor.name: np.ones((1, point.entries), np.float32)})
    assert np.allclose(found.sum(axis=0), together, atol=1e-4)
    assert len(found) == point.entries


def test_a_promise_tells_what_costs_more(deck, sample):
    promise = Promise(deck, sample, sample, 1, 0.5, 0.95)
    full, half, none = (uniform(deck.layers, rho) for rho in (1.0, 0.5, 0.0))
    assert promise.loss(full) == 0.0
    assert 0 < promise.loss(half) < promise.loss(none)
    assert exact(deck.deal(full), (0,))
    assert not exact(deck.deal(half), (0,))
    shares = [min(each.share for each in kept) for _, kept in promise.curve((0.0, 1.0))]
    assert shares[0] < shares[1] == 1.0


def test_what_is_searched_by_keeps_what_as_many_held_images_would_need(deck, sample):
    promise = Promise(deck, sample, sample, 1, 0.5, 0.95)
    first = next(promise.commons(lambda common: True, 0.95))
    dealings = deck.deal(first)
    kept = [deck.trials.kept(sample, dealings, lost, deck.means) for lost in promise.sets]
    assert min(each.bound(0.95) for each in kept) >= 0.5
    assert first != uniform(deck.layers, 1.0)


def test_what_the_promise_is_measured_on_has_no_say_in_the_search(deck, sample):
    """Held images whose answers nothing can keep lead to the very same ways."""
    wrong = replace(sample, judges=(Judge(True, lambda found: WRONG),) * len(sample))
    fair, unfair = (
        list(Promise(deck, sample, held, 1, 0.8, 0.95).commons(lambda common: True, 0.95))
        for held in (sample, wrong)
    )
    assert fair == unfair


@pytest.mark.parametrize("rho", [1.0, 0.5])
def test_it_is_gone_back_step_by_step_to_all_that_can_be_common(deck, sample, rho):
    """``rho`` is about what there is room for."""
    room = sum(uniform(deck.layers, rho))
    promise = Promise(deck, sample, sample, 1, 0.5, 0.95)
    ways = list(promise.commons(lambda common: sum(common) <= room, 0.95))
    assert len(ways) == 1 + len(BACK)
    for few, more in itertools.pairwise(ways):
        assert few != more
        assert all(a <= b for a, b in zip(few, more, strict=True))
    assert 0.9 * room <= sum(ways[-1]) <= room


def test_to_keep_everything_takes_all(deck, sample):
    promise = Promise(deck, sample, sample, 1, 1.0, 0.95)
    assert list(promise.commons(lambda common: True, 0.95)) == [uniform(deck.layers, 1.0)]

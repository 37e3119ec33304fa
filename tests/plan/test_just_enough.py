"""Where a wish is just met, a gain just worth it, and a plan just as good."""

import math

import pytest
from tests.toys.network import ToyProfile

from shoal.errors import PlanError
from shoal.plan.batching import best_batch, common_batch
from shoal.plan.cluster import Cluster, Device
from shoal.plan.objective import Aim, Objective, cost
from shoal.plan.plan import Forecast, Missing
from shoal.plan.profiles import DeviceProfile, Profiles
from shoal.plan.recommend import Option, recommend
from shoal.plan.size import Size


def forecast(latency_ms=10.0, images_per_s=100.0, **more):
    return Forecast(latency_ms, images_per_s, **more)


def offer(strategy, latency_ms, images_per_s, **facts):
    return Option(strategy, forecast=Forecast(latency_ms, images_per_s, **facts))


LIMITS = {
    "max_latency_ms": (10.0, forecast(10.0), forecast(10.1)),
    "min_images_per_s": (100.0, forecast(), forecast(images_per_s=99.9)),
    "min_accuracy": (0.5, forecast(accuracy=0.5), forecast(accuracy=0.49)),
    "max_bytes_per_image": (7.0, forecast(bytes_per_image=7.0), forecast(bytes_per_image=7.1)),
    "max_memory": (
        Size(9),
        forecast(memory={"a": 9, "b": 3}),
        forecast(memory={"a": 3, "b": 10}),
    ),
    "max_energy_j": (2.0, forecast(energy_j=2.0), forecast(energy_j=2.1)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_alone_is_just_met_or_just_broken(name):
    limit, just, over = LIMITS[name]
    wish = Objective(**{name: limit})
    assert wish.broken(just) == []
    assert len(wish.broken(over)) == 1
    assert wish.order([over, just]) == [1, 0]


def test_what_is_not_known_breaks_no_limit():
    wish = Objective(max_memory=Size(0), max_energy_j=0.0)
    assert wish.broken(forecast()) == []
    assert len(wish.broken(forecast(memory={"a": 1}, energy_j=0.1))) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"min_accuracy": 0.0},
        {"min_accuracy": 1.0},
        {"tolerance": 0.0},
        {"tolerance": 0.999},
        {"min_images_per_s": 0.0},
        {"max_bytes_per_image": 0.0},
        {"max_energy_j": 0.0},
        {"max_latency_ms": 1e-6},
    ],
)
def test_the_last_wish_that_can_be_is_one(fields):
    assert Objective(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"min_accuracy": -0.01},
        {"min_accuracy": 1.01},
        {"tolerance": -0.01},
        {"tolerance": 1.0},
        {"min_images_per_s": -0.1},
        {"min_images_per_s": math.inf},
        {"max_bytes_per_image": -1.0},
        {"max_energy_j": math.inf},
        {"max_latency_ms": 0.0},
    ],
)
def test_the_first_that_cannot_is_refused(fields):
    with pytest.raises(PlanError):
        Objective(**fields)


def test_what_each_aim_makes_small():
    made = forecast(
        4.0, 250.0, accuracy=0.75, bytes_per_image=6.0, memory={"a": 3, "b": 5}, server_ms=7.0
    )
    costs = {aim: cost(made, aim) for aim in Aim}
    assert costs == {
        Aim.LATENCY: 4.0,
        Aim.THROUGHPUT: 4.0,
        Aim.ACCURACY: 0.25,
        Aim.BYTES: 6.0,
        Aim.MEMORY: 5.0,
        Aim.ENERGY: math.inf,
        Aim.SERVER_COST: 7.0,
    }
    assert cost(forecast(energy_j=0.5), Aim.ENERGY) == 0.5
    assert cost(forecast(images_per_s=0.0), Aim.THROUGHPUT) == math.inf
    assert cost(forecast(), Aim.MEMORY) == 0.0


def test_what_is_within_the_tolerance_is_decided_by_the_next_aim_and_no_further():
    wish = Objective(aims=(Aim.LATENCY, Aim.BYTES), tolerance=0.5)
    best = forecast(10.0, bytes_per_image=9.0)
    just = forecast(15.0, bytes_per_image=1.0)
    over = forecast(15.1, bytes_per_image=0.0)
    assert wish.order([best, just, over]) == [1, 0, 2]
    assert wish.order([over, best]) == [1, 0]
    assert Objective(aims=(Aim.LATENCY,)).order([forecast(2), forecast(1)]) == [1, 0]
    assert Objective(aims=()).order([forecast(2), forecast(1)]) == [1, 0]
    assert wish.order([best, best]) == [0, 1], "ties keep their order"


def test_the_fewest_limits_broken_come_first():
    wish = Objective(max_latency_ms=5, min_images_per_s=50, max_bytes_per_image=3)
    none = forecast(5, 60)
    one = forecast(6, 60)
    two = forecast(6, 40)
    three = forecast(6, 40, bytes_per_image=4)
    assert wish.order([three, two, one, none]) == [3, 2, 1, 0]


def test_short_forms_are_completed_where_they_name_one_aim():
    assert Objective.of("throughput").aims == (Aim.THROUGHPUT, Aim.LATENCY)
    assert Objective.of("latency,latency").aims == (Aim.LATENCY,)
    assert Objective.of("bytes").aims == (Aim.BYTES,)
    assert Objective.of("").aims == Objective().aims


# -- recommending


def test_a_gain_is_worth_it_from_just_over_its_share_on():
    wish = Objective.of("latency")
    base = offer("simple", 105.0, 10.0)
    assert recommend([base, offer("more", 100.0, 10.0)], wish).strategy == "simple"
    assert recommend([base, offer("more", 99.0, 10.0)], wish).strategy == "more"
    assert recommend([base, offer("more", 105.0, 11.0)], wish).strategy == "more"


def test_a_simpler_one_that_breaks_more_limits_is_not_as_good():
    wish = Objective(aims=(Aim.LATENCY,), max_bytes_per_image=5)
    simple = offer("simple", 100.0, 10.0, bytes_per_image=6)
    more = offer("more", 100.0, 10.0, bytes_per_image=5)
    found = recommend([simple, more], wish)
    assert [each.strategy for each in found.options] == ["more", "simple"]
    assert "(6 B per image > 5 B)" in found.reason
    both = recommend([simple, offer("more", 100.0, 10.0, bytes_per_image=7)], wish)
    assert both.strategy == "simple"
    assert both.reason.startswith("no strategy meets every limit")


def test_one_alone_is_recommended_without_a_next():
    assert "next best" not in recommend([offer("only", 1.0, 1.0)], Objective()).reason


# -- batches


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        ([{2: 0.95}], 2),
        ([{2: 0.951}], 1),
        ([{2: 0.52, 4: 0.5}], 2),
        ([{2: 0.521, 4: 0.5}], 4),
        ([{2: 0.9, 4: 0.94}], 2),
        ([{2: 0.94, 4: 0.96}], 2),
        ([{2: 0.5}, {2: 0.9, 4: 0.1}], 2),
        ([{2: 0.5}, {2: 0.96}], 1),
    ],
)
def test_a_batch_that_just_pays_is_taken_and_the_smaller_of_two_that_save_nearly_as_much(
    measured, best
):
    assert common_batch(measured) == best


def test_a_batch_that_just_fits_is_taken():
    profile = DeviceProfile(ToyProfile((1.0,)), batch_ratio={4: 0.8, 8: 0.6})
    profiles = Profiles({"a": profile})
    for limit, best in ((800, 8), (799, 4), (400, 4), (399, 1), (0, 8)):
        cluster = Cluster(devices=(Device(name="a", memory=Size(limit)),))
        assert best_batch("a", 100, True, cluster, profiles) == best


# -- what is known of accuracy


def test_the_accuracy_without_some_is_that_of_just_them_or_of_the_least_bad_set_that_has_them():
    made = forecast(
        accuracy=0.9,
        missing=(
            Missing(("a",), 0.8),
            Missing(("a", "b"), 0.5),
            Missing(("a", "c"), 0.6),
            Missing(("b", "c"), 0.7),
        ),
    )
    assert made.accuracy_without([]) == 0.9
    assert made.accuracy_without(["a"]) == 0.8
    assert made.accuracy_without(["b"]) == 0.7
    assert made.accuracy_without(["b", "a", "b"]) == 0.5
    assert made.accuracy_without(["a", "b", "c"]) is None
    assert made.accuracy_without(["z"]) is None

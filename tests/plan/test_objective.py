"""What users want, and which plan suits them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import PlanError
from shoal.plan.objective import Aim, Objective, cost
from shoal.plan.plan import Forecast
from shoal.plan.size import Size


def forecast(latency_ms=10.0, images_per_s=100.0, **more):
    return Forecast(latency_ms=latency_ms, images_per_s=images_per_s, **more)


def test_an_objective_has_a_short_form():
    assert Objective.of(None).aims == (Aim.THROUGHPUT, Aim.LATENCY)
    assert Objective.of("latency").aims == (Aim.LATENCY, Aim.THROUGHPUT)
    assert Objective.of("energy, bytes").aims == (Aim.ENERGY, Aim.BYTES)
    wish = Objective(max_latency_ms=3)
    assert Objective.of(wish) is wish
    with pytest.raises(PlanError, match="'speed' is no objective; use one or more of: latency"):
        Objective.of("speed")


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan")])
def test_a_latency_that_no_request_can_have_is_no_limit(limit: float):
    with pytest.raises(PlanError, match=r"max_latency_ms.* is no limit"):
        Objective(max_latency_ms=limit)


def test_the_first_aim_decides_and_the_second_where_it_hardly_matters():
    wish = Objective(aims=(Aim.THROUGHPUT, Aim.LATENCY), tolerance=0.05)
    slow, close, best = forecast(1, 50), forecast(5, 97), forecast(9, 100)
    assert wish.order([slow, close, best]) == [1, 2, 0]


def test_plans_that_break_limits_come_last_and_say_which():
    wish = Objective(
        max_latency_ms=5,
        min_images_per_s=10,
        min_accuracy=0.9,
        max_bytes_per_image=100,
        max_memory=Size(10),
        max_energy_j=1,
    )
    good = forecast(5, 10, accuracy=0.9, bytes_per_image=100, memory={"a": 10}, energy_j=1.0)
    bad = forecast(6, 9, accuracy=0.8, bytes_per_image=101, memory={"a": 11}, energy_j=2.0)
    assert wish.broken(good) == []
    assert len(wish.broken(bad)) == 6
    assert wish.broken(bad)[0] == "latency 6.0 ms > 5 ms"
    late = forecast(7, 1000)
    assert wish.order([bad, late, good]) == [2, 1, 0]


forecasts = st.builds(
    Forecast,
    latency_ms=st.floats(0.1, 100),
    images_per_s=st.floats(0.1, 100),
    accuracy=st.floats(0, 1),
    bytes_per_image=st.floats(0, 1e6),
    energy_j=st.none() | st.floats(0, 10),
)


@given(st.lists(forecasts, max_size=8), st.lists(st.sampled_from(Aim), min_size=1, unique=True))
def test_the_order_holds_each_plan_once_and_the_first_is_beaten_nowhere(found, aims):
    wish = Objective(aims=tuple(aims), tolerance=0.0)
    order = wish.order(found)
    assert sorted(order) == list(range(len(found)))
    for other in order:
        first = [cost(found[order[0]], aim) for aim in aims]
        assert first <= [cost(found[other], aim) for aim in aims]

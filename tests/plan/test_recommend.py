"""The advice that users get, with "do not distribute" among the answers."""

import msgspec
import pytest

from shoal.errors import PlanError
from shoal.plan.objective import Objective
from shoal.plan.plan import Forecast
from shoal.plan.recommend import Option, recommend

FAST = Objective.of("throughput")


def offer(strategy, latency_ms, images_per_s, slowest="", **facts):
    forecast = Forecast(latency_ms, images_per_s, slowest=slowest, **facts)
    return Option(strategy, strategy != "local", "a plan", ("a",), forecast)


def test_the_best_is_recommended_with_the_numbers_of_the_next():
    found = recommend([offer("local", 60, 16), offer("pipeline", 90, 64, "device pi-1")], FAST)
    assert (found.strategy, found.distribute) == ("pipeline", True)
    assert found.reason == (
        "use pipeline: 64.0 images/s and 90.0 ms, bounded by device pi-1; "
        "next best is local with 16.0 images/s and 60.0 ms"
    )


def test_not_distributing_is_recommended_when_the_links_eat_the_gain():
    options = [offer("local", 60, 16), offer("pipeline", 200, 9, "link gateway to pi-1")]
    found = recommend(options, FAST)
    assert (found.strategy, found.distribute) == ("local", False)
    assert found.reason.startswith("do not distribute: 16.0 images/s and 60.0 ms; next best is")
    assert "bounded by link gateway to pi-1" in found.reason


def test_a_gain_that_is_not_worth_it_is_left():
    found = recommend([offer("local", 60, 16), offer("pipeline", 60, 16.5)], FAST)
    assert not found.distribute
    assert [o.strategy for o in found.options] == ["local", "pipeline"]
    found = recommend([offer("pipeline", 60, 16.5), offer("local", 60, 16)], FAST)
    assert found.strategy == "pipeline", "which is the simpler one, as it comes first"


def test_limits_come_before_aims():
    options = [offer("local", 60, 16), offer("replicas", 80, 64)]
    found = recommend(options, Objective(max_latency_ms=70))
    assert found.strategy == "local"
    assert "next best is replicas with 64.0 images/s and 80.0 ms (latency 80.0 ms > 70 ms)" in (
        found.reason
    )


def test_when_no_strategy_meets_the_limits_that_is_said():
    found = recommend([offer("local", 60, 16)], Objective(max_latency_ms=7))
    assert found.reason.startswith("no strategy meets every limit; nearest to it, do not")
    assert found.reason.endswith("(broken: latency 60.0 ms > 7 ms)")


def test_strategies_that_refused_come_last_with_their_reason():
    refused = Option("remote", refused="no memory")
    found = recommend([refused, offer("local", 60, 16)], FAST)
    assert [o.strategy for o in found.options] == ["local", "remote"]
    with pytest.raises(PlanError, match="remote: no memory"):
        recommend([refused], FAST)


def test_every_aim_has_words():
    wish = Objective.of("energy,bytes,memory,accuracy,latency")
    known = offer("local", 60, 16, energy_j=0.5, bytes_per_image=2048, memory={"a": 1 << 20})
    reason = recommend([known, offer("remote", 70, 16)], wish).reason
    assert "0.5 J per image and 2.0 KiB per image and 1.0 MiB on one device" in reason
    assert "energy unknown" in reason


def test_a_loss_that_is_to_be_survived_is_a_limit():
    """Without a word about losses, they decide nothing."""
    quick = msgspec.structs.replace(offer("pipeline", 60, 99), unprotected=(("a", "b"),))
    options = [quick, offer("replicas", 60, 16)]
    assert recommend(options, FAST).strategy == "pipeline"
    found = recommend(options, msgspec.structs.replace(FAST, survive=2))
    assert found.strategy == "replicas"
    assert found.reason.endswith("(not without a and b)")
    assert "60.0 ms, keeping all of the accuracy with any 2 devices lost; next" in found.reason
    less = [msgspec.structs.replace(each, kept=0.9) for each in options]
    found = recommend(less[1:], msgspec.structs.replace(FAST, survive=1))
    assert found.reason.endswith(", keeping 0.900 of the accuracy with any device lost")
    alone = recommend([quick], msgspec.structs.replace(FAST, survive=2))
    assert alone.reason.endswith("(broken: not without a and b)")
    with pytest.raises(PlanError, match="survive: -1 devices"):
        Objective(survive=-1)

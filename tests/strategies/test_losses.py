"""What is left of a playbook when devices are lost, and what that is worth."""

import msgspec
import pytest
from tests.plan.test_playbook import HEAD, JOIN, PLAN, SHARDED, TAIL, make

from shoal.core.policy import Choice
from shoal.errors import PlanError
from shoal.plan.plan import Forecast, Missing, Plan, PolicySpec, Stage
from shoal.plan.recommend import Losses
from shoal.strategies import losses as module
from shoal.strategies.losses import MOST_SETS, accuracy_without, losses

EITHER = Stage({"a": "p2", "b": "p2"}, ("middle",), ("logits",))
ALONE = Plan("alone", (Stage({"c": "p1"}, ("image",), ("logits",)),), Forecast(1, 2, accuracy=0.8))


def sharded(least, *missing):
    join = msgspec.structs.replace(JOIN, least=least)
    stages = (msgspec.structs.replace(SHARDED, join=join), EITHER)
    return Plan("together", stages, Forecast(1, 2, missing=missing))


def test_what_is_kept_is_that_of_the_plan_that_the_policy_takes():
    """The plan on one device is exact, and the last resort of ``shards`` all the same."""
    whole = msgspec.structs.replace(ALONE, forecast=Forecast(1, 2))
    plans = sharded(1, Missing(("a",), 0.7)), whole
    shards = make(*plans, policy=PolicySpec("shards", {}))
    assert accuracy_without(shards, {"a"}) == 0.7
    assert accuracy_without(shards, {"b"}) == 0.0, "nobody knows"
    assert accuracy_without(shards, {"c"}) == 1.0
    assert accuracy_without(shards, {"a", "b"}) == 1.0
    assert accuracy_without(shards, {"a", "b", "c"}) is None
    needed = make(sharded(2), ALONE, policy=PolicySpec("shards", {}))
    assert accuracy_without(needed, {"a"}) == 0.8


def test_who_holds_what_others_hold_as_well_takes_nothing_away():
    """Of those who may run a stage, any one will do."""
    either = Plan("either", (HEAD, TAIL), Forecast(1, 2, missing=(Missing(("b",), 0.1),)))
    assert accuracy_without(make(either), {"b"}) == 1.0


@pytest.mark.parametrize(
    "answer", [lambda: 1 / 0, lambda: (None, None), lambda: (Choice(PLAN.name, ()), None)]
)
def test_a_policy_that_breaks_or_takes_what_cannot_be_followed_keeps_nothing(answer, monkeypatch):
    class Careless:
        def choose(self, playbook, view, at, memory):
            return answer()

    monkeypatch.setattr(module, "find_policy", lambda name: Careless())
    assert accuracy_without(make(PLAN, ALONE), {"a"}) is None


def test_what_nothing_can_do_without_is_named_the_small_sets_first():
    playbook = make(PLAN)
    assert losses(playbook, "gateway", 1, 0.0) == Losses((("a",),), 1.0)
    assert losses(playbook, "gateway", 3, 0.0) == Losses((("a",), ("b", "c")), 1.0)
    assert losses(playbook, "a", 3, 0.0).unprotected == (("b", "c"),), "the gateway is never lost"
    assert losses(playbook, "gateway", 0, 0.0) == Losses((), 1.0)


def test_what_keeps_too_little_is_no_protection():
    playbook = make(PLAN, ALONE)
    assert losses(playbook, "gateway", 1, 0.8) == Losses((), 0.8)
    assert losses(playbook, "gateway", 1, 0.81) == Losses((("a",),), 1.0)


def test_more_sets_than_can_be_looked_at_are_refused():
    many = Stage({f"d{k}": "p1" for k in range(40)}, ("image",), ("logits",))
    playbook = make(Plan("many", (many,), Forecast(1, 2)))
    assert losses(playbook, "gateway", 2, 0.0) == Losses((), 1.0)
    with pytest.raises(PlanError, match=f"3 of 40 devices .* at most {MOST_SETS}"):
        losses(playbook, "gateway", 3, 0.0)

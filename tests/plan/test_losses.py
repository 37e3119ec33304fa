"""What is left of a playbook when devices are lost, and what that is worth."""

import msgspec
import pytest
from tests.plan.test_playbook import HEAD, JOIN, PLAN, SHARDED, make

from shoal.errors import PlanError
from shoal.plan.losses import MOST_SETS, Losses, accuracy_without, losses, plans_without
from shoal.plan.plan import Forecast, Missing, Plan, Stage

TAIL = Stage({"a": "p2", "b": "p2"}, ("middle",), ("logits",))
ALONE = Plan("alone", (Stage({"c": "p1"}, ("image",), ("logits",)),), Forecast(1, 2, accuracy=0.8))


def names(playbook, *lost):
    return [plan.name for plan in plans_without(playbook, *lost)]


def sharded(name, least, *missing):
    join = msgspec.structs.replace(JOIN, least=least)
    stages = (msgspec.structs.replace(SHARDED, join=join), TAIL)
    return Plan(name, stages, Forecast(1, 2, missing=missing))


def test_the_plans_for_a_loss_are_found():
    playbook = make(PLAN, ALONE)
    assert names(playbook, "a") == ["alone"]
    assert names(playbook, "b") == ["a > b", "alone"], "c holds the same part"
    assert names(playbook, "b", "c") == []
    assert names(make(), "a") == []


def test_a_join_tells_who_may_be_missing():
    assert names(make(sharded("any", 1)), "a") == ["any"]
    assert names(make(sharded("any", 1)), "a", "b") == []
    assert names(make(sharded("both", 2)), "a") == []
    assert names(make(sharded("both", 2), PLAN), "c") == ["both", "a > b"]


def test_what_is_kept_is_that_of_the_best_plan_that_is_left():
    playbook = make(sharded("any", 1, Missing(("a",), 0.9)), ALONE)
    assert accuracy_without(playbook, {"a"}) == 0.9
    assert accuracy_without(playbook, {"b"}) == 0.8, "nothing is known of the first without b"
    assert accuracy_without(playbook, {"c"}) == 1.0
    assert accuracy_without(make(sharded("any", 1)), {"a"}) == 0.0
    assert accuracy_without(playbook, {"a", "b", "c"}) is None


def test_who_holds_what_others_hold_as_well_takes_nothing_away():
    """Of those who may run a stage, any one will do."""
    either = Plan("either", (HEAD, TAIL), Forecast(1, 2, missing=(Missing(("b",), 0.1),)))
    assert accuracy_without(make(either), {"b"}) == 1.0


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
    many = Stage({f"d{k}": "p1" for k in range(100)}, ("image",), ("logits",))
    playbook = make(Plan("many", (many,), Forecast(1, 2)))
    assert losses(playbook, "gateway", 2, 0.0) == Losses((), 1.0)
    with pytest.raises(PlanError, match=f"3 of 100 devices .* at most {MOST_SETS}"):
        losses(playbook, "gateway", 3, 0.0)

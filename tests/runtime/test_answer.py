"""What a client is told."""

import numpy as np
import pytest

from shoal.core.actions import Deliver, Given, Reject
from shoal.errors import DeadlineError, OverloadedError, RemoteError, UnservedError
from shoal.runtime.answer import make_answer, make_error
from shoal.runtime.body import Body


def deliver(**changes):
    facts = {
        "number": 1,
        "given": Given({"a": Body({"y": np.ones(3)})}),
        "plan": "both",
        "attempts": 1,
        "left_early": False,
        "confidence": None,
        "absent": (),
        "trace": (),
    }
    return Deliver(**{**facts, **changes})


def test_a_whole_answer_is_not_degraded():
    answer = make_answer(deliver(), 12.0)
    assert (answer.degraded, answer.why, answer.latency_ms) == (False, "", 12.0)
    np.testing.assert_array_equal(answer.outputs["y"], np.ones(3))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"absent": ("b", "c"), "accuracy": None},
            "without the slices of b, c: how accurate that is, is not known",
        ),
        ({"accuracy": 0.985}, "plan both keeps 98.5% of the accuracy"),
        (
            {"absent": ("b",), "accuracy": 0.9},
            "without the slices of b: 90.0% of the accuracy is kept",
        ),
        (
            {"accuracy": 0.9, "usual_accuracy": 0.985},
            "plan both keeps 90.0% of the accuracy, usually 98.5%",
        ),
        (
            {"left_early": True, "confidence": 0.5, "accuracy": None},
            "it left at an exit that was less sure than planned: how accurate that is, is not "
            "known",
        ),
        ({"unmet": ("latency", "energy")}, "no plan meets the limit of latency and energy now"),
    ],
)
def test_a_lesser_answer_says_why(changes, why):
    answer = make_answer(deliver(**changes), 1.0)
    assert answer.degraded
    assert answer.why == why


def test_the_plan_that_is_preferred_is_no_degradation_but_says_what_it_keeps():
    answer = make_answer(deliver(accuracy=0.985, usual_accuracy=0.985), 1.0)
    assert not answer.degraded
    assert answer.accuracy == 0.985


@pytest.mark.parametrize("known", [None, 0.985])
def test_an_answer_that_lacks_a_part_tells_what_is_kept_without_it_if_that_is_known(known):
    assert make_answer(deliver(absent=("b",), accuracy=known), 1.0).accuracy == known


def test_leaving_early_is_no_degradation_but_is_told():
    answer = make_answer(deliver(left_early=True, confidence=0.9, accuracy=0.99), 1.0)
    assert not answer.degraded
    assert (answer.left_early, answer.confidence) == (True, 0.9)


def test_leaving_less_sure_than_planned_is_degradation():
    answer = make_answer(deliver(left_early=True, confidence=0.4, accuracy=None), 1.0)
    assert (answer.degraded, answer.accuracy) == (True, None)
    assert "less sure than planned" in answer.why


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("deadline", DeadlineError),
        ("unserved", UnservedError),
        ("overloaded", OverloadedError),
        ("remote", RemoteError),
    ],
)
def test_each_kind_of_failure_is_an_error_of_its_own(kind, error):
    with pytest.raises(error, match="why not"):
        raise make_error(Reject(1, kind, "why not"))

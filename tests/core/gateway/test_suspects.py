"""What a gateway makes of devices that are lost while they may be running something."""

import pytest

from shoal.core.gateway.suspects import KEEP_S, MAX_CASES, MAX_LATE, Suspects
from shoal.core.messages import Care

P, Q = ("p",), ("q",)


@pytest.fixture
def suspects() -> Suspects:
    return Suspects(lambda body: (str(body),))


def test_what_may_have_run_when_a_device_was_lost_is_run_alone(suspects: Suspects) -> None:
    assert suspects.care(P) is Care.NONE
    suspects.charge(P, "a", "a1", False, 0.0)
    assert suspects.care(P) is Care.ALONE
    assert suspects.care(Q) is Care.NONE


def test_what_alone_ran_when_a_second_one_was_lost_is_run_apart(suspects: Suspects) -> None:
    suspects.charge(P, "a", "a1", False, 0.0)
    suspects.charge(P, "b", "b1", True, 1.0)
    assert suspects.care(P) is Care.APART


def test_a_device_may_be_lost_twice(suspects: Suspects) -> None:
    suspects.charge(P, "a", "a1", False, 0.0)
    suspects.charge(P, "a", "a1", True, 0.0)
    assert suspects.care(P) is Care.ALONE, "it is one death"
    suspects.charge(P, "a", "a2", False, 1.0)
    assert suspects.care(P) is Care.APART


def test_to_be_there_when_others_are_run_proves_nothing_however_often(suspects: Suspects) -> None:
    for life in range(5):
        suspects.charge(P, "a", f"a{life}", False, 0.0)
    assert suspects.care(P) is Care.ALONE


def test_what_a_process_of_its_own_died_of_is_not_run_any_more(suspects: Suspects) -> None:
    suspects.charge(P, "a", "a1", False, 0.0)
    suspects.charge(P, "b", "b1", True, 1.0)
    suspects.prove(P, "its process died", 2.0)
    assert suspects.care(P) is None
    assert "(a, b), and apart from them its process died" in suspects.why(P)


def test_a_device_that_is_seen_again_in_the_same_life_has_not_died(suspects: Suspects) -> None:
    suspects.charge(P, "a", "a1", False, 0.0)
    suspects.charge(P, "b", "b1", True, 1.0)
    suspects.lives("b", "b2")
    assert suspects.care(P) is Care.APART, "it is another life"
    suspects.lives("b", "b1")
    assert suspects.care(P) is Care.ALONE
    suspects.lives("a", "a1")
    assert suspects.care(P) is Care.NONE
    assert len(suspects) == 0


def test_an_answer_clears(suspects: Suspects) -> None:
    suspects.charge(P, "a", "a1", True, 0.0)
    suspects.charge(Q, "a", "a1", False, 0.0)
    suspects.clear(P)
    assert (suspects.care(P), suspects.care(Q)) == (Care.NONE, Care.ALONE)


def test_after_a_while_it_may_be_tried_again(suspects: Suspects) -> None:
    suspects.prove(P, "its process died", 0.0)
    suspects.charge(Q, "a", "a1", True, 100.0)
    suspects.expire(KEEP_S - 1)
    assert suspects.care(P) is None
    suspects.expire(KEEP_S)
    assert (suspects.care(P), suspects.care(Q)) == (Care.NONE, Care.ALONE)


def test_each_of_those_that_were_put_together_is_charged_but_only_all_are_proved(
    suspects: Suspects,
) -> None:
    both = ("p", "q")
    suspects.charge(both, "a", "a1", False, 0.0)
    suspects.charge(both, "b", "b1", True, 0.0)
    suspects.prove(both, "its process died", 0.0)
    assert suspects.care(both) is None
    assert (suspects.care(P), suspects.care(Q)) == (Care.APART, Care.APART)
    suspects.clear(Q)
    assert suspects.care(Q) is Care.NONE
    suspects.prove(P, "its process died", 0.0)
    assert suspects.care(("p", "r")) is None, "among others it is the same"
    assert suspects.care(("q", "r")) is Care.NONE


def test_what_ended_unanswered_may_still_be_running(suspects: Suspects) -> None:
    suspects.note_late(7, P, {"a": "a1"}, {}, 0.0)
    suspects.note_late(8, Q, {"a": "a1", "b": "b1"}, {"b": "b1"}, 0.0)
    assert suspects.late(7) == P
    assert not suspects.lost("a", "a1", 1.0)
    assert (suspects.care(P), suspects.care(Q)) == (Care.ALONE, Care.ALONE)
    assert suspects.lost("b", "b1", 1.0), "it alone ran there"
    assert suspects.care(Q) is Care.APART
    assert not suspects.lost("b", "b2", 1.0)


def test_it_does_not_run_for_ever(suspects: Suspects) -> None:
    suspects.note_late(7, P, {"a": "a1"}, {}, 0.0)
    suspects.lost("a", "a1", 1000.0)
    assert suspects.care(P) is Care.NONE


def test_what_is_remembered_is_bounded(suspects: Suspects) -> None:
    for k in range(2 * MAX_CASES):
        suspects.charge((str(k),), "a", "a1", False, float(k))
        suspects.note_late(k, (str(k),), {}, {}, 0.0)
    assert len(suspects) == MAX_CASES
    assert suspects.care((str(2 * MAX_CASES - 1),)) is Care.ALONE
    assert len(suspects._late) == MAX_LATE

"""What is told of answers."""

from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.cli.answers import SHOWN, Tally, answers_table, class_of, describe, ran_on
from shoal.cli.asking import End
from shoal.cli.output import stdout
from shoal.errors import DeadlineError, UnservedError
from shoal.runtime.answer import Answer

CLASSES = ("boot", "bag", "coat")


def answer(**outputs: Any) -> Answer:
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    return Answer(arrays, "plan", (), 5.0)


def scores(*row: float) -> Any:
    return np.array([row], np.float32)


def end(number: int, outcome: Any, label: int | None = None) -> End:
    return End(number, f"image {number}", label, outcome)


def test_those_who_ran_a_stage_together_are_shown_together() -> None:
    stages = [(0, "a"), (1, "c"), (1, "b"), (2, "a")]
    assert ran_on([{"stage": k, "device": name} for k, name in stages]) == "a -> b + c -> a"


def test_those_who_ran_several_stages_in_turn_are_named_once() -> None:
    stages = [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (3, "a"), (4, "b")]
    told = ran_on([{"stage": k, "device": name} for k, name in stages])
    assert told == "a + b (2 stages) -> a (2 stages) -> b"


def test_the_class_is_that_of_the_named_output_wherever_it_stands() -> None:
    facts = describe(end(0, None, 1), answer(boxes=scores(9, 0), y=scores(0, 3, 1)), "y", CLASSES)
    assert (facts["class"], facts["name"], facts["right"]) == (1, "bag", True)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3), np.float32),  # of which image?
        np.zeros((1, 1), np.float32),
        np.zeros((3,), np.float32),
        np.zeros((), np.float32),
        np.zeros((1, 3, 4), np.float32),
        np.array([[1.0, np.nan, 0.0]]),
        np.array([[3, 7, 1]]),  # words or indices
        np.array([[True, False]]),
    ],
)
def test_what_holds_no_scores_names_no_class_and_is_not_wrong(array: Any) -> None:
    assert class_of(array) is None
    facts = describe(end(0, None, 0), answer(y=array), "y", CLASSES)
    assert (facts["class"], facts["name"], facts["right"]) == (None, None, None)
    tally = Tally(1, "y", CLASSES)
    tally.take(end(0, answer(y=array), 0))
    assert (tally.labelled, tally.right, tally.failed) == (0, 0, 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8"])
def test_scores_may_be_rounded(dtype: str) -> None:
    assert class_of(np.array([[1, 0, 7]], dtype)) == 2


def test_an_answer_that_left_by_an_exit_without_the_output_names_no_class() -> None:
    assert describe(end(0, None), answer(z=scores(1, 2)), "y", ())["class"] is None


def test_impossible_is_a_score() -> None:
    assert class_of(scores(-np.inf, 1, 0)) == 1


def test_numbers_that_are_none_are_said_and_make_no_invalid_json() -> None:
    tally = Tally(1, "y", CLASSES)
    facts = tally.take(end(0, answer(y=scores(0, np.nan), z=scores(1, 2)), 0))
    assert facts["nan"] == ["y"]
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    console = stdout()
    with console.capture() as shown:
        console.print(answers_table(tally))
    assert "NaN in y" in shown.get()


def test_what_is_told_is_counted() -> None:
    tally = Tally(100, "y", CLASSES)
    for number in range(30):
        tally.take(end(number, answer(y=scores(1, 0, 0)), label=number % 3))
    for number in range(30, 60):
        tally.take(end(number, UnservedError("nobody") if number % 2 else DeadlineError("late")))
    assert (tally.told, tally.left) == (60, 40)
    assert (tally.labelled, tally.right, tally.failed) == (30, 10, 30)
    assert tally.reasons == {"DeadlineError": 15, "UnservedError": 15}
    assert str(tally.first_failure) == "late"
    assert len(tally.shown) == 2 * SHOWN

"""Asking in order, and what is known when it ends before its time."""

import itertools
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from shoal.cli.asking import Asking, End
from shoal.cli.inputs import Case, Cases, Unread
from shoal.errors import InputError, ShoalError, UnservedError


class _Service:
    """Answers so many requests, then nobody is left."""

    def __init__(self, answers: float = float("inf")) -> None:
        self.answers = answers
        self.asked: list[int] = []
        self.traced: list[bool] = []

    def submit_together(self, each: list[Any], trace: bool = False) -> list[Future[Any]]:
        self.asked.append(len(each))
        self.traced.append(trace)
        futures: list[Future[Any]] = [Future() for _ in each]
        for future in futures:
            if self.answers:
                future.set_result("an answer")
            else:
                future.set_exception(UnservedError("nobody is there"))
        self.answers = max(0, self.answers - 1)
        return futures


class _Lazy(Future[Any]):
    """Is answered when somebody waits for it."""

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.set_result("an answer")
        return super().result(timeout)


class _Waiting(_Service):
    """Answers what is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[_Lazy] = []

    @property
    def under_way(self) -> int:
        return sum(not future.done() for future in self.futures)

    def submit_together(self, each: list[Any], trace: bool = False) -> list[Future[Any]]:
        made = [_Lazy() for _ in each]
        self.futures += made
        return [*made]


def cases(count: int) -> Iterator[Case | Unread]:
    return (Case(str(k), {}) for k in range(count))


def asking(
    service: Any, given: Iterator[Case | Unread], width: int = 4, together: int = 1
) -> Asking:
    return Asking(service, Cases(given, 1000), width, together)


def outcomes(ends: Iterator[End]) -> list[Any]:
    return [end.outcome for end in ends]


@pytest.mark.parametrize(
    ("width", "together", "failures"), [(1, 1, 3), (4, 1, 4), (20, 1, 20), (4, 10, 40)]
)
def test_when_nobody_is_left_no_more_are_sent(
    width: int, together: int, failures: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = outcomes(asking(_Service(5), cases(1000), width, together).ends())
    assert ends[: 5 * together] == ["an answer"] * 5 * together
    assert len(ends) == 5 * together + failures
    assert f"the last {failures} inputs" in capsys.readouterr().err


@pytest.mark.parametrize("together", [1, 3, 4, 10])
def test_what_cannot_be_read_fails_alone(together: int) -> None:
    broken = InputError("no photo")

    def given() -> Iterator[Case | Unread]:
        for k in range(10):
            yield Unread("bad", broken) if k in (0, 4, 5, 9) else Case(str(k), {})

    ends = list(asking(_Service(), given(), together=together).ends())
    assert [end.number for end in ends] == list(range(10))
    assert [k for k, end in enumerate(ends) if end.outcome is broken] == [0, 4, 5, 9]
    assert [end.source for end in ends[:3]] == ["bad", "1", "2"]


@pytest.mark.parametrize("together", [1, 3, 5])
@pytest.mark.parametrize("width", [1, 2, 50])
def test_inputs_that_end_in_an_error_end_behind_their_answers(width: int, together: int) -> None:
    def given() -> Iterator[Case | Unread]:
        yield from cases(5)
        raise OSError("unplugged")

    ends = asking(_Service(), given(), width, together).ends()
    assert outcomes(itertools.islice(ends, 5)) == ["an answer"] * 5
    with pytest.raises(OSError, match="unplugged"):
        next(ends)


def test_a_request_that_cannot_be_asked_for_is_a_failure_of_its_inputs() -> None:
    class Refusing(_Service):
        def submit_together(self, each: list[Any], trace: bool = False) -> list[Future[Any]]:
            raise InputError("too many")

    ends = list(asking(Refusing(), cases(4), together=2).ends())
    assert [isinstance(end.outcome, ShoalError) for end in ends] == [True] * 4


@pytest.mark.parametrize("trace", [False, True])
def test_full_traces_are_asked_for_where_somebody_reads_them(trace: bool) -> None:
    service: Any = _Service()
    ends = Asking(service, Cases(cases(4), 1000), 4, 2, trace).ends()
    assert outcomes(ends) == ["an answer"] * 4
    assert service.traced == [trace] * 2


@pytest.mark.parametrize(
    ("width", "together", "most"), [(1, 1, 1), (3, 1, 3), (3, 4, 12), (1, 4, 4)]
)
def test_no_more_are_asked_for_than_may_be_under_way(width: int, together: int, most: int) -> None:
    service = _Waiting()
    ends = asking(service, cases(1000), width, together).ends()
    under_way = []
    for end in itertools.islice(ends, 40):
        assert end.outcome == "an answer"
        under_way.append(service.under_way + 1)  # this one was, until it was waited for
    assert max(under_way) == most
    assert min(under_way) > most - together


def test_who_gives_up_is_told_what_was_answered_by_then_and_cancels_the_rest() -> None:
    """The first is slow, and others were quicker."""
    service = _Waiting()
    asked = asking(service, cases(1000), width=8)
    ends = asked.ends()
    assert next(ends).number == 0
    ends.close()
    for number in (2, 5):
        service.futures[number].set_result("an answer")
    service.futures[6].set_exception(InputError("no photo"))
    assert [end.number for end in asked.rest()] == [0, 2, 5, 6]
    assert [k for k, future in enumerate(service.futures) if future.cancelled()] == [1, 3, 4, 7]
    assert list(asked.rest()) == []

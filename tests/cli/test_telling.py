"""Which stories are told of many requests."""

from typing import Any

import pytest

from shoal.cli.asking import End
from shoal.cli.telling import Stories
from shoal.errors import DeadlineError, InputError, RequestError, ShoalError
from shoal.runtime.answer import Answer


class _Service:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def story(self, of: int) -> Any:
        self.asked.append(of)
        return f"story of {of}"


def answered(number: int, ms: float, request: int | None = None) -> End:
    answer = Answer({}, "p", (), ms, number=number if request is None else request)
    return End(number, "x", None, answer)


def failed(number: int, error: ShoalError | None = None) -> End:
    error = error or DeadlineError("too late")
    if isinstance(error, RequestError):
        error.number = number
    return End(number, "x", None, error)


@pytest.fixture
def service() -> Any:
    return _Service()


def told(service: Any, most: int, *ends: End) -> list[Any]:
    stories = Stories(service, most)
    for end in ends:
        stories.take(end)
    return stories.told


def test_the_first_that_failed_come_first_and_then_the_slowest(service: Any) -> None:
    ends = [answered(0, 5.0), failed(1), answered(2, 9.0), answered(3, 7.0), failed(4)]
    assert told(service, 3, *ends) == ["story of 1", "story of 4", "story of 2"]
    assert told(service, 1, *ends, failed(5)) == ["story of 1"]
    assert told(service, 9, *ends) == [f"story of {n}" for n in (1, 4, 2, 3, 0)]


def test_nothing_is_asked_for_that_is_not_told(service: Any) -> None:
    told(service, 2, answered(0, 9.0), answered(1, 8.0), *(answered(n, 1.0) for n in range(2, 99)))
    assert service.asked == [0, 1]
    service.asked.clear()
    told(service, 0, answered(0, 9.0), failed(1))
    assert service.asked == []


def test_images_of_one_request_have_one_story(service: Any) -> None:
    ends = [answered(n, 5.0, request=n // 4) for n in range(8)]
    assert sorted(told(service, 9, *ends)) == ["story of 0", "story of 1"]


def test_what_was_never_asked_for_has_none(service: Any) -> None:
    assert told(service, 9, failed(0, InputError("NaN")), answered(1, 1.0)) == ["story of 1"]

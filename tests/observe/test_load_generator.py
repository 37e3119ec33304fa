"""The load that the demo, the lab and the benches put on a service: it must see what goes wrong."""

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from shoal.errors import DeadlineError
from shoal.observe.load_generator import Ends, LoadGenerator, answers_of, same
from shoal.runtime.answer import Answer
from shoal.runtime.observer import ObservedRequest, Observer

CASES = [{"x": np.full((1, 2), value, np.float32)} for value in (1.0, 2.0, 3.0)]
EXPECTED = [{"y": case["x"] * 2} for case in CASES]


class Service:
    """Answers at once, as ``behave`` says, and tells observers as a service does."""

    playbook = SimpleNamespace(plan=lambda name: SimpleNamespace(tolerance=1e-4))

    def __init__(self, behave: Callable[[int, Any], Any]) -> None:
        self.behave = behave
        self.observers: list[Observer] = []
        self.asked = 0

    def add_observer(self, observer: Observer) -> None:
        self.observers.append(observer)

    def remove_observer(self, observer: Observer) -> None:
        self.observers.remove(observer)

    def submit(self, feeds: Any, deadline_ms: float | None = None) -> Future[Any]:
        request = ObservedRequest(self.asked, 0.0, 1)
        self.asked += 1
        future: Future[Any] = Future()
        try:
            outputs = self.behave(request.number, feeds["x"])
            stage = SimpleNamespace(device="a")
            answer: Any = SimpleNamespace(
                outputs=outputs, plan="p", trace=(stage,), attempts=1, degraded=False,
                left_early=False,
            )  # fmt: skip
        except Exception as error:
            for observer in self.observers:
                observer.failed(request, error)
            future.set_exception(error)
        else:
            for observer in self.observers:
                observer.answered(request, answer)
            future.set_result(answer)
        return future


def put_load_on(behave: Callable[[int, Any], Any], count: int = 30) -> LoadGenerator:
    service: Any = Service(behave)
    with LoadGenerator(service, CASES, EXPECTED, window=4) as load:
        load.wait(count)
    return load


def test_right_answers() -> None:
    load = put_load_on(lambda number, x: {"y": x * 2})
    assert load.asked == len(load.records) >= 30
    assert load.lost == []
    assert load.twice == 0
    assert not any(record.wrong for record in load.records)
    assert [record.case for record in load.records[:4]] == [0, 1, 2, 0]


def test_a_wrong_answer_is_seen() -> None:
    load = put_load_on(lambda number, x: {"y": x * (3 if number == 7 else 2)})
    assert sum(record.wrong for record in load.records) == 1


def test_a_lost_request_is_seen() -> None:
    def behave(number: int, x: Any) -> Any:
        if number == 5:
            raise DeadlineError("too late")
        return {"y": x * 2}

    load = put_load_on(behave)
    assert load.lost == ["DeadlineError: too late"]
    assert len(load.records) == load.asked - 1


def test_an_answer_too_many_is_seen() -> None:
    def behave(number: int, x: Any) -> Any:
        if number == 5:
            raise DeadlineError("too late")
        return {"y": x * 2}

    service: Any = Service(behave)
    with LoadGenerator(service, CASES, EXPECTED, window=4) as load:
        load.wait(10)
        for number in (3, 5, 1_000_000):
            for observer in service.observers:
                observer.unclaimed(number)
        assert load.twice == 2, (
            "one was answered, one had failed; one is another's, or was cancelled"
        )


def test_an_answer_too_many_is_seen_though_it_is_told_before_the_one_that_counts() -> None:
    ends = Ends()
    ends.unclaimed(3)
    ends.answered(ObservedRequest(3, 0.0, 1), answer=cast(Answer, None))
    assert ends.too_many == 1


def test_the_service_is_as_before_afterwards() -> None:
    service: Any = Service(lambda number, x: {"y": x * 2})
    with LoadGenerator(service, CASES, EXPECTED, window=4):
        assert len(service.observers) == 1
    assert service.observers == []


@pytest.mark.parametrize(
    ("found", "equal"),
    [
        ({"y": np.array([2.0, 2.00001])}, True),
        ({"y": np.array([2.0, 2.01])}, False),
        ({"y": np.array([2.0, np.nan])}, False),
        ({"z": np.array([2.0, 2.0])}, False),
    ],
)
def test_same_within_the_tolerance(found: Any, equal: bool) -> None:
    assert same(found, {"y": np.array([2.0, 2.0])}) is equal


def test_expected_answers_are_the_whole_networks() -> None:
    network = SimpleNamespace(run=lambda feeds: {"y": feeds["x"] * 2})
    assert [answer["y"].tolist() for answer in answers_of(network, CASES)] == [
        answer["y"].tolist() for answer in EXPECTED
    ]

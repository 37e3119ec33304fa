"""A steady load on a service, and what became of every request."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import msgspec
import numpy as np

from shoal.runtime.observer import ObservedRequest, Observer

if TYPE_CHECKING:
    from shoal.runtime.answer import Answer
    from shoal.runtime.service import Service

Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
TOLERANCE = 1e-4
"""Largest difference from the whole network, relative to its largest output."""


class Runs(Protocol):
    """What expected answers come from: a network in this process."""

    def run(self, feeds: Any, /) -> dict[str, np.ndarray[Any, Any]]: ...


class Record(msgspec.Struct, frozen=True):
    """An answered request. ``asked_s`` and ``answered_s`` are on the monotonic clock; ``case``
    is the index of its inputs, ``best`` that of the largest value in the first output. ``wrong``:
    not the whole network's answer though its plan promised that and nothing was said to be
    missing; ``degraded``: it said itself that it is less."""

    case: int
    asked_s: float
    answered_s: float
    plan: str
    devices: tuple[str, ...]
    attempts: int
    best: int
    wrong: bool
    degraded: bool = False

    @property
    def latency_ms(self) -> float:
        """From asking to the answer."""
        return (self.answered_s - self.asked_s) * 1e3


class Failure(msgspec.Struct, frozen=True):
    """A request that got no answer, from when to when (monotonic clock), and why."""

    asked_s: float
    ended_s: float
    reason: str


class Ends(Observer):
    """Counts how often a request was ended that had ended already, and was not cancelled."""

    def __init__(self) -> None:
        self._ended: set[int] = set()
        self._unclaimed: list[int] = []

    @property
    def too_many(self) -> int:
        """How often up to now."""
        return sum(number in self._ended for number in self._unclaimed)

    def answered(self, request: ObservedRequest, answer: Answer) -> None:
        self._ended.add(request.number)

    def failed(self, request: ObservedRequest, error: BaseException) -> None:
        self._ended.add(request.number)

    def divided(self, request: ObservedRequest) -> None:
        self._ended.add(request.number)

    def unclaimed(self, number: int) -> None:
        self._unclaimed.append(number)


@dataclass(eq=False)
class LoadGenerator:
    """Keeps ``window`` requests under way from entering its ``with`` block to leaving it, which
    waits for the last answers. ``cases`` are asked in turn, ``expected`` are their right answers.

    After it: ``records`` of answered requests in the order of the answers, ``failures`` those that
    got none (``lost`` their reasons), ``twice`` the number of answers too many.
    """

    service: Service
    cases: Sequence[Arrays]
    expected: Sequence[Arrays]
    window: int
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        self.records: list[Record] = []
        self.failures: list[Failure] = []
        self.asked = 0
        self._room = threading.Semaphore(self.window)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="load", daemon=True)
        self._ends = Ends()

    def __enter__(self) -> Self:
        self.service.add_observer(self._ends)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for _slot in range(self.window):
            self._room.acquire()
        self.service.remove_observer(self._ends)

    @property
    def twice(self) -> int:
        """How many requests of the service were ended once more."""
        return self._ends.too_many

    @property
    def lost(self) -> list[str]:
        """Why requests failed."""
        return [failure.reason for failure in self.failures]

    def wait(self, count: int) -> None:
        """Wait until ``count`` requests ended."""
        while len(self.records) + len(self.failures) < count:
            time.sleep(0.005)

    def _ask(self) -> None:
        while not self._stop.is_set():
            self._room.acquire()
            case = self.asked % len(self.cases)
            asked_s = time.monotonic()
            self.asked += 1
            try:
                future = self.service.submit(self.cases[case], self.deadline_ms)
            except Exception as error:
                self._fail(asked_s, error)
                self._room.release()
                continue
            future.add_done_callback(self._taker(case, asked_s))

    def _taker(self, case: int, asked_s: float) -> Any:
        def take(future: Future[Answer]) -> None:
            answered_s = time.monotonic()
            error = future.exception()
            if error is not None:
                self._fail(asked_s, error)
            else:
                answer = future.result()
                self.records.append(
                    Record(
                        case=case,
                        asked_s=asked_s,
                        answered_s=answered_s,
                        plan=answer.plan,
                        devices=tuple(stage.device for stage in answer.trace),
                        attempts=answer.attempts,
                        best=int(np.argmax(next(iter(answer.outputs.values())))),
                        wrong=self._is_wrong(answer, case),
                        degraded=answer.degraded,
                    )
                )
            self._room.release()

        return take

    def _fail(self, asked_s: float, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        self.failures.append(Failure(asked_s, time.monotonic(), reason))

    def _is_wrong(self, answer: Answer, case: int) -> bool:
        promised = self.service.playbook.plan(answer.plan).tolerance
        if promised is None or answer.degraded or answer.left_early:
            return False
        return not same(answer.outputs, self.expected[case], max(promised, TOLERANCE))


def answers_of(network: Runs, cases: Sequence[Arrays]) -> list[Arrays]:
    """The whole network's answers, computed in this process."""
    return [network.run(case) for case in cases]


def same(found: Arrays, expected: Arrays, tolerance: float = TOLERANCE) -> bool:
    """Whether two answers agree within the tolerance."""
    return found.keys() == expected.keys() and all(
        np.abs(found[name] - right).max() <= tolerance * max(float(np.abs(right).max()), 1e-6)
        for name, right in expected.items()
    )

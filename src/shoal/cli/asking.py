"""Asking for what ``shoal run`` was given: in order, a bounded number under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from shoal.cli.inputs import Case, Cases, Unread
from shoal.cli.output import stderr
from shoal.errors import ShoalError, UnservedError

if TYPE_CHECKING:
    from shoal.runtime.answer import Answer
    from shoal.runtime.service import Service

LEAST_UNSERVED = 3
"""At least so many requests in a row that nobody serves are enough."""


@dataclass(frozen=True)
class End:
    """What became of an input: the ``number``-th, from ``source``."""

    number: int
    source: str
    label: int | None
    outcome: Answer | ShoalError


Ends: TypeAlias = Generator[End, None, None]


@dataclass(frozen=True)
class _Asked:
    number: int
    case: Case | Unread
    future: Future[Answer] | ShoalError

    def end(self) -> End:
        """What became of it, once it is known."""
        try:
            ended = self.future if isinstance(self.future, ShoalError) else self.future.result()
        except ShoalError as error:
            ended = error
        label = None if isinstance(self.case, Unread) else self.case.label
        return End(self.number, self.case.source, label, ended)


@dataclass
class Asking:
    """Asks a service for ``cases``, with ``width`` requests of ``together`` cases under way, and
    with ``trace`` for all that is known of their stages."""

    service: Service
    cases: Cases
    width: int
    together: int
    trace: bool = False
    _next: int = 0
    _asked: deque[_Asked] = field(default_factory=deque)

    def ends(self) -> Ends:
        """What became of each case, in order. It ends when nobody has served as many in a row as
        are under way; what the cases raise it raises behind the answers to those before."""
        from shoal.runtime.together import take

        enough = max(self.width, LEAST_UNSERVED) * self.together
        unserved, broken, over = 0, None, False
        while True:
            while not over and len(self._asked) <= (self.width - 1) * self.together:
                taken, broken = take(self.cases.cases, self.together)
                over = len(taken) < self.together
                self._ask(taken)
            if not self._asked:
                break
            end = self._asked[0].end()
            yield end  # it counts as told only when the next one is wanted
            self._asked.popleft()
            unserved = unserved + 1 if isinstance(end.outcome, UnservedError) else 0
            if unserved >= enough:
                say = f"nobody has served the last {unserved} inputs: no more are sent"
                stderr().print(say, soft_wrap=True, highlight=False)
                return
        if broken is not None:
            raise broken

    def rest(self) -> Iterator[End]:
        """Give up; what has ended already of what was asked for and not told, in order."""
        while self._asked:
            asked = self._asked.popleft()
            if isinstance(asked.future, ShoalError) or not asked.future.cancel():
                yield asked.end()

    def _ask(self, taken: list[Case | Unread]) -> None:
        """Ask in one request for what could be read."""
        cases = [each for each in taken if isinstance(each, Case)]
        futures: Iterator[Future[Answer] | ShoalError]
        try:
            feeds = [each.feeds for each in cases]
            asked = self.service.submit_together(feeds, trace=self.trace) if cases else []
            futures = iter(asked)
        except ShoalError as error:
            futures = iter([error] * len(cases))
        for each in taken:
            future = each.error if isinstance(each, Unread) else next(futures)
            self._asked.append(_Asked(self._next, each, future))
            self._next += 1
            if isinstance(each, Case):
                each.feeds.clear()  # the service has a copy

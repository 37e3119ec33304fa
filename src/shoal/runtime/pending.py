"""The future of a request, which nobody waits for in vain."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from shoal.process import home
from shoal.runtime.answer import Answer


class Pending(Future[Answer]):
    """A future that only the process which asked can be given. A child has what was there when it
    was forked; else ``result`` and ``exception`` raise ForkError. Before they wait they ask
    ``may_wait``, which raises where the answer would never come."""

    def __init__(self, may_wait: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._may_wait = may_wait
        self._home = home()
        self._told = False

    def set_result(self, result: Answer) -> None:
        super().set_result(result)
        self._told = True  # afterwards: no other thread holds the lock of a future that is told

    def set_exception(self, exception: BaseException | None) -> None:
        super().set_exception(exception)
        self._told = True

    def result(self, timeout: float | None = None) -> Answer:
        self.check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.check()
        return super().exception(timeout)

    def cancel(self) -> bool:
        return self._home.here and super().cancel()

    def check(self) -> None:
        """Raise where to wait for it would be in vain; UsageError or ForkError."""
        if self._told:
            return
        self._home.check("the request")
        if self._may_wait is not None and not self.done():
            self._may_wait()

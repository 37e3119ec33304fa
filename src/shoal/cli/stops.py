"""Being told to stop: by Ctrl-C or SIGTERM, but not in the middle of what must be done whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything is cleaned up as after Ctrl-C."""


class _Stops:
    """What the handlers raise, at once or when what is done whole is done."""

    def __init__(self) -> None:
        self.whole = False
        self.came: KeyboardInterrupt | None = None

    def stop(self, number: int, frame: FrameType | None) -> None:
        # A second one stops at once.
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            self.came = Terminated()
        else:
            signal.signal(number, signal.default_int_handler)
            self.came = KeyboardInterrupt()
        if not self.whole:
            self.end()

    def end(self) -> None:
        came, self.came = self.came, None
        if came is not None:
            raise came


_stops = _Stops()


def raise_stops() -> None:
    """From now on SIGTERM raises :class:`Terminated` in the main thread, and Ctrl-C
    KeyboardInterrupt (where the parent has not told this process to ignore it)."""
    signal.signal(signal.SIGTERM, _stops.stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stops.stop)


@contextmanager
def whole() -> Iterator[None]:
    """Do what is within to its end before a stop is raised. Not to be nested; main thread."""
    _stops.whole = True
    try:
        yield
    finally:
        _stops.whole = False
    _stops.end()

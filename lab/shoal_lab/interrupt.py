"""Ctrl-C waits while a lab comes up or goes down: in between there is no good moment for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Within the block, signals that this program handles wait until its end.

    A second one does not wait: whoever presses Ctrl-C twice means it. Signals that are not handled
    (the program ends at once) and other threads are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        handler = handlers[signal.Signals(number)]
        if len(came) > 1 and callable(handler):
            handler(number, frame)

    held = [number for number in SIGNALS if callable(handlers[number])]
    try:
        for number in held:
            signal.signal(number, handle)
        yield
    finally:
        for number in held:
            signal.signal(number, handlers[number])
        if len(came) == 1:
            handler = handlers[signal.Signals(came[0][0])]
            if callable(handler):
                handler(*came[0])

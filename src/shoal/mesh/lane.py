"""One thread per destination, so that a slow line to one peer holds up no other."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

from shoal.mesh.exchange import Hint, Transmit


class Lane:
    """Puts frames for one destination on the wire, in order, each as soon as the wire takes it.

    What may wait here is bounded by the window of the flow control. ``put`` may block; what it
    raises is its own affair, it must not raise here.
    """

    def __init__(self, name: str, put: Callable[[Transmit | Hint], None]) -> None:
        self._put = put
        self._frames: queue.SimpleQueue[Transmit | Hint | None] = queue.SimpleQueue()
        self._closed = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def post(self, frame: Transmit | Hint) -> None:
        """Queue a frame; returns at once."""
        self._frames.put(frame)

    def discard(self) -> None:
        """Throw away what has not begun to leave."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._frames.get_nowait()
        if self._closed:
            self._frames.put(None)

    def close(self) -> None:
        """Let the thread end, when the frame at hand is out."""
        self._closed = True
        self.discard()

    def _run(self) -> None:
        while (frame := self._frames.get()) is not None:
            self._put(frame)

"""The way of frames to one destination, so that a slow line to one peer holds up no other."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from shoal.mesh.exchange import Hint, Transmit

Frame: TypeAlias = Transmit | Hint


class Lane:
    """Puts frames for one destination on the wire, in order, each as soon as the wire takes it.

    A frame that is sure not to wait (``swift``) is put by the thread that brings it; the others,
    and those behind them, by the lane's own. What may wait here is bounded by the window of the
    flow control. ``put`` may block for other frames; what it raises is its own affair, it must not
    raise here. ``end`` is called on the lane's thread when
    it is closed, between frames.
    """

    def __init__(
        self,
        name: str,
        put: Callable[[Frame], None],
        swift: Callable[[Frame], bool],
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._put = put
        self._swift = swift
        self._end = end
        self._frames: deque[Frame] = deque()
        self._turn = threading.Lock()  # of the one thread that puts frames
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._closed = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def post(self, frame: Frame) -> None:
        """Queue a frame; :meth:`push` must follow."""
        self._frames.append(frame)

    def push(self) -> None:
        """Let what is queued leave; returns at once."""
        # Whoever has the turn looks again after giving it back, so nothing is left behind.
        while self._frames and self._turn.acquire(blocking=False):
            try:
                stuck = not self._put_while(self._swift)
            finally:
                self._turn.release()
            if stuck:
                self._calls.put(True)
                return

    def discard(self) -> None:
        """Throw away what has not begun to leave."""
        self._frames.clear()

    def close(self) -> None:
        """Let the thread end, when the frame at hand is out."""
        self._closed = True
        self.discard()
        self._calls.put(False)

    def _run(self) -> None:
        while self._calls.get():
            while self._frames and not self._closed:
                with self._turn:
                    self._put_while(lambda frame: True)
        with self._turn:
            self._end()

    def _put_while(self, may: Callable[[Frame], bool]) -> bool:
        """Put frames until none is left; False when one is that may not be put."""
        try:
            while may(self._frames[0]):
                self._put(self._frames.popleft())
        except IndexError:  # none is left, or it was discarded in this moment
            return True
        return False

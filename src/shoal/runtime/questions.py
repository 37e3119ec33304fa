"""Questions to peers, and who waits for the answers."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeAlias

from shoal.runtime.wire import Chunk, ControlMessage, Measured, MeasuredWay, Pong

Answer: TypeAlias = Chunk | Pong | Measured | MeasuredWay


class Mail(Protocol):
    """Sends a control message to a peer (with plain bytes); False when it is not there."""

    def __call__(
        self, to: str, message: ControlMessage, body: bytes | memoryview | None = None
    ) -> bool: ...


class Told(NamedTuple):
    """What came of a question ``about`` something: ``answer`` is None when ``peer`` is gone."""

    peer: str
    about: int
    answer: Answer | None
    body: bytes | memoryview = b""


Replies: TypeAlias = queue.SimpleQueue[Told]


class Questions:
    """What a node asked its peers and was not told. ``mail`` sends to them."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.asked: dict[int, tuple[str, int, Replies]] = {}
        self.closed = threading.Event()
        self._tokens = itertools.count()
        self._lock = threading.Lock()

    def ask(
        self,
        peer: str,
        question: Callable[[int], ControlMessage],
        to: Replies,
        about: int = 0,
        body: bytes = b"",
    ) -> int | None:
        """Ask what ``question`` makes of a token, and have the answer put into ``to``. The token;
        None, and nothing comes, where the peer is not there."""
        token = next(self._tokens)
        with self._lock:
            self.asked[token] = peer, about, to
        if not self.closed.is_set() and self.mail(peer, question(token), body or None):
            return token
        with self._lock:
            untold = self.asked.pop(token, None) is not None
        return None if untold else token  # else it was told meanwhile that the peer is gone

    def take(self, sender: str, answer: Answer, body: bytes | memoryview | None = None) -> None:
        """Hand an answer to whoever waits for it; each question has one."""
        with self._lock:
            peer, about, to = self.asked.get(answer.token, (None, 0, None))
            if peer != sender or to is None:
                return
            del self.asked[answer.token]
        to.put(Told(sender, about, answer, body or b""))

    def gone(self, peer: str | None) -> None:
        """What was asked of a peer (None: of anybody) that is gone, or was for a moment, is not
        answered."""
        with self._lock:
            lost = [(token, *each) for token, each in self.asked.items() if peer in (each[0], None)]
            for token, *_ in lost:
                del self.asked[token]
        for _, name, about, to in lost:
            to.put(Told(name, about, None))

    def forget(self, tokens: Iterable[int | None]) -> None:
        """Nobody waits for these answers any more."""
        with self._lock:
            for token in tokens:
                if token is not None:
                    self.asked.pop(token, None)

    def close(self) -> None:
        """Whoever waits for an answer gives up."""
        self.closed.set()
        self.gone(None)

"""Parts on a node: fetched by hash from whoever has them, verified, stored, loaded."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shoal.errors import HashError, PlanError, ShoalError, StoreError, UnreachableError
from shoal.model.engine import Engine, Session, give_back
from shoal.model.info import PartInfo
from shoal.model.store import PartStore
from shoal.model.wire import externals
from shoal.runtime.questions import Questions, Replies, Told
from shoal.runtime.wire import Chunk, Fetch

log = logging.getLogger("shoal")

CHUNK_BYTES = 1 << 18
WINDOW = 8
"""Chunks under way at a time."""
PATIENCE_S = 30.0
"""Longest wait for the next chunk from a giver that is there; slow links take that long."""
ASK_S = 0.5
"""How long the peers have to say that they have a blob."""
RETURN_S = 2.0
"""How long a giver that was lost has to come back when nobody else has the blob."""
MAX_TRIES = 3
"""How often a giver that is lost on the way is asked again."""


@dataclass(frozen=True)
class Exchange:
    """Both ends of the exchange of blobs: gives what the store has, gets what it lacks.

    ``limit_bytes`` bounds a blob (0: no bound): what is larger is refused before memory is taken.
    """

    store: PartStore
    questions: Questions
    peers: Callable[[], list[str]]
    limit_bytes: int = 0

    # -- giving

    def give(self, sender: str, message: Fetch) -> None:
        """Answer a Fetch."""
        total, data = -1, b""
        try:
            blob = self.store.get(message.blob)
            total = len(blob)
            length = min(max(message.length, 0), CHUNK_BYTES)
            start = max(message.offset, 0)
            data = bytes(blob[start : start + length])
        except ShoalError:
            pass
        self.questions.mail(sender, Chunk(message.token, total), data or None)

    # -- getting

    def get(self, blob: str, size: int, source: str) -> None:
        """Bring a blob of ``size`` bytes into the store; ``source`` certainly has it, whoever
        answers first that it has it gives it. A giver that is lost is asked again when it is back,
        one that gives wrong bytes is not.

        Raises UnreachableError when nobody gives it, HashError when the bytes are wrong,
        StoreError when they cannot be stored.
        """
        if self.store.has(blob):
            return
        if size < 0 or (self.limit_bytes and size > self.limit_bytes):
            raise StoreError(
                f"the blob {blob[:12]} is said to have {size} bytes, the limit of this device is "
                f"{self.limit_bytes}; cut the network into smaller parts or raise the limit"
            )
        failure: ShoalError | None = None
        tries: dict[str, int] = {}
        while (giver := self._find(blob, size, source, tries)) is not None:
            tries[giver] = tries.get(giver, 0) + 1
            began = time.monotonic()
            try:
                self.store.put(self._download(giver, blob, size), hash=blob)
            except UnreachableError as error:
                failure = failure or error
                if time.monotonic() - began >= PATIENCE_S:
                    tries[giver] = MAX_TRIES
            except HashError as error:
                log.warning("%s gave wrong bytes for the blob %s", giver, blob[:12])
                failure, tries[giver] = error, MAX_TRIES
            else:
                return
        raise failure or UnreachableError(
            f"nobody gives the blob {blob[:12]} ({size} bytes); is {source} still there?"
        )

    def _find(self, blob: str, size: int, source: str, tries: Mapping[str, int]) -> str | None:
        """Who gives it: whoever says first that it has it, else the source, if it is there or
        comes back soon. None: nobody."""
        able = {*self.peers(), source} - {name for name, n in tries.items() if n >= MAX_TRIES}
        replies: Replies = queue.SimpleQueue()
        tokens = [self._ask(peer, blob, 0, 0, replies) for peer in sorted(able)]
        end = time.monotonic() + ASK_S
        try:
            for _ in tokens:
                told = replies.get(timeout=max(0.0, end - time.monotonic()))
                if isinstance(told.answer, Chunk) and told.answer.total == size:
                    return told.peer
        except queue.Empty:
            pass
        finally:
            self.questions.forget(tokens)
        end = time.monotonic() + RETURN_S
        while source in able and source not in self.peers() and time.monotonic() < end:
            if self.questions.closed.wait(0.02):
                return None
        return source if source in able and source in self.peers() else None

    def _download(self, giver: str, blob: str, size: int) -> bytearray:
        """The bytes, a few chunks under way at a time; UnreachableError when the giver does not
        give them."""
        replies: Replies = queue.SimpleQueue()
        data = bytearray()
        offsets = iter(range(0, size, CHUNK_BYTES))
        tokens = [
            self._ask(giver, blob, offset, CHUNK_BYTES, replies)
            for offset in itertools.islice(offsets, WINDOW)
        ]
        left = size
        try:
            while left > 0:
                _, at, answer, chunk = replies.get(timeout=PATIENCE_S)
                expected = min(CHUNK_BYTES, size - at)
                if answer is None:
                    raise UnreachableError(f"{giver} was lost while it gave the blob {blob[:12]}")
                if not isinstance(answer, Chunk) or (answer.total, len(chunk)) != (size, expected):
                    raise UnreachableError(
                        f"{giver} does not give the blob {blob[:12]} of {size} bytes"
                    )
                if not data:
                    data = bytearray(size)
                data[at : at + expected] = chunk
                left -= expected
                offset = next(offsets, None)
                if offset is not None:
                    tokens.append(self._ask(giver, blob, offset, CHUNK_BYTES, replies))
        except queue.Empty:
            raise UnreachableError(
                f"{giver} gave nothing of the blob {blob[:12]} for {PATIENCE_S:.0f} s"
            ) from None
        finally:
            self.questions.forget(tokens)
        return data

    def _ask(self, peer: str, blob: str, offset: int, length: int, to: Replies) -> int | None:
        token = self.questions.ask(peer, lambda t: Fetch(t, blob, offset, length), to, offset)
        if token is None:
            to.put(Told(peer, offset, None))
        return token


class LoadedParts:
    """The parts of a node that are loaded. Loading is done by one thread, running by others."""

    def __init__(self, store: PartStore, engine: Engine, exchange: Exchange) -> None:
        self._store = store
        self._engine = engine
        self._exchange = exchange
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._memory: dict[str, int] = {}

    @property
    def memory_bytes(self) -> int:
        """What the loaded parts are expected to take."""
        with self._lock:
            return sum(self._memory.values())

    def load(self, part: str, info: PartInfo) -> None:
        """Make the session of a part that was fetched; ShoalError says why that failed."""
        if self.session(part) is not None:
            return
        session = self._engine.load(*self._store.load_part(part))
        with self._lock:
            self._sessions[part] = session
            self._memory[part] = info.memory

    def fetch(self, part: str, info: PartInfo, source: str) -> None:
        """Bring a part and its weights into the store. PlanError for a part whose weights take
        more than the memory that it is said to need: no playbook gets around a limit by lying."""
        _check_memory(part, info.memory, sum(info.blobs.values()))
        self._exchange.get(part, info.size, source)
        weights = externals(self._store.get(part))
        _check_memory(part, info.memory, sum(weight.nbytes for weight in weights))
        for blob, size in info.blobs.items():
            self._exchange.get(blob, size, source)
        missing = self._store.missing(part)
        if missing:
            raise StoreError(
                f"the part {part[:12]} needs weights that its playbook does not name "
                f"({missing[0][:12]}); build the playbook again"
            )

    def session(self, part: str) -> Session | None:
        """The session of a loaded part."""
        return self._sessions.get(part)

    def unload(self, part: str) -> None:
        """Let go of a part."""
        with self._lock:
            session = self._sessions.pop(part, None)
            self._memory.pop(part, None)
        if session is not None:
            del session
            give_back(tensors=True)


def _check_memory(part: str, stated: int, weights: int) -> None:
    if weights > stated:
        raise PlanError(
            f"the playbook states {stated} bytes of memory for the part {part[:12]}, but its "
            f"weights alone have {weights}; build the playbook again"
        )

"""Parts on a node: fetched by hash from whoever has them, verified, stored, loaded."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from shoal.errors import ShoalError, StoreError, UnreachableError
from shoal.model.engine import Engine, Session
from shoal.model.store import PartStore
from shoal.plan.plan import PartInfo
from shoal.runtime.wire import Chunk, ControlMessage, Fetch

CHUNK_BYTES = 1 << 20
WINDOW = 4
PATIENCE_S = 5.0
ASK_S = 0.5


class Mail(Protocol):
    """Sends a control message to a peer (with plain bytes); False when it is not there."""

    def __call__(
        self, to: str, message: ControlMessage, body: bytes | memoryview | None = None
    ) -> bool: ...


class _Reply(msgspec.Struct, frozen=True):
    sender: str
    offset: int
    total: int
    data: bytes | memoryview


class Exchange:
    """Both ends of the exchange of blobs: gives what the store has, gets what it lacks."""

    def __init__(self, store: PartStore, mail: Mail, peers: Callable[[], list[str]]) -> None:
        self._store = store
        self._mail = mail
        self._peers = peers
        self._tokens = itertools.count()
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[str, int, queue.SimpleQueue[_Reply]]] = {}

    def give(self, sender: str, message: Fetch) -> None:
        """Answer a Fetch."""
        total, data = -1, b""
        try:
            blob = self._store.get(message.blob)
            total = len(blob)
            length = min(max(message.length, 0), CHUNK_BYTES)
            start = max(message.offset, 0)
            data = bytes(blob[start : start + length])
        except ShoalError:
            pass
        self._mail(sender, Chunk(message.token, total), data or None)

    def take(self, sender: str, message: Chunk, body: bytes | memoryview | None) -> None:
        """Hand an answer to whoever waits for it."""
        with self._lock:
            asked = self._asked.get(message.token)
        if asked is not None and asked[0] == sender:
            asked[2].put(_Reply(sender, asked[1], message.total, body or b""))

    def get(self, blob: str, size: int, source: str) -> None:
        """Bring a blob of ``size`` bytes into the store; ``source`` certainly has it, whoever
        answers first that it has it gives it.

        Raises UnreachableError when nobody gives it, HashError when the bytes are wrong,
        StoreError when they cannot be stored.
        """
        if self._store.has(blob):
            return
        missing = UnreachableError(f"nobody gives the blob {blob[:12]} ({size} bytes)")
        for giver in self._holders(blob, size, source):
            data = self._download(giver, blob, size)
            if data is not None:
                self._store.put(data, hash=blob)
                return
        raise missing

    def _holders(self, blob: str, size: int, source: str) -> list[str]:
        """Who has it: those that say so at once, then the source."""
        replies: queue.SimpleQueue[_Reply] = queue.SimpleQueue()
        tokens = [self._ask(peer, blob, 0, 0, replies) for peer in sorted({*self._peers(), source})]
        holders: list[str] = []
        try:
            while not holders:
                reply = replies.get(timeout=ASK_S)
                if reply.total == size:
                    holders.append(reply.sender)
        except queue.Empty:
            pass
        finally:
            self._forget(tokens)
        return [*holders, *([source] if source not in holders else [])]

    def _download(self, giver: str, blob: str, size: int) -> bytearray | None:
        """The bytes, a few chunks under way at a time; None when the giver does not give them."""
        replies: queue.SimpleQueue[_Reply] = queue.SimpleQueue()
        data = bytearray(size)
        offsets = iter(range(0, size, CHUNK_BYTES))
        tokens = [
            self._ask(giver, blob, offset, CHUNK_BYTES, replies)
            for offset in itertools.islice(offsets, WINDOW)
        ]
        left = size
        try:
            while left > 0:
                reply = replies.get(timeout=PATIENCE_S)
                expected = min(CHUNK_BYTES, size - reply.offset)
                if reply.total != size or len(reply.data) != expected:
                    return None
                data[reply.offset : reply.offset + expected] = reply.data
                left -= expected
                offset = next(offsets, None)
                if offset is not None:
                    tokens.append(self._ask(giver, blob, offset, CHUNK_BYTES, replies))
        except queue.Empty:
            return None
        finally:
            self._forget(tokens)
        return data

    def _ask(
        self, peer: str, blob: str, offset: int, length: int, to: queue.SimpleQueue[_Reply]
    ) -> int:
        token = next(self._tokens)
        with self._lock:
            self._asked[token] = (peer, offset, to)
        self._mail(peer, Fetch(token, blob, offset, length))
        return token

    def _forget(self, tokens: list[int]) -> None:
        with self._lock:
            for token in tokens:
                self._asked.pop(token, None)


class Shelf:
    """The parts of a node that are loaded. Loading is done by one thread, running by others."""

    def __init__(self, store: PartStore, engine: Engine, exchange: Exchange) -> None:
        self._store = store
        self._engine = engine
        self._exchange = exchange
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._sessions: dict[str, Session] = {}

    def want(self, part: str) -> None:
        """Note that a part will be loaded."""
        with self._lock:
            self._wanted.add(part)

    def load(self, part: str, info: PartInfo, source: str) -> None:
        """Fetch a part if need be and make its session; ShoalError says why that failed."""
        with self._lock:
            if part in self._sessions or part not in self._wanted:
                return
        self.fetch(part, info.size, info.blobs, source)
        session = self._engine.load(*self._store.load_part(part))
        with self._lock:
            if part in self._wanted:
                self._sessions[part] = session

    def fetch(self, part: str, size: int, blobs: Mapping[str, int], source: str) -> None:
        """Bring a part and its weights into the store."""
        self._exchange.get(part, size, source)
        for blob, blob_size in blobs.items():
            self._exchange.get(blob, blob_size, source)
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
            self._wanted.discard(part)
            self._sessions.pop(part, None)

"""Measures what planning needs: how fast a device runs a network, how fast a link carries."""

from __future__ import annotations

import itertools
import math
import queue
import statistics
import threading
import time
from typing import TypeAlias

import msgspec
import numpy as np

from shoal.codec.frame import MAX_BYTES
from shoal.errors import InputError, ShoalError, UnreachableError
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.plan.plan import PartInfo
from shoal.runtime.parts import Mail, Shelf
from shoal.runtime.wire import Measure, Measured, MeasuredWay, MeasureWay, Ping, Pong

MAX_RUNS = 1000
MAX_SECONDS = 10.0
PING_BYTES = (1 << 16, 1 << 20)
"""Bodies that weigh a link: the larger where the smaller takes less than ``SLOW_S``."""
SLOW_S = 0.05

Reply: TypeAlias = Pong | Measured | MeasuredWay


class LinkTimes(msgspec.Struct, frozen=True):
    """A link as measured: time there and back in ms, and the rate of large bodies."""

    rtt_ms: float
    bytes_per_s: float


class Prober:
    """Asks peers to measure, and measures when asked."""

    def __init__(self, mail: Mail, shelf: Shelf, store: PartStore, engine: Engine) -> None:
        self._mail = mail
        self._shelf = shelf
        self._store = store
        self._engine = engine
        self._tokens = itertools.count()
        self._lock = threading.Lock()
        self._asked: dict[int, queue.SimpleQueue[Reply]] = {}

    def take(self, sender: str, message: Reply) -> None:
        """Hand an answer to whoever waits for it."""
        with self._lock:
            waiting = self._asked.get(message.token)
        if waiting is not None:
            waiting.put(message)

    def link(self, peer: str, rounds: int = 10, timeout_s: float = 10.0) -> LinkTimes:
        """Measure the way to a peer: the least of several round trips, and the time that a large
        body takes beyond that. UnreachableError when it does not answer."""
        small_s = min(self._ping(peer, b"", timeout_s) for _ in range(rounds))
        for size in PING_BYTES:
            body = bytes(size)
            large_s = statistics.median(self._ping(peer, body, timeout_s) for _ in range(5))
            if large_s > SLOW_S:
                break
        return LinkTimes(small_s * 1e3, size / max(large_s - small_s, 1e-6))

    def way(self, giver: str, taker: str, timeout_s: float = 30.0) -> LinkTimes:
        """Have one peer measure its way to another. Raises as :meth:`device` does."""
        token, waiting = self._open()
        try:
            self._mail(giver, MeasureWay(token, taker))
            reply = waiting.get(timeout=timeout_s)
        except queue.Empty:
            raise UnreachableError(
                f"{giver} did not measure its way to {taker} within {timeout_s:.0f} s"
            ) from None
        finally:
            self._close(token)
        if not isinstance(reply, MeasuredWay) or reply.error:
            text = reply.error if isinstance(reply, MeasuredWay) else "a wrong answer"
            raise ShoalError(f"{giver} could not measure its way to {taker}: {text}")
        return LinkTimes(reply.rtt_ms, reply.bytes_per_s)

    def device(
        self,
        peer: str,
        part: str,
        info: PartInfo,
        shapes: dict[str, tuple[str, tuple[int, ...]]],
        runs: int = 10,
        seconds: float = 1.0,
        timeout_s: float = 120.0,
    ) -> tuple[float, ...]:
        """Have a peer run a part; the times in ms. UnreachableError when it does not answer,
        ShoalError when it cannot."""
        token, waiting = self._open()
        try:
            self._mail(peer, Measure(token, part, info.size, info.blobs, shapes, runs, seconds))
            reply = waiting.get(timeout=timeout_s)
        except queue.Empty:
            raise UnreachableError(
                f"{peer} did not measure the network within {timeout_s:.0f} s; see its log"
            ) from None
        finally:
            self._close(token)
        if not isinstance(reply, Measured) or reply.error:
            text = reply.error if isinstance(reply, Measured) else "a wrong answer"
            raise ShoalError(f"{peer} could not measure the network: {text}")
        return reply.run_ms

    def serve(self, sender: str, message: Measure | MeasureWay) -> None:
        """Measure for a peer."""
        if isinstance(message, MeasureWay):
            try:
                times = self.link(message.peer)
                way = MeasuredWay(message.token, times.rtt_ms, times.bytes_per_s)
            except ShoalError as error:
                way = MeasuredWay(message.token, 0.0, 0.0, str(error))
            self._mail(sender, way)
            return
        try:
            reply = Measured(message.token, self._measure(sender, message))
        except ShoalError as error:
            reply = Measured(message.token, (), str(error))
        except (ValueError, TypeError, MemoryError) as error:
            reply = Measured(message.token, (), f"impossible inputs: {error}")
        self._mail(sender, reply)

    def _measure(self, sender: str, message: Measure) -> tuple[float, ...]:
        for name, (dtype, shape) in message.shapes.items():
            if math.prod(shape) * np.dtype(dtype).itemsize > MAX_BYTES:
                raise InputError(f"the input {name!r} is larger than {MAX_BYTES >> 20} MiB")
        self._shelf.fetch(message.part, message.size, message.blobs, sender)
        session = self._engine.load(*self._store.load_part(message.part))
        feeds = {n: np.zeros(shape, dtype) for n, (dtype, shape) in message.shapes.items()}
        session.run(feeds)
        times: list[float] = []
        end = time.perf_counter() + min(message.seconds, MAX_SECONDS)
        while len(times) < min(message.runs, MAX_RUNS) or (
            time.perf_counter() < end and len(times) < MAX_RUNS
        ):
            started = time.perf_counter()
            session.run(feeds)
            times.append((time.perf_counter() - started) * 1e3)
        return tuple(times)

    def _ping(self, peer: str, body: bytes, timeout_s: float) -> float:
        token, waiting = self._open()
        started = time.perf_counter()
        try:
            if not self._mail(peer, Ping(token), body or None):
                raise UnreachableError(f"{peer} is not there")
            waiting.get(timeout=timeout_s)
        except queue.Empty:
            raise UnreachableError(f"{peer} did not answer within {timeout_s:.0f} s") from None
        finally:
            self._close(token)
        return time.perf_counter() - started

    def _open(self) -> tuple[int, queue.SimpleQueue[Reply]]:
        token, waiting = next(self._tokens), queue.SimpleQueue[Reply]()
        with self._lock:
            self._asked[token] = waiting
        return token, waiting

    def _close(self, token: int) -> None:
        with self._lock:
            self._asked.pop(token, None)

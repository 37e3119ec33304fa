"""Measures what planning needs: how fast a device runs a network, how fast a link carries."""

from __future__ import annotations

import math
import queue
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
import numpy as np

from shoal.codec.codecs import find_codec
from shoal.codec.frame import MAX_BYTES
from shoal.errors import InputError, PlanError, ShoalError, UnreachableError
from shoal.model.engine import Engine, give_back
from shoal.model.info import PartInfo
from shoal.model.store import PartStore
from shoal.runtime.parts import LoadedParts
from shoal.runtime.questions import Answer, Questions, Replies
from shoal.runtime.wire import (
    ControlMessage,
    Measure,
    Measured,
    MeasuredWay,
    MeasureWay,
    Ping,
)

MAX_RUNS = 1000
MAX_SECONDS = 10.0
LONG = 3.0
"""A measurement that has taken so many times as long as was asked for ends before its last run."""
PING_BYTES = (1 << 16, 1 << 20)
"""Bodies that weigh a link: the larger where the smaller takes less than ``SLOW_S``."""
SLOW_S = 0.05


class LinkTimes(msgspec.Struct, frozen=True):
    """A link as measured: time there and back in ms, and the rate of large bodies."""

    rtt_ms: float
    bytes_per_s: float


@dataclass(frozen=True)
class Prober:
    """Asks peers to measure, and measures when asked. ``memory_limit`` bounds what is measured
    here beside the loaded parts (bytes, 0: no bound). ``no_way`` says why there is no way to a
    peer that is there."""

    questions: Questions
    shelf: LoadedParts
    store: PartStore
    engine: Engine
    memory_limit: int = 0
    no_way: Callable[[str], str] = lambda peer: ""

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
        reply = self._ask(giver, lambda token: MeasureWay(token, taker), b"", timeout_s)
        if not isinstance(reply, MeasuredWay) or reply.error:
            text = reply.error if isinstance(reply, MeasuredWay) else "a wrong answer"
            said = f"{giver} cannot reach {taker}: "  # which the giver may say itself
            raise ShoalError(said + text.removeprefix(said))
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
        values: Mapping[str, bytes] = MappingProxyType({}),
    ) -> tuple[float, ...]:
        """Have a peer run a part on zeros, or on ``values`` where an input has some; the times in
        ms. UnreachableError when it does not answer, ShoalError when it cannot."""
        known = dict(values)
        reply = self._ask(
            peer,
            lambda token: Measure(token, part, info, shapes, runs, seconds, known),
            b"",
            timeout_s,
        )
        if not isinstance(reply, Measured) or reply.error or not reply.run_ms:
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
            self.questions.mail(sender, way)
            return
        try:
            reply = Measured(message.token, self._measure(sender, message))
        except ShoalError as error:
            reply = Measured(message.token, (), str(error))
        except (ValueError, TypeError, MemoryError, OverflowError) as error:
            reply = Measured(message.token, (), f"impossible inputs: {error}")
        self.questions.mail(sender, reply)
        give_back(tensors=True)

    def _measure(self, sender: str, message: Measure) -> tuple[float, ...]:
        for name, (dtype, shape) in message.shapes.items():
            if math.prod(shape) * np.dtype(dtype).itemsize > MAX_BYTES:
                raise InputError(f"the input {name!r} is larger than {MAX_BYTES >> 20} MiB")
        session = self.shelf.session(message.part)
        if session is None:
            memory, taken = message.info.memory, self.shelf.memory_bytes
            if self.memory_limit and taken + memory > self.memory_limit:
                raise PlanError(
                    f"it needs {memory >> 20} MiB in one piece, the limit here is "
                    f"{self.memory_limit >> 20}, and loaded parts take {taken >> 20} of it"
                )
            self.shelf.fetch(message.part, message.info, sender)
            session = self.engine.load(*self.store.load_part(message.part))
        raw = find_codec("raw")
        feeds = {
            name: raw.decode(memoryview(message.values[name]), b"", np.dtype(dtype), shape)
            if name in message.values
            else np.zeros(shape, dtype)
            for name, (dtype, shape) in message.shapes.items()
        }

        def run_ms() -> float:
            started = time.perf_counter()
            session.run(feeds)
            return (time.perf_counter() - started) * 1e3

        # The first run takes memory and fills caches; where there is time for no other, that is
        # little of it.
        first_ms = run_ms()
        left_s = min(LONG * message.seconds or MAX_SECONDS, MAX_SECONDS) - first_ms / 1e3
        times: list[float] = []
        while (
            (len(times) < message.runs or sum(times) < 1e3 * message.seconds)
            and len(times) < MAX_RUNS
            and sum(times) < 1e3 * left_s
            and not self.questions.closed.is_set()
        ):
            times.append(run_ms())
        return tuple(times) or (first_ms,)

    def _ping(self, peer: str, body: bytes, timeout_s: float) -> float:
        started = time.perf_counter()
        self._ask(peer, Ping, body, timeout_s)
        return time.perf_counter() - started

    def _ask(
        self, peer: str, question: Callable[[int], ControlMessage], body: bytes, timeout_s: float
    ) -> Answer:
        replies: Replies = queue.SimpleQueue()
        token = self.questions.ask(peer, question, replies, body=body)
        if token is None:
            raise UnreachableError(self.no_way(peer) or f"{peer} is not there")
        try:
            answer = replies.get(timeout=timeout_s).answer
        except queue.Empty:
            raise UnreachableError(
                f"{peer} did not answer within {timeout_s:.0f} s; see its log"
            ) from None
        finally:
            self.questions.forget([token])
        if answer is None:
            raise UnreachableError(f"{peer} was lost before it answered")
        return answer

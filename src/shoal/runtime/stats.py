"""Counts and times of a service, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque

import msgspec
import numpy as np

from shoal.runtime.answer import Answer
from shoal.runtime.observer import ObservedRequest, Observer

RECENT = 2048
"""Answers that percentiles and rates are taken over."""


class DeviceStats(msgspec.Struct, frozen=True):
    """One device as the gateway sees it. ``state`` is alive, suspect, gone, draining or expected
    (not seen yet); ``ready`` whether it is there with its parts loaded; ``outstanding`` the
    requests given to it; ``answered`` the stages that it ran; ``slowdown`` the observed over the
    forecast run time; ``refused`` why parts of it are not loaded; ``parts`` the hashes of all that
    it says it has loaded, for other gateways too."""

    state: str
    ready: bool
    outstanding: int
    answered: int
    slowdown: float
    refused: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


class ServiceStats(msgspec.Struct, frozen=True):
    """A service up to now: counts of requests, and of the ``images`` in those that were answered;
    times in ms over the last answers, and ``images_per_s`` over the time that these took."""

    answered: int
    images: int
    failed: int
    pending: int
    retried: int
    degraded: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    plans: dict[str, int]
    devices: dict[str, DeviceStats]


class Recorder(Observer):
    """Counts every end of a request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=RECENT)
        self._plans: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._max_ms = 0.0

    def answered(self, request: ObservedRequest, answer: Answer) -> None:
        with self._lock:
            self._recent.append((time.monotonic(), answer.latency_ms, answer.images))
            self._plans[answer.plan] += 1
            self._counts["answered"] += 1
            self._counts["images"] += answer.images
            self._counts["retried"] += answer.attempts > 1
            self._counts["degraded"] += answer.degraded
            self._max_ms = max(self._max_ms, answer.latency_ms)

    def failed(self, request: ObservedRequest, error: BaseException) -> None:
        with self._lock:
            self._counts["failed"] += 1

    def stats(self, pending: int, devices: dict[str, DeviceStats]) -> ServiceStats:
        """Everything up to now."""
        with self._lock:
            recent, counts = list(self._recent), dict(self._counts)
            plans, max_ms = dict(self._plans), self._max_ms
        times = np.array([ms for _, ms, _ in recent]) if recent else np.zeros(1)
        later = sum(images for _, _, images in recent[1:])
        span_s = recent[-1][0] - recent[0][0] if len(recent) > 1 else 0.0
        return ServiceStats(
            answered=counts.get("answered", 0),
            images=counts.get("images", 0),
            failed=counts.get("failed", 0),
            pending=pending,
            retried=counts.get("retried", 0),
            degraded=counts.get("degraded", 0),
            images_per_s=later / span_s if span_s > 0 else 0.0,
            p50_ms=float(np.percentile(times, 50)),
            p99_ms=float(np.percentile(times, 99)),
            max_ms=max_ms,
            plans=plans,
            devices=devices,
        )

"""What is asked of a service in virtual time, and what comes of it. Data only."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

END = "the end"
"""Where a request leaves that leaves at no exit."""


class Demand(msgspec.Struct, frozen=True):
    """What is asked for ``seconds``: at these ``times`` (s, in order), or (None) so that
    ``window`` requests are under way."""

    seconds: float
    times: Iterable[float] | None = None
    window: int = 1
    deadline_ms: float = 10_000.0


class Moment(msgspec.Struct):
    """A stretch of a run that ends ``at_s``: what was asked and what became of requests in it
    (``exits`` by where they left), and at its end the requests that the gateway owns
    (``pending``), the jobs at each device (``queues``), the devices that are ``alive``, and the
    ``thresholds`` of the latest request by exit."""

    at_s: float
    asked: int = 0
    answered: int = 0
    late: int = 0
    refused: int = 0
    lost: int = 0
    exits: dict[str, int] = {}
    pending: int = 0
    queues: dict[str, int] = {}
    alive: int = 0
    thresholds: dict[str, float] = {}


class DeviceUse(msgspec.Struct, frozen=True):
    """A device: its state as the gateway sees it at the end, the stages that it ran, and the share
    of the load's time for which its processor worked."""

    state: str
    answered: int
    busy: float


class Simulated(msgspec.Struct, frozen=True):
    """What came of a load of ``seconds``. ``late``: the deadline passed; ``refused``: queues were
    full, or it would not have been answered in time; ``lost``: any other failure; ``reasons``
    counts the kinds of all of these, ``said`` is what the first of each said. ``images_per_s`` are
    the answers within the load's time, times are in ms and of all answers. ``exits`` counts by
    where requests left; ``accuracy`` is the share that is right by the playbook's calibration (None
    without one). ``decided`` are the events that nodes took."""

    seconds: float
    asked: int
    answered: int
    late: int
    refused: int
    lost: int
    reasons: dict[str, int]
    said: dict[str, str]
    retried: int
    degraded: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    plans: dict[str, int]
    exits: dict[str, int]
    accuracy: float | None
    devices: dict[str, DeviceUse]
    decided: int
    moments: list[Moment]

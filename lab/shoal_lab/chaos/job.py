"""What the driver is told, and what it tells."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from shoal.observe.load_generator import Failure, Record


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to deploy, where, and how to ask. ``devices`` are addresses by name; ``account`` is
    the file for the :class:`Account` at the end."""

    devices: dict[str, str]
    gate: str
    model: str
    strategy: str
    options: dict[str, Any]
    window: int
    deadline_ms: float
    account: str


class Doing(msgspec.Struct, frozen=True, tag=True):
    """What it does until the load begins."""

    text: str


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A second of load. ``at_s`` is on the monotonic clock, which all hosts of a lab share;
    ``answered`` and the times are of this second, ``lost``, ``twice``, ``wrong`` and ``degraded``
    of all until now."""

    at_s: float
    answered: int
    p50_ms: float
    slowest_ms: float
    lost: int
    twice: int
    wrong: int
    degraded: int
    pending: int
    plans: dict[str, int]
    states: dict[str, str]


Said: TypeAlias = Doing | Tick


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every request."""

    asked: int
    twice: int
    records: tuple[Record, ...]
    failures: tuple[Failure, ...]

"""How much each device, and each link, may be given, by what it did not take."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from shoal.core.shared.routes import LinkName

Taker: TypeAlias = str | LinkName
"""A device, or the way from one device to another."""

_PAUSE_S = 0.02
_MOST_DOUBLINGS = 6
_AMPLE = 256.0


@dataclass(slots=True)
class _Limit:
    """At most ``most`` requests may be outstanding, and none more be given before ``until``."""

    most: float
    until: float = 0.0
    refusals: int = 0


class Limits:
    """What each device that was overloaded, or link that was full, may be given, for as long as
    that matters.

    A refusal says how much is taken from us just now; each answer that one more is taken now, and a
    little more in the long run (additive increase, multiplicative decrease: Chiu and Jain 1989, so
    that several gateways come to share it). Between refusals without an answer it is left alone for
    longer each time, and never for the same time as others leave it alone.
    """

    def __init__(self, gateway: str) -> None:
        self._limits: dict[Taker, _Limit] = {}
        self._dice = Random(gateway)

    def __bool__(self) -> bool:
        return bool(self._limits)

    def refused(self, taker: Taker, outstanding: int, now: float) -> None:
        """It took no more while so many were ``outstanding`` there."""
        limit = self._limits.setdefault(taker, _Limit(_AMPLE))
        limit.most = max(1.0, min(limit.most, outstanding))
        pause_s = _PAUSE_S * 2 ** min(_MOST_DOUBLINGS, limit.refusals)
        limit.until = now + pause_s * self._dice.uniform(0.5, 1.5)
        limit.refusals += 1

    def answered(self, taker: Taker) -> None:
        """It has done something for us."""
        limit = self._limits.get(taker)
        if limit is not None:
            limit.until, limit.refusals = 0.0, 0
            limit.most += 1 / limit.most
            if limit.most >= _AMPLE:
                del self._limits[taker]

    def full(self, taker: Taker, outstanding: int, now: float) -> bool:
        """Whether it should not be given more now."""
        limit = self._limits.get(taker)
        return limit is not None and (now < limit.until or outstanding >= limit.most)

    def devices(self) -> list[str]:
        """The devices that were overloaded not long ago."""
        return [taker for taker in self._limits if isinstance(taker, str)]

    def links(self) -> list[LinkName]:
        """The links that were full not long ago."""
        return [taker for taker in self._limits if isinstance(taker, LinkName)]

    def opens(self, now: float) -> float | None:
        """When the next pause ends, in seconds."""
        times = [limit.until for limit in self._limits.values() if limit.until > now]
        return min(times, default=None)

    def forget(self, device: str) -> None:
        """A device has started anew, or is gone, and the links from and to it with it."""
        gone = [
            taker
            for taker in self._limits
            if (device in taker if isinstance(taker, LinkName) else taker == device)
        ]
        for taker in gone:
            del self._limits[taker]

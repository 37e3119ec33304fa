"""Which devices have room for more, by what they refused."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_PAUSE_S = 0.02
_MOST_DOUBLINGS = 6
_AMPLE = 256.0


@dataclass(slots=True)
class _Limit:
    """At most ``most`` requests may be outstanding, and none more be given before ``until``."""

    most: float
    until: float = 0.0
    refusals: int = 0


class Room:
    """What each device that was overloaded may be given, for as long as that matters.

    A refusal says how much a device takes from us just now; each answer that it takes one more
    now, and a little more in the long run (additive increase, multiplicative decrease: Chiu and
    Jain 1989, so that several gateways come to share it). Between refusals without an answer it is
    left alone for longer each time, and never for the same time as others leave it alone.
    """

    def __init__(self, gateway: str) -> None:
        self._limits: dict[str, _Limit] = {}
        self._dice = Random(gateway)

    def refused(self, device: str, outstanding: int, now: float) -> None:
        """A device took no more while so many were ``outstanding`` there."""
        limit = self._limits.setdefault(device, _Limit(_AMPLE))
        limit.most = max(1.0, min(limit.most, outstanding))
        pause_s = _PAUSE_S * 2 ** min(_MOST_DOUBLINGS, limit.refusals)
        limit.until = now + pause_s * self._dice.uniform(0.5, 1.5)
        limit.refusals += 1

    def answered(self, device: str) -> None:
        """A device has done something for us."""
        limit = self._limits.get(device)
        if limit is not None:
            limit.until, limit.refusals = 0.0, 0
            limit.most += 1 / limit.most
            if limit.most >= _AMPLE:
                del self._limits[device]

    def full(self, device: str, outstanding: int, now: float) -> bool:
        """Whether a device should not be given more now."""
        limit = self._limits.get(device)
        return limit is not None and (now < limit.until or outstanding >= limit.most)

    def limited(self) -> list[str]:
        """The devices that were overloaded not long ago."""
        return list(self._limits)

    def opens(self, now: float) -> float | None:
        """When the next pause ends, in seconds."""
        times = [limit.until for limit in self._limits.values() if limit.until > now]
        return min(times, default=None)

    def forget(self, device: str) -> None:
        """A device has started anew, or is gone."""
        self._limits.pop(device, None)

"""Who is not asked just now, as what it was to give did not come in time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_PAUSE_S, _LONGEST_S = 0.25, 8.0


class _Silence(NamedTuple):
    """It is not asked before ``until``, which is ``pause_s`` after its slice was missed."""

    until: float
    pause_s: float


class Silences:
    """The devices that let a deadline pass, though they seem to be there. Until the mesh tells what
    became of one it is asked from time to time only, after pauses that double, as each time costs a
    request that deadline; and where nobody else can do its work."""

    def __init__(self) -> None:
        self._silent: dict[str, _Silence] = {}

    def missed(self, names: Iterable[str], now: float) -> None:
        """What these were to give did not come in time."""
        for name in names:
            known = self._silent.get(name)
            if known is None:
                self._silent[name] = _Silence(now + _PAUSE_S, _PAUSE_S)
            elif now >= known.until:
                pause_s = min(_LONGEST_S, 2 * known.pause_s)
                self._silent[name] = _Silence(now + pause_s, pause_s)

    def came(self, names: Iterable[str]) -> None:
        """What these were to give came in time."""
        if self._silent:
            for name in names:
                self._silent.pop(name, None)

    def at(self, now: float) -> tuple[str, ...]:
        """Who is not to be asked at this time."""
        return tuple(name for name, each in self._silent.items() if now < each.until)

    def forget(self, name: str) -> None:
        """A device is gone, or has started anew."""
        self._silent.pop(name, None)

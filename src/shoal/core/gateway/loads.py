"""Which parts kill the devices that load them, as one gateway has seen it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

DEATHS = 2
"""So often a device may die while it loads a part before it is spared that."""
SPARED_S, SPARED_MOST_S = 600.0, 9600.0
"""For how long; twice as long after each further death, up to the second."""
MAX_KNOWN = 1024


@dataclass(slots=True)
class _Record:
    deaths: int = 0
    until: float = 0.0


class Loads:
    """What devices are loading, and how often they died of it.

    A device says what it begins to load. When it then starts anew, it has died of that; when it is
    seen again in the same life, it was out of sight only.
    """

    def __init__(self) -> None:
        self._loading: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._loading) + len(self._records)

    def begun(self, device: str, part: str, life: str) -> None:
        """A device, in a life of it, begins to load a part."""
        self._loading[device] = part, life
        self._loading.move_to_end(device)
        if len(self._loading) > MAX_KNOWN:
            self._loading.popitem(last=False)

    def at_it(self, device: str, life: str) -> bool:
        """Whether a device was loading something in that life when it was last heard of."""
        return self._loading.get(device, ("", ""))[1] == life != ""

    def ended(self, device: str, ready: Iterable[str] = ()) -> None:
        """A device has loaded all that it will, or is gone; the parts in ``ready`` did no harm."""
        self._loading.pop(device, None)
        for part in ready:
            self._records.pop((device, part), None)

    def died(self, device: str, life: str, now: float) -> None:
        """A device has started anew after that life."""
        part, then = self._loading.pop(device, ("", ""))
        if then != life or not part:
            return
        record = self._records.setdefault((device, part), _Record())
        self._records.move_to_end((device, part))
        record.deaths += 1
        if record.deaths >= DEATHS:
            more = record.deaths - DEATHS
            record.until = now + min(SPARED_MOST_S, SPARED_S * 2 ** min(more, 16))
        if len(self._records) > MAX_KNOWN:
            self._records.popitem(last=False)

    def barred(self, device: str, parts: Iterable[str], now: float) -> dict[str, str]:
        """The parts that a device is not to load now, with the reason."""
        found = {}
        for part in parts:
            record = self._records.get((device, part))
            if record is not None and now < record.until:
                times = "twice" if record.deaths == DEATHS else f"{record.deaths} times"
                found[part] = (
                    f"{device} died {times} while loading part {part[:12]} (too little memory?); "
                    f"it is not asked to again for {(record.until - now) / 60:.0f} minutes"
                )
        return found

"""Sizes in bytes as people write them: ``900 MiB``, ``1.5 GB``, ``4096``."""

from __future__ import annotations

import re

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
MAX = 1 << 50
_PATTERN = re.compile(r"\s*(\d{1,16}(?:\.\d{1,6})?)\s*([a-z]*)\s*", re.IGNORECASE)


class Size(int):
    """A number of bytes that is written with its unit in files."""

    @classmethod
    def parse(cls, value: object) -> Size:
        """From an integer or a text with a unit; ValueError when it is neither."""
        size = -1
        if isinstance(value, int) and not isinstance(value, bool):
            size = value
        elif isinstance(value, str) and (match := _PATTERN.fullmatch(value)):
            unit = _UNITS.get(match[2].lower())
            size = -1 if unit is None else round(float(match[1]) * unit)
        if not 0 <= size < MAX:
            raise ValueError(f"{value!r} is not a size; write it like 900 MiB or 2 GB")
        return cls(size)

    def __str__(self) -> str:
        for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if self and self % unit == 0:
                return f"{self // unit} {name}"
        return f"{int(self)} B"


def readable(size: float) -> str:
    """A size for people, rounded: ``1.4 MiB``."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"

"""The strategy ``split``: how long a decision takes, and its plans beside the baselines."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("decisions", "jumps", "grid", "together", "traces", "shapes")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)

"""What must not happen: how often it does all the same."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal.bench.row import Row

SECTIONS = ("poison",)


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)

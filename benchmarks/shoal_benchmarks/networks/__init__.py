"""Networks that others wrote: which of them Shoal takes, and whether what it gives is right.

A section is a module of this package with ``rows``; it is entered in ``SECTIONS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("conformance", "packages")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)

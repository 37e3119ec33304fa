"""The benches by name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from shoal.bench.row import Row
from shoal.errors import UsageError

BENCHES = {
    "foundation": "cuts, hops, pipelines, forecasts, failover, memory",
    "rivals": "Shoal beside one process, replicas, PyTorch pipelining, Ray and gRPC",
}
"""Name of the module in this package, and what it measures."""


class Bench(Protocol):
    """What a bench module holds."""

    def rows(self, quick: bool) -> Iterator[Row]:
        """Measure, row by row; ``quick`` ends within five minutes with fewer samples."""


def find(name: str) -> Bench:
    """The bench called ``name``; UsageError if there is none."""
    if name not in BENCHES:
        raise UsageError(f"no bench is called {name!r}; there are: {', '.join(sorted(BENCHES))}")
    return cast(Bench, import_module(f"shoal.bench.{name}"))

"""The benches by name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from shoal.errors import UsageError
from shoal_benchmarks.row import Row

BENCHES = {
    "codec": "bytes, errors and speed of codecs on real activations",
    "fluid": "sub-networks together and each for itself: accuracy, throughput, losses",
    "foundation": "cuts, hops, pipelines, forecasts, failover, memory",
    "lab": "how right the lab is, how fast it comes and goes, failover and chaos in it",
    "networks": "networks that others wrote: tests of the onnx package, trained ones",
    "node": "heads, the simulator at size and against the lab, mistakes that tests notice",
    "rivals": "Shoal beside one process, replicas, PyTorch pipelining, Ray and gRPC",
    "relay": "tasks with exits handed on: images/s, accuracy, overload, losses",
    "shards": "layers dealt over devices: what is kept without some, equality, losses, forecasts",
    "split": "device and server: the time of a decision, and a grid of devices, links, baselines",
    "trust": "what may never happen (wrong answers first), and what loading may cost at most",
    "wire": "CPU time beside a gRPC chain, a frozen peer, large requests",
}
"""Name of the module in this package, and what it measures. A bench of several sections also runs
one of them alone, as ``foundation.failover``."""


class Bench(Protocol):
    """What a bench module holds."""

    def rows(self, quick: bool) -> Iterator[Row]:
        """Measure, row by row; ``quick`` ends within five minutes with fewer samples."""


def find(name: str) -> Bench:
    """The bench called ``name``, or a section of one; UsageError if there is none."""
    bench, _, section = name.partition(".")
    if bench not in BENCHES:
        raise UsageError(f"no bench is called {name!r}; there are: {', '.join(sorted(BENCHES))}")
    found = import_module(f"shoal_benchmarks.{bench}")
    sections = getattr(found, "SECTIONS", ())
    if section and section not in sections:
        known = ", ".join(f"{bench}.{each}" for each in sections) or "none"
        raise UsageError(f"bench {bench} has no section {section!r}; there are: {known}")
    return cast(Bench, import_module(f"{found.__name__}.{section}") if section else found)

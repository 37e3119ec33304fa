"""What the simulations of one call of ``shoal simulate`` share."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from shoal.cli.output import stdout
from shoal.errors import DataError, UsageError

if TYPE_CHECKING:
    from shoal.plan.cluster import Cluster
    from shoal.plan.network import Feeds
    from shoal.plan.plan import Playbook
    from shoal.sim.outcome import Demand

SECONDS = 60.0
MAX_SECONDS = 7 * 24 * 3600.0
MAX_REQUESTS = 10_000_000

DemandOf: TypeAlias = "Callable[[Playbook], tuple[Demand, str]]"
"""The load for a playbook, and it in words."""


class Asked(NamedTuple):
    """On which cluster what load is simulated, from which seed, with which image (None: noise);
    the folder to draw in (None: nowhere), and whether results are told as JSON."""

    cluster: Cluster
    demand_of: DemandOf
    seed: int
    image: Path | None
    folder: Path | None
    json: bool

    def feeds(self, playbook: Playbook) -> Feeds | None:
        """The first image of the file; DataError where it does not fit."""
        from shoal.cli.inputs import Case, from_arrays

        if self.image is None:
            return None
        case = next(from_arrays([self.image], playbook, 1).cases)
        if not isinstance(case, Case):
            raise case.error
        return case.feeds


def demand_of(
    arrivals: str | None,
    rate: float | None,
    window: int | None,
    seconds: float | None,
    deadline_ms: float,
    seed: int,
) -> DemandOf:
    """The load for a playbook, and it in words; UsageError for one that makes no sense, DataError
    for a file that does not."""
    from shoal.runtime.service import MAX_WINDOW, busy_window
    from shoal.sim.arrivals import KINDS, trace
    from shoal.sim.outcome import Demand

    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise UsageError(f"--seconds {seconds:g}: write more than 0, at most {MAX_SECONDS:g}")
    if rate is not None and window is not None:
        raise UsageError("--rate and --window exclude each other: give one of them")
    if arrivals is not None and arrivals not in KINDS:
        refuse({"--rate": rate, "--window": window}, "goes with no file of times: leave it out")
        times = trace(arrivals)
        lasts_s = seconds or math.floor(times[-1]) + 1.0
        within = bisect_left(times, lasts_s)
        if not within or lasts_s > MAX_SECONDS or within > MAX_REQUESTS:
            raise DataError(
                f"{arrivals}: {within} requests come within {lasts_s:g} s, the first at "
                f"{times[0]:g} s; 1 to {MAX_REQUESTS} within {MAX_SECONDS:g} s are possible: count "
                "from 0, or give other --seconds"
            )
        said = f"{Path(arrivals).name}"
        return lambda playbook: (Demand(lasts_s, times, deadline_ms=deadline_ms), said)
    lasts_s = seconds or SECONDS
    if rate is not None:
        if not 0 < rate * lasts_s <= MAX_REQUESTS:
            raise UsageError(
                f"--rate {rate:g}: write more than 0 per second, and so that no more than "
                f"{MAX_REQUESTS} are asked"
            )
        kind = arrivals or "steady"
        return lambda playbook: (
            Demand(lasts_s, KINDS[kind](rate, seed), deadline_ms=deadline_ms),
            f"{rate:g}/s, {kind}",
        )
    if arrivals is not None:
        raise UsageError(f"--arrivals {arrivals} comes at a rate: give --rate as well")

    def windowed(playbook: Playbook) -> tuple[Demand, str]:
        width = min(window or busy_window(playbook), MAX_WINDOW)
        return Demand(lasts_s, None, width, deadline_ms), f"{width} under way"

    return windowed


def refuse(given: Mapping[str, object], why: str) -> None:
    """UsageError for the first option that was given."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"{name} {why}")


def tell(notes: Sequence[str], written: Sequence[Path]) -> None:
    """What is to be known of results, and the files with more."""
    for text in (*notes, *(f"wrote {path}" for path in written)):
        stdout().print(text, soft_wrap=True)

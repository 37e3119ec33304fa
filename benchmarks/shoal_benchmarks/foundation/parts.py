"""What cutting costs: four balanced parts one after the other, over the whole network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shoal_benchmarks.measure import interleaved
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import LITE0, RESNET50, load

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.model.profiles import NetworkProfile

PARTS = 4
ROUNDS, QUICK_ROUNDS = 200, 60


def rows(quick: bool) -> Iterator[Row]:
    """The time ratio for each network, and both times."""
    for name in (LITE0, RESNET50):
        network = load(name)
        if network is not None:
            yield from _rows(name, network, QUICK_ROUNDS if quick else ROUNDS)


def _rows(name: str, network: Network, rounds: int) -> Iterator[Row]:
    from shoal.model.profiles import profile

    places = balanced(network, profile(network), PARTS)
    parts = [(part, part.session()) for part in network.split(places)]
    (whole,) = network.split([])
    session = whole.session()
    feeds = network.probe()

    def in_sequence() -> None:
        tensors = feeds
        for part, loaded in parts:
            tensors = part.run_on(loaded, tensors)

    times = interleaved(
        {"whole": lambda: whole.run_on(session, feeds), "parts": in_sequence}, rounds, warm_up=5
    )
    ratio = times["parts"].over(times["whole"])
    yield row(f"{PARTS} parts in sequence over the whole, {name}", ratio, "ratio", "<= 1.05")
    yield row(f"{PARTS} parts in sequence, one thread, {name}", times["parts"], "ms")
    yield row(f"whole network, one thread, {name} (baseline)", times["whole"], "ms")


def balanced(network: Network, profile: NetworkProfile, count: int) -> list[int]:
    """Places of ``count - 1`` cuts so that the slowest part is as quick as it can be."""
    ends = [*(cut.at for cut in network.cuts), len(network.nodes)]
    slowest = {end: profile.range_ms(0, end) for end in ends}
    chosen: dict[int, tuple[int, ...]] = dict.fromkeys(ends, ())
    for _ in range(count - 1):
        slowest, chosen = _one_more(profile, ends, slowest, chosen)
    return list(chosen[ends[-1]])


def _one_more(
    profile: NetworkProfile,
    ends: Sequence[int],
    slowest: dict[int, float],
    chosen: dict[int, tuple[int, ...]],
) -> tuple[dict[int, float], dict[int, tuple[int, ...]]]:
    """From the best cuts of every beginning, those with one part more."""
    more: dict[int, float] = {}
    places: dict[int, tuple[int, ...]] = {}
    for end in ends:
        options = [
            (max(time, profile.range_ms(at, end)), at) for at, time in slowest.items() if at < end
        ]
        if options:
            more[end], at = min(options)
            places[end] = (*chosen[at], at)
    return more, places

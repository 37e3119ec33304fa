"""Which stretch of a network on which device: cuts and order by dynamic programming.

A *chain* gives consecutive stretches of the network to different devices. Two things can be made
small: the bottleneck (the busiest device or link: 1 / throughput) and the latency (the sum of all
times and hops); or the memory that a chain adds.

With ``best(S, d, j)`` the least cost of having computed everything before position ``j`` with
the devices ``S``, ``d`` last, and (+) either max or sum::

    best(S, d, j) = min over i < j, l in S - d of best(S - d, l, i) (+) link(l, d, i) (+) d(i, j)

That is exact over all sets and orders of devices; devices that are alike are tried in one order
only, so a hundred equal ones cost little. Where it would still take more than :data:`BUDGET`
steps, the order of the devices is improved by moving one at a time (each order is solved exactly,
devices may be left out), over the :data:`MOST` fastest: good, but not proved best.

Not seen here: cores that several devices share. So the best chain of each length is
handed on, and the forecast, which sees them, chooses.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum

import msgspec
import numpy as np
import numpy.typing as npt

from shoal.plan.costs import Costs, Floats

BUDGET = 4e8
"""Largest number of steps of the exact search (a third of a second)."""
MOST = 16
"""Largest number of devices whose order is searched by moves."""
MOVES = 1000
"""Largest number of moves tried, about (each costs half a millisecond)."""
_STEP_OVERHEAD = 20_000
"""What a step of Python costs, in elements of an array."""
_SLACK = 1 + 1e-9
"""Keeps a chain within a limit that was computed from its own costs in another order."""


class Leg(msgspec.Struct, frozen=True):
    """The stretch from node ``first`` up to, not including, ``last`` on ``device``."""

    device: str
    first: int
    last: int


Chain = tuple[Leg, ...]


class Least(Enum):
    """What a search makes small."""

    BOTTLENECK = "bottleneck"
    LATENCY = "latency"
    MEMORY = "memory"


@dataclass(frozen=True)
class _Terms:
    """The costs of one search: how they add up, and those of stretches and of links."""

    peak: bool
    stretch: tuple[Floats, ...]
    link: dict[tuple[int, int], Floats]


def best_chains(
    costs: Costs, least: Least, limit_ms: float = np.inf
) -> dict[int, tuple[float, Chain]]:
    """For each number of devices, the least cost and a chain that has it.

    ``limit_ms`` bounds the bottleneck. Numbers of devices for which there is no chain are absent.
    """
    terms = _terms(costs, least, limit_ms)
    classes = _classes(costs, least)
    if _exact_steps(costs, classes) <= BUDGET:
        return _over_sets(costs, terms, classes)
    return _over_orders(costs, terms)


def candidates(costs: Costs, sweep: int = 0) -> list[Chain]:
    """Chains worth a forecast: of each length the one with the least bottleneck and the one with
    the least latency; with ``sweep``, about as many between the extremes."""
    peaks = [chain for _, chain in best_chains(costs, Least.BOTTLENECK).values()]
    quickest = [chain for _, chain in best_chains(costs, Least.LATENCY).values()]
    between: list[Chain] = []
    if sweep and peaks:
        low = min(bottleneck_ms(costs, chain) for chain in peaks)
        high = max(bottleneck_ms(costs, chain) for chain in quickest)
        for limit in np.geomspace(low, max(high, low), sweep + 2)[1:-1]:
            found = best_chains(costs, Least.LATENCY, float(limit))
            between += [chain for _, chain in found.values()]
    return list(dict.fromkeys([*peaks, *quickest, *between]))


def quicker(costs: Costs, chain: Chain) -> Chain:
    """Of the chains with as many devices as ``chain`` and no worse a bottleneck, the one with the
    least latency."""
    found = best_chains(costs, Least.LATENCY, bottleneck_ms(costs, chain) * _SLACK)
    return found.get(len(chain), (0.0, chain))[1]


def bottleneck_ms(costs: Costs, chain: Chain) -> float:
    """The time per image of the busiest device or link of a chain."""
    worst, giver = 0.0, -1
    for leg in chain:
        d = costs.devices.index(leg.device)
        i, j = costs.positions.index(leg.first), costs.positions.index(leg.last)
        worst = max(worst, float(costs.link_ms[giver, d][i]), float(costs.busy_ms[d][i, j]))
        giver = d
    return max(worst, float(costs.link_ms[giver, -1][costs.end]))


def _terms(costs: Costs, least: Least, limit_ms: float) -> _Terms:
    """The terms of one search; whatever is busy for longer than the limit costs infinity."""
    if least is Least.BOTTLENECK:
        stretch, link = costs.busy_ms, dict(costs.link_ms)
    elif least is Least.LATENCY:
        stretch, link = costs.run_ms, dict(costs.hop_ms)
    else:
        stretch = costs.memory
        link = {key: np.zeros_like(ms) for key, ms in costs.link_ms.items()}
    if np.isfinite(limit_ms):
        stretch = tuple(
            np.where(busy <= limit_ms, values, np.inf)
            for values, busy in zip(stretch, costs.busy_ms, strict=True)
        )
        link = {
            key: np.where(costs.link_ms[key] <= limit_ms, values, np.inf)
            for key, values in link.items()
        }
    return _Terms(least is Least.BOTTLENECK, stretch, link)


@dataclass(frozen=True)
class _State:
    """``cost[j]`` of everything before ``j`` done, the last stretch begun at ``begin[j]`` after
    the state ``before[begin[j]]`` (None: after the gateway)."""

    device: int
    cost: Floats
    begin: npt.NDArray[np.intp]
    before: tuple[_State | None, ...]


def _extend(terms: _Terms, device: int, froms: list[_State | None], size: int) -> _State:
    """The state after one more stretch on ``device``, after the best of ``froms`` everywhere."""
    arrivals = np.full((len(froms), size), np.inf)
    for row, state in enumerate(froms):
        if state is None:
            arrivals[row, 0] = terms.link[-1, device][0]
        elif terms.peak:
            np.maximum(state.cost, terms.link[state.device, device], out=arrivals[row])
        else:
            np.add(state.cost, terms.link[state.device, device], out=arrivals[row])
    best_from = arrivals.argmin(axis=0)
    arrival = arrivals[best_from, np.arange(size)]
    combine = np.maximum if terms.peak else np.add
    through = combine(arrival[:, None], terms.stretch[device])
    begin = through.argmin(axis=0)
    return _State(
        device,
        through[begin, np.arange(size)],
        begin,
        tuple(froms[row] for row in best_from),
    )


def _total(costs: Costs, terms: _Terms, state: _State) -> float:
    """The cost of a chain that ends with ``state``; infinite when there is none."""
    back, end = float(terms.link[state.device, -1][costs.end]), float(state.cost[costs.end])
    return max(end, back) if terms.peak else end + back


def _keep(
    best: dict[int, tuple[float, Chain]], count: int, costs: Costs, terms: _Terms, state: _State
) -> None:
    """Note the chain of ``count`` devices that ends with ``state``, if it is the best so far."""
    total = _total(costs, terms, state)
    if not total < best.get(count, (np.inf, ()))[0]:
        return
    legs: list[Leg] = []
    j, current = costs.end, state
    while True:
        i = int(current.begin[j])
        name = costs.devices[current.device]
        legs.append(Leg(name, costs.positions[i], costs.positions[j]))
        earlier = current.before[i]
        if earlier is None:
            best[count] = total, tuple(reversed(legs))
            return
        j, current = i, earlier


def _over_sets(
    costs: Costs, terms: _Terms, classes: tuple[int, ...]
) -> dict[int, tuple[float, Chain]]:
    """The exact search, set by set, from small ones to large. Of devices that are alike a set
    holds the first few, and the last of these comes last: which of them does makes no difference.
    """
    groups = [
        [d for d, kind in enumerate(classes) if kind == each] for each in dict.fromkeys(classes)
    ]
    best: dict[int, tuple[float, Chain]] = {}
    states: dict[tuple[int, ...], list[_State | None]] = {(0,) * len(groups): [None]}
    counts = itertools.product(*(range(len(group) + 1) for group in groups))
    for taken in sorted(counts, key=sum):
        if not 0 < sum(taken) <= costs.end:
            continue
        grown: list[_State | None] = []
        for k in reversed(range(len(groups))):
            before = states.get((*taken[:k], taken[k] - 1, *taken[k + 1 :]))
            if not before:
                continue
            state = _extend(terms, groups[k][taken[k] - 1], before, costs.end + 1)
            if np.isfinite(state.cost).any():
                grown.append(state)
                _keep(best, sum(taken), costs, terms, state)
        states[taken] = grown
    return best


def _classes(costs: Costs, least: Least) -> tuple[int, ...]:
    """A number for each device; devices that are alike (cost, host, links) have the same."""
    kinds: list[int] = []
    for d in range(len(costs.devices)):
        twin = next((other for other in range(d) if _alike(costs, least, d, other)), None)
        kinds.append(d if twin is None else kinds[twin])
    return tuple(kinds)


def _alike(costs: Costs, least: Least, a: int, b: int) -> bool:
    """Whether nothing changes when two devices change places."""
    if costs.hosts[a] != costs.hosts[b] and any(
        costs.hosts.count(costs.hosts[d]) > 1 for d in (a, b)
    ):
        return False
    tables = [costs.run_ms, costs.busy_ms, *([costs.memory] if least is Least.MEMORY else [])]
    if not all(np.array_equal(table[a], table[b]) for table in tables):
        return False
    swapped = {a: b, b: a}
    return all(
        np.array_equal(links[a, other], links[b, swapped.get(other, other)])
        and np.array_equal(links[other, a], links[swapped.get(other, other), b])
        for links in (costs.link_ms, costs.hop_ms)
        for other in range(-1, len(costs.devices))
    )


def _exact_steps(costs: Costs, classes: tuple[int, ...]) -> float:
    """How many elements the exact search looks at: sets x devices that may come last x cuts^2."""
    sets, kinds = 1.0, set(classes)
    for kind in kinds:
        sets *= 1 + classes.count(kind)
    return sets * len(kinds) * ((costs.end + 1) ** 2 + _STEP_OVERHEAD)


def _over_orders(costs: Costs, terms: _Terms) -> dict[int, tuple[float, Chain]]:
    """The search by moves: an order of the fastest devices, improved by moving one at a time."""
    order = sorted(range(len(costs.devices)), key=lambda d: _speed(costs, d))[:MOST]
    value = _order_cost(costs, terms, order)
    tries, improved = 0, True
    while improved and tries < MOVES:
        improved = False
        for device in list(order):
            others = [d for d in order if d != device]
            for place in range(len(order)):
                moved = [*others[:place], device, *others[place:]]
                cost = _order_cost(costs, terms, moved)
                tries += 1
                if cost < value / _SLACK:
                    order, value, improved = moved, cost, True
                    break
    return _order_chains(costs, terms, order)


def _speed(costs: Costs, d: int) -> tuple[float, float]:
    """Ranks devices: by the time of all the stretches that it can hold, then by its link."""
    finite = costs.run_ms[d][np.isfinite(costs.run_ms[d])]
    fitting = finite.size or 1
    return float(finite.mean()) / fitting if finite.size else np.inf, float(
        costs.hop_ms[-1, d].mean()
    )


def _order_cost(costs: Costs, terms: _Terms, order: list[int]) -> float:
    """The least cost of any chain whose devices come in this order (some may be left out)."""
    states: list[_State | None] = [None]
    least = np.inf
    for d in order:
        state = _extend(terms, d, states, costs.end + 1)
        states.append(state)
        least = min(least, _total(costs, terms, state))
    return least


def _order_chains(costs: Costs, terms: _Terms, order: list[int]) -> dict[int, tuple[float, Chain]]:
    """For each number of devices, the best chain whose devices come in this order."""
    best: dict[int, tuple[float, Chain]] = {}
    level: list[tuple[int, _State | None]] = [(-1, None)]
    for count in range(1, min(len(order), costs.end) + 1):
        grown: list[tuple[int, _State | None]] = []
        for place, d in enumerate(order):
            froms = [state for earlier, state in level if earlier < place]
            if froms:
                state = _extend(terms, d, froms, costs.end + 1)
                grown.append((place, state))
                _keep(best, count, costs, terms, state)
        level = grown
    return best

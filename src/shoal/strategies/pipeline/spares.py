"""The plans for the time when a device is gone, in the order in which they get what memory is left:

1. for each device of the main plan, the best plan without it: another device takes over just its
   part where that is as good (nothing else changes, and a request that was stopped half way goes
   on where it was), else all is dealt anew;
2. the last resort: the whole network on one device, for each device that can hold it;
3. for each device whose loss has all dealt anew, a device that takes over its part as well.

Whoever says how many devices shall share the network is taken at his word here too: plans over
fewer of those that are left come last, whatever their forecast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from shoal.plan.search import Chain
from shoal.strategies.pipeline.chains import Ground, name_of
from shoal.strategies.pipeline.taken import Taken


def with_spares(ground: Ground, taken: Taken, main: Chain, devices: Sequence[str]) -> Taken:
    """The main plan, and with it all spares that there is memory for."""
    taken = _without_each(ground, taken, main, devices)
    for name in devices:
        _take_first(ground, taken, [ground.whole(name)])
    for lost in stoppable(ground, main):
        rest = [name for name in devices if name != lost]
        _take_first(ground, taken, takeovers(ground, main, lost, rest))
    return taken


def stoppable(ground: Ground, main: Chain) -> list[str]:
    """The devices of a chain that can fail (when the gateway does, nobody is left to answer)."""
    return [leg.device for leg in main if leg.device != ground.cluster.gateway.name]


def _without_each(ground: Ground, taken: Taken, main: Chain, devices: Sequence[str]) -> Taken:
    """The best plan without each device; where memory does not last for all of these, plans
    that need little of it come first."""
    lost = stoppable(ground, main)
    generous = taken.copy()
    _take_best(ground, generous, main, devices)
    if all(generous.survives(name) for name in lost):
        return generous
    thrifty = taken.copy()
    for name in lost:
        _take_first(ground, thrifty, _smallest(ground, thrifty, main, name, devices))
    _take_best(ground, thrifty, main, devices)
    return max(generous, thrifty, key=lambda tried: sum(map(tried.survives, lost)))


def _take_best(ground: Ground, taken: Taken, main: Chain, devices: Sequence[str]) -> None:
    for name in stoppable(ground, main):
        rest = [other for other in devices if other != name]
        chains = [
            *takeovers(ground, main, name, rest),
            *(chain for chain, _ in ground.best(rest, taken.ledger.room, taken.held)),
        ]
        forecasts = [ground.forecast(chain) for chain in chains]
        ranked = [chains[index] for index in ground.objective.order(forecasts)]
        wanted = wanted_devices(ground, rest)
        _take_first(ground, taken, sorted(ranked, key=lambda chain: _devices(chain) < wanted))


def wanted_devices(ground: Ground, rest: Sequence[str]) -> int:
    """How many of the devices that are left shall share the network: 1 where nobody said."""
    return 1 if ground.most is None else min(ground.most, len(rest))


def _devices(chain: Chain) -> int:
    return len({leg.device for leg in chain})


def _smallest(
    ground: Ground, taken: Taken, main: Chain, lost: str, devices: Sequence[str]
) -> list[Chain]:
    """Chains without ``lost``, those that add the least memory first, and of these those that
    leave the most on the device where it is shortest."""
    rest = [name for name in devices if name != lost]
    chains = [
        *takeovers(ground, main, lost, rest),
        *ground.smallest(rest, taken.ledger.room, taken.held),
    ]

    def added(chain: Chain) -> tuple[int, float]:
        new = dict.fromkeys(rest, 0)
        for leg in chain:
            if (leg.first, leg.last) not in taken.held.get(leg.device, ()):
                new[leg.device] += ground.memory(leg)
        left = [
            taken.ledger.room.get(name, float("inf")) - size for name, size in new.items() if size
        ]
        return sum(new.values()), -min(left, default=0.0)

    return sorted(chains, key=added)


def takeovers(ground: Ground, main: Chain, lost: str, rest: Sequence[str]) -> list[Chain]:
    """The chain with each of ``rest`` in the place of ``lost``, best for the objective first."""
    chains = [
        tuple(
            leg if leg.device != lost else msgspec.structs.replace(leg, device=name) for leg in main
        )
        for name in rest
    ]
    forecasts = [ground.forecast(chain) for chain in chains]
    return [chains[index] for index in ground.objective.order(forecasts)]


def _take_first(ground: Ground, taken: Taken, chains: Iterable[Chain]) -> None:
    """Add the plan of the first chain that there is memory for, if any, as a spare."""
    for chain in chains:
        plan, parts = ground.plan(chain, name_of(chain, taken.names), spare=True)
        if taken.add(plan, chain, parts):
            return

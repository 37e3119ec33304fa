"""The network cut in depth: the stretches that suit the devices, and the plans for their loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.errors import PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective, cost
from shoal.plan.plan import Forecast, PolicySpec
from shoal.plan.profiles import Profiles
from shoal.plan.search import Chain
from shoal.plan.size import readable
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.ledger import Ledger, memory_limits
from shoal.strategies.options import Options
from shoal.strategies.pipeline.chains import Ground, name_of, versus
from shoal.strategies.pipeline.spares import stoppable, wanted_devices, with_spares
from shoal.strategies.pipeline.taken import Taken

NAME = "pipeline"


class Stages(Options, frozen=True):
    """How many stages there are to be (None: as many as is best)."""

    stages: int | None = None


def build(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
    options: Stages,
) -> Built:
    """The best cuts and devices for the objective (fewer devices where that is better, unless
    ``stages`` says how many), then spares for the loss of each device, in order of forecast
    (with ``stages``, those that spread over fewer of the devices left come last).
    """
    stages = options.stages
    ground = Ground(network, cluster, profiles, objective, stages)
    devices = [device.name for device in cluster.computing]
    if stages is not None:
        _check_stages(stages, network, devices)
    room = memory_limits(cluster, objective)
    ranked = ground.best(devices, room)
    if stages is not None:
        ranked = [(chain, found) for chain, found in ranked if len(chain) == stages]
    if not ranked:
        raise PlanError(_no_room(network, devices, room, ground, stages))
    main = ranked[0][0]
    plan, parts = ground.plan(main, name_of(main, ()), spare=False)
    taken = Taken(Ledger(room))
    if not taken.add(plan, main, parts):
        raise PlanError(_no_room(network, devices, room, ground, stages))
    taken = with_spares(ground, taken, main, devices)
    notes = _idle(ranked, devices) if stages is None else _forced(ranked, ground)
    notes += [
        f"nothing stands in for {name} when it is gone: "
        + (
            "the others have not the memory; raise a limit or add a device"
            if len(devices) > 1
            else "there is no other device"
        )
        for name in stoppable(ground, main)
        if not taken.survives(name)
    ]
    wanted = wanted_devices(ground, devices[1:])
    spares = ground.order(taken.plans[1:])
    plans = [taken.plans[0], *sorted(spares, key=lambda p: len(p.devices) < wanted)]
    return built(NAME, network, PolicySpec("preferred"), plans, taken.ledger.parts, notes)


def _check_stages(stages: int, network: Network, devices: Sequence[str]) -> None:
    most = min(len(devices), len(network.cuts) + 1)
    if not 1 <= stages <= most:
        raise PlanError(
            f"{stages} stages are not possible: there are {len(devices)} devices and "
            f"{len(network.cuts)} cuts; ask for 1 to {most}"
        )


def _no_room(
    network: Network,
    devices: Sequence[str],
    room: Mapping[str, float],
    ground: Ground,
    stages: int | None,
) -> str:
    whole = ground.forecast(ground.whole(devices[0])).memory[devices[0]]
    limits = ", ".join(
        f"{name} {readable(room[name]) if name in room else 'any'}" for name in devices
    )
    how = "" if stages is None else f" in {stages} stages"
    return (
        f"{network.name!r} does not fit on the devices{how}: it needs {readable(whole)} in one "
        f"piece, the limits are {limits}; raise a memory limit or add a device"
    )


def _idle(ranked: Sequence[tuple[Chain, Forecast]], devices: Sequence[str]) -> list[str]:
    """A sentence on the devices that are left idle, and what using more would do."""
    chain, forecast = ranked[0]
    idle = [name for name in devices if all(leg.device != name for leg in chain)]
    if not idle:
        return []
    larger = [found for other, found in ranked if len(other) > len(chain)]
    who = f"{', '.join(idle)} {'stays' if len(idle) == 1 else 'stay'} idle"
    if not larger:
        return [f"{who}: there are no more cuts, or there is not the memory"]
    return [f"{who}: with more devices the forecast is {versus(larger[0], forecast)}"]


def _forced(ranked: Sequence[tuple[Chain, Forecast]], ground: Ground) -> list[str]:
    """A sentence where one device alone would do better than the stages asked for."""
    chain, forecast = ranked[0]
    alone = [(leg.device, ground.forecast(ground.whole(leg.device))) for leg in chain]
    best = ground.objective.order([forecast, *(found for _, found in alone)])[0]
    if best == 0 or len(chain) == 1:
        return []
    device, better = alone[best - 1]
    aim = ground.objective.aims[0]
    gains = cost(better, aim) < cost(forecast, aim)
    how = "better than" if gains else "about as good as, and simpler than,"
    return [f"{device} alone would be {how} {len(chain)} stages ({versus(better, forecast)})"]


strategy = Strategy(NAME, build, options=Stages, rank=3)

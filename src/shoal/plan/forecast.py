"""What a plan will do: latency, throughput, bytes, memory, energy. Pure arithmetic.

The latency is that of a request which meets no queue: the sum of its computing and of its hops.
Who gives to several, or takes from several, does so one after the other.
The throughput is 1 / the slowest resource, where the resources are

* each device: all its stages, and the messages that it sends and receives;
* each direction of each link: the bytes that cross it;
* each host: the core time of all the devices on it, over its cores.

Computing and transfers overlap, so none of them adds to another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from shoal.plan.cluster import Cluster
from shoal.plan.plan import Forecast, Spread
from shoal.plan.profiles import Profiles


class Duty(msgspec.Struct, frozen=True):
    """What one holder does at one stage: compute for ``run_ms``, keep ``memory`` bytes for its
    part, give ``out_bytes`` to each taker, which it packs once for all in ``pack_ms``. As a taker
    it unpacks what any one holder gives, itself included, in ``unpack_ms``. ``batch_ratio`` is the
    share of ``run_ms`` that a request costs while others wait that are run with it."""

    run_ms: float
    out_bytes: float
    memory: int = 0
    batch_ratio: float = 1.0
    pack_ms: float = 0.0
    unpack_ms: float = 0.0


class StageDuty(msgspec.Struct, frozen=True):
    """A stage as the forecast sees it. ``reached`` is the share of requests that get so far (the
    others left at an exit before, with an answer of ``exit_bytes``)."""

    duties: Mapping[str, Duty]
    spread: Spread = Spread.ONE
    reached: float = 1.0
    exit_bytes: float = 0.0


class Use(msgspec.Struct, frozen=True):
    """How long one image occupies each resource, in ms, and what crosses links, in bytes."""

    device_ms: dict[str, float]
    link_ms: dict[tuple[str, str], float]
    host_ms: dict[str, float]
    link_bytes: float

    @property
    def slowest(self) -> tuple[str, float]:
        """The resource that bounds the throughput, in words, and its ms per image."""
        named = [(f"device {name}", ms) for name, ms in self.device_ms.items()]
        named += [(f"link {a} to {b}", ms) for (a, b), ms in self.link_ms.items()]
        named += [(f"cores of host {name}", ms) for name, ms in self.host_ms.items()]
        return max(named, key=lambda item: item[1], default=("nothing", 0.0))


def forecast(
    stages: Sequence[StageDuty],
    cluster: Cluster,
    profiles: Profiles,
    in_bytes: float,
    accuracy: float = 1.0,
) -> Forecast:
    """The forecast of a plan whose stages are ``stages``; ``in_bytes`` is the network's input."""
    use = usage(stages, cluster, profiles, in_bytes)
    latency_ms = _latency_ms(stages, cluster, profiles, in_bytes)
    memory: dict[str, int] = defaultdict(int)
    holder_ms = []
    for stage in stages:
        holder_ms.append({name: duty.run_ms for name, duty in stage.duties.items()})
        for name, duty in stage.duties.items():
            memory[name] += duty.memory
    return Forecast(
        latency_ms=latency_ms,
        images_per_s=1e3 / max(use.slowest[1], 1e-9),
        accuracy=accuracy,
        bytes_per_image=use.link_bytes,
        memory=dict(memory),
        stage_ms=tuple(_stage_ms(s, m) for s, m in zip(stages, holder_ms, strict=True)),
        holder_ms=tuple(holder_ms) if any(len(m) > 1 for m in holder_ms) else (),
        energy_j=_energy_j(stages, cluster, profiles, use, latency_ms),
        slowest=use.slowest[0],
        server_ms=sum(ms for name, ms in use.device_ms.items() if name != cluster.gateway.name),
    )


def usage(
    stages: Sequence[StageDuty], cluster: Cluster, profiles: Profiles, in_bytes: float
) -> Use:
    """How long one image occupies each device, link and host."""
    device_ms: dict[str, float] = defaultdict(float)
    link_ms: dict[tuple[str, str], float] = defaultdict(float)
    host_ms: dict[str, float] = defaultdict(float)
    link_bytes = 0.0

    def transfer(giver: str, taker: str, size: float, share: float) -> None:
        nonlocal link_bytes
        if giver == taker or share <= 0:
            return
        link_bytes += share * size
        link_ms[giver, taker] += share * profiles.link(giver, taker).occupied_ms(size)
        for end in (giver, taker):
            ms = share * profiles.device(end).handling_ms(size)
            device_ms[end] += ms
            host_ms[cluster.host_of(end)] += ms / cluster.cores_of(cluster.host_of(end))

    gateway = cluster.gateway.name
    givers = {gateway: (1.0, in_bytes)}
    for k, stage in enumerate(stages):
        takers = _shares(stage, givers, profiles, gateway)
        for taker, share in takers.items():
            for giver, (part, size) in givers.items():
                transfer(giver, taker, size, stage.reached * share * part)
            node = cluster.node(taker)
            duty = stage.duties[taker]
            ms = stage.reached * share * duty.run_ms * duty.batch_ratio
            device_ms[taker] += ms
            host = cluster.host_of(taker)
            host_ms[host] += ms * node.threads / cluster.cores_of(host)
            handled_ms = stage.reached * share * (duty.pack_ms + _unpacked_ms(stages, k, taker))
            device_ms[taker] += handled_ms
            host_ms[host] += handled_ms / cluster.cores_of(host)
        later = stages[k + 1].reached if k + 1 < len(stages) else 0.0
        leaving = stage.reached - later
        for name, share in takers.items():
            size = stage.duties[name].out_bytes if k + 1 == len(stages) else stage.exit_bytes
            transfer(name, gateway, size, share * leaving)
        givers = {name: (share, stage.duties[name].out_bytes) for name, share in takers.items()}
    return Use(dict(device_ms), dict(link_ms), dict(host_ms), link_bytes)


def _shares(
    stage: StageDuty, givers: Mapping[str, tuple[float, float]], profiles: Profiles, gateway: str
) -> dict[str, float]:
    """The share of requests that each holder runs: all of them in ALL; in ONE in proportion to
    what it can do per second, which is what choosing the least finish time tends to."""
    if stage.spread is Spread.ALL or len(stage.duties) == 1:
        return dict.fromkeys(stage.duties, 1.0)
    rates = {}
    for name, duty in stage.duties.items():
        device = profiles.device(name)
        busy_ms = duty.run_ms * duty.batch_ratio + device.handling_ms(duty.out_bytes)
        link_ms = [profiles.link(name, gateway).occupied_ms(duty.out_bytes)] * (name != gateway)
        for giver, (share, size) in givers.items():
            if giver != name:
                busy_ms += share * device.handling_ms(size)
                link_ms.append(share * profiles.link(giver, name).occupied_ms(size))
        rates[name] = 1 / max(busy_ms, *link_ms, 1e-6)
    total = sum(rates.values())
    return {name: rate / total for name, rate in rates.items()}


def _stage_ms(stage: StageDuty, holder_ms: Mapping[str, float]) -> float:
    """The time of a stage: of its slowest holder in ALL, else of its quickest."""
    times = holder_ms.values()
    return max(times) if stage.spread is Spread.ALL else min(times)


def _latency_ms(
    stages: Sequence[StageDuty], cluster: Cluster, profiles: Profiles, in_bytes: float
) -> float:
    """Mean time of a request that meets no queue, over those that leave early and those that
    stay. A stage run by ONE is run where it ends first; one run by ALL ends with its last."""
    gateway = cluster.gateway.name
    ends, spread = {gateway: (0.0, in_bytes)}, Spread.ONE
    mean_ms = 0.0
    for k, stage in enumerate(stages):
        arrivals = _arrivals(ends, spread, stage.duties, stage.spread, profiles)
        stretch, spread = _stretch(stage, cluster), stage.spread
        unpacked = {name: _unpacked_ms(stages, k, name) for name in stage.duties}
        ends = {
            name: (
                arrivals[name] + unpacked[name] + duty.run_ms * stretch[name] + duty.pack_ms,
                duty.out_bytes,
            )
            for name, duty in stage.duties.items()
        }
        last = k + 1 == len(stages)
        leaving = {n: (end, size if last else stage.exit_bytes) for n, (end, size) in ends.items()}
        answer = _arrivals(leaving, spread, [gateway], Spread.ONE, profiles)
        answered_ms = answer[gateway] + (_unpacked_ms(stages, k + 1, gateway) if last else 0.0)
        mean_ms += answered_ms * (stage.reached - (0.0 if last else stages[k + 1].reached))
    return mean_ms


def _unpacked_ms(stages: Sequence[StageDuty], k: int, taker: str) -> float:
    """How long ``taker`` unpacks what it is given for stage ``k``: of one holder or of all."""
    if k == 0:
        return 0.0
    before = stages[k - 1]
    slowest = max(duty.unpack_ms for duty in before.duties.values())
    each = before.duties[taker].unpack_ms if taker in before.duties else slowest
    return each * (len(before.duties) if before.spread is Spread.ALL else 1)


def _arrivals(
    ends: Mapping[str, tuple[float, float]],
    given: Spread,
    takers: Collection[str],
    taken: Spread,
    profiles: Profiles,
) -> dict[str, float]:
    """When all is there for each of ``takers``, in ms. ``ends`` says when each giver has made how
    many bytes; it is ``given`` by one or all of them, and ``taken`` by one or all."""

    def sent_ms(giver: str, taker: str) -> float:
        end, size = ends[giver]
        if giver == taker:
            return end
        others = len(takers) - (giver in takers) if taken is Spread.ALL else 1
        before_ms = (others - 1) * profiles.device(giver).handling_ms(size)
        return end + before_ms + profiles.transfer_ms(giver, taker, size)

    def others_ms(taker: str) -> float:
        sizes = [size for name, (_, size) in ends.items() if name != taker]
        if given is Spread.ONE or len(sizes) < 2:
            return 0.0
        return sum(map(profiles.device(taker).handling_ms, sizes)) * (1 - 1 / len(sizes))

    gather = max if given is Spread.ALL else min
    return {
        taker: gather(sent_ms(giver, taker) for giver in ends) + others_ms(taker)
        for taker in takers
    }


def _stretch(stage: StageDuty, cluster: Cluster) -> dict[str, float]:
    """How much longer holders run because those of an ALL stage share the cores of a host."""
    if stage.spread is Spread.ONE:
        return dict.fromkeys(stage.duties, 1.0)
    threads: dict[str, int] = defaultdict(int)
    for name in stage.duties:
        threads[cluster.host_of(name)] += cluster.node(name).threads
    hosts = {name: cluster.host_of(name) for name in stage.duties}
    return {name: max(1.0, threads[host] / cluster.cores_of(host)) for name, host in hosts.items()}


def _energy_j(
    stages: Sequence[StageDuty],
    cluster: Cluster,
    profiles: Profiles,
    use: Use,
    latency_ms: float,
) -> float | None:
    """Energy that the plan's devices with stated powers draw during one request: busy while they
    compute, transmitting while they send, idle for the rest of its time. None: no powers."""
    joules, stated = 0.0, False
    names = {name for stage in stages for name in stage.duties} | {cluster.gateway.name}
    for name in names:
        power = cluster.node(name).power
        if power is None:
            continue
        stated = True
        busy = use.device_ms.get(name, 0.0)
        sending = sum(ms for (giver, _), ms in use.link_ms.items() if giver == name)
        idle = max(0.0, latency_ms - busy - sending)
        joules += power.busy_w * busy + power.transmit_w * sending + power.idle_w * idle
    return joules / 1e3 if stated else None

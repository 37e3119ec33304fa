"""From chains of the search to forecasts and plans."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from shoal.model.cuts import Cut
from shoal.plan.batching import best_batch
from shoal.plan.cluster import Cluster
from shoal.plan.costs import Range, measure
from shoal.plan.forecast import Duty, StageDuty, forecast
from shoal.plan.network import Network, Part, tensor_bytes
from shoal.plan.objective import Objective
from shoal.plan.plan import Forecast, Plan, Stage
from shoal.plan.profiles import Profiles
from shoal.plan.search import Chain, Least, Leg, best_chains, candidates, quicker

_SWEEP = 12
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Ground:
    """A network on a cluster: makes, forecasts and compares chains of ``most`` devices at most
    (None: any number)."""

    network: Network
    cluster: Cluster
    profiles: Profiles
    objective: Objective
    most: int | None = None

    @cached_property
    def _cuts(self) -> dict[int, Cut]:
        return {cut.at: cut for cut in self.network.cuts}

    def best(
        self,
        devices: Sequence[str],
        room: Mapping[str, float],
        held: Mapping[str, Collection[Range]] | None = None,
    ) -> list[tuple[Chain, Forecast]]:
        """Chains over (some of) ``devices``, best for the objective first. Empty when there is
        no memory for any."""
        if not devices:
            return []
        costs = measure(self.network, self.cluster, self.profiles, devices, room, held)
        sweep = 0 if self.objective.max_latency_ms is None else _SWEEP
        found = self._rank(candidates(costs, sweep))
        if not found:
            return []
        return self._rank([*(chain for chain, _ in found), quicker(costs, found[0][0])])

    def smallest(
        self,
        devices: Sequence[str],
        room: Mapping[str, float],
        held: Mapping[str, Collection[Range]],
    ) -> list[Chain]:
        """Chains over (some of) ``devices``, the one that adds the least memory first."""
        if not devices:
            return []
        costs = measure(self.network, self.cluster, self.profiles, devices, room, held)
        found = best_chains(costs, Least.MEMORY).values()
        return [chain for _, chain in sorted(found, key=lambda item: item[0])]

    def whole(self, device: str) -> Chain:
        """The whole network on one device."""
        return (Leg(device, 0, len(self.profiles.device(device).network.node_ms)),)

    def forecast(self, chain: Chain, parts: Sequence[Part] | None = None) -> Forecast:
        """The forecast of a chain; memory is that of ``parts`` once there are any."""
        stages = []
        for k, leg in enumerate(chain):
            profile = self.profiles.device(leg.device).network
            info = None if parts is None else parts[k].info
            memory = self.memory(leg) if info is None else info.memory
            batch = self._batch(leg) if info is None or info.stacks else 1
            ratio = self.profiles.device(leg.device).batch_ratio.get(batch, 1.0)
            run_ms = profile.range_ms(leg.first, leg.last)
            duty = Duty(run_ms, self._bytes_after(leg), memory, ratio)
            stages.append(StageDuty({leg.device: duty}))
        return forecast(stages, self.cluster, self.profiles, tensor_bytes(self.network.inputs))

    def plan(self, chain: Chain, name: str, *, spare: bool) -> tuple[Plan, list[Part]]:
        """The plan of a chain, and its parts."""
        parts = list(self.network.split([leg.first for leg in chain[1:]], prove=False))
        names = [
            tuple(spec.name for spec in self.network.inputs),
            *(self._cuts[leg.first].names for leg in chain[1:]),
            tuple(spec.name for spec in self.network.outputs),
        ]
        stages = [
            Stage(
                parts={leg.device: part.hash},
                inputs=inputs,
                outputs=outputs,
                batch=self._batch(leg) if part.info.stacks else 1,
            )
            for leg, part, (inputs, outputs) in zip(
                chain, parts, itertools.pairwise(names), strict=True
            )
        ]
        plan = Plan(
            name=name,
            stages=tuple(stages),
            forecast=self.forecast(chain, parts),
            spare=spare,
            tolerance=self.network.tolerance,
        )
        return plan, parts

    def order(self, plans: Sequence[Plan]) -> list[Plan]:
        """Plans, best for the objective first."""
        return [plans[k] for k in self.objective.order([plan.forecast for plan in plans])]

    def memory(self, leg: Leg) -> int:
        """Bytes that the part of a leg is expected to need."""
        return self.profiles.device(leg.device).network.range_memory(leg.first, leg.last)

    def _batch(self, leg: Leg) -> int:
        """How many requests its device had best run at once, if its part allows it."""
        memory, stacks = self.memory(leg), self.network.stacks
        return best_batch([leg.device], memory, stacks, self.cluster, self.profiles)

    def _rank(self, chains: Sequence[Chain]) -> list[tuple[Chain, Forecast]]:
        unique = [c for c in dict.fromkeys(chains) if self.most is None or len(c) <= self.most]
        forecasts = [self.forecast(chain) for chain in unique]
        return [(unique[k], forecasts[k]) for k in self.objective.order(forecasts)]

    def _bytes_after(self, leg: Leg) -> float:
        if leg.last in self._cuts:
            return float(self._cuts[leg.last].bytes)
        return float(tensor_bytes(self.network.outputs))


def name_of(chain: Chain, taken: Collection[str]) -> str:
    """A name that nobody has: the devices in order."""
    devices = [leg.device for leg in chain]
    name = " > ".join(devices) if len(devices) > 1 else f"only {devices[0]}"
    if len(name) > _LONGEST_NAME:
        name = f"{devices[0]} > ... {len(devices) - 2} ... > {devices[-1]}"
    numbered = (f"{name} ({k})" for k in itertools.count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def versus(other: Forecast, chosen: Forecast) -> str:
    """What another forecast says instead of the chosen one, in numbers."""
    return (
        f"{other.images_per_s:.1f} instead of {chosen.images_per_s:.1f} images/s and "
        f"{other.latency_ms:.1f} instead of {chosen.latency_ms:.1f} ms"
    )

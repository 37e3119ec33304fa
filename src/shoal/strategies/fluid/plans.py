"""Plans from sub-networks: owners become devices, and the forecast says what that does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from shoal.model.bundle import Bundle, SubJoin, SubNetwork, SubStage, Variant
from shoal.plan.batching import best_batch
from shoal.plan.cluster import Cluster
from shoal.plan.forecast import Duty, StageDuty, forecast
from shoal.plan.network import tensor_bytes
from shoal.plan.plan import Join, Plan, Slice, Spread, Stage
from shoal.plan.profiles import Profiles

WAIT_MS = 1000.0
"""Shortest time that a slice is waited for. Who is gone is not waited for at all, and without all
slices there is no answer, so there is no reason to be in a hurry."""


@dataclass(frozen=True)
class Ground:
    """What plans are made of: the bundle, the cluster, and the ``shares`` of its parts in the time
    of the whole network (see :mod:`shoal.strategies.fluid.costs`)."""

    bundle: Bundle
    cluster: Cluster
    profiles: Profiles
    shares: Mapping[str, float]

    def run_ms(self, part: str, device: str) -> float:
        """How long ``device`` computes a part."""
        profile = self.profiles.device(device).network
        return self.shares[part] * profile.range_ms(0, len(profile.node_ms))

    def accuracy(self, subnet: SubNetwork) -> float:
        """The accuracy of a sub-network, as a share of that of the whole network (which some
        sub-network may surpass by chance: 1 is the most)."""
        return min(1.0, subnet.accuracy / max(self.bundle.reference.accuracy, 1e-9))

    def plan(self, subnet: SubNetwork, devices: tuple[str, ...]) -> Plan:
        """The plan in which ``devices`` are the owners of ``subnet``, in order."""
        bundle = self.bundle
        latency_ms = sum(
            max(self.run_ms(stage.parts[str(k)], name) for k, name in enumerate(devices))
            for stage in subnet.stages
        )
        stages = [
            self._stage(found, devices, max(WAIT_MS, 20 * latency_ms)) for found in subnet.stages
        ]
        expected = forecast(
            [self._duty(subnet, stage) for stage in stages],
            self.cluster,
            self.profiles,
            tensor_bytes(bundle.inputs),
            accuracy=self.accuracy(subnet),
        )
        exact = subnet.groups == bundle.reference.groups and subnet.variant is not Variant.LOGITS
        return Plan(
            name=name_of(subnet, devices),
            stages=tuple(stages),
            forecast=expected,
            tolerance=bundle.tolerance if exact else None,
        )

    def _stage(self, found: SubStage, devices: tuple[str, ...], deadline_ms: float) -> Stage:
        """A stage with devices in place of owners: all of them where it is joined, else the one."""
        parts = {name: found.parts[str(k)] for k, name in enumerate(devices)}
        stage = Stage(parts=parts, inputs=found.inputs, outputs=found.outputs)
        if found.join is not None:
            join = _join(found.join, devices, deadline_ms)
            return msgspec.structs.replace(stage, spread=Spread.ALL, join=join)
        (part,) = parts.values()
        info = self.bundle.part(part).info
        batch = best_batch(devices, info.memory, info.stacks is True, self.cluster, self.profiles)
        return msgspec.structs.replace(stage, batch=batch)

    def _duty(self, subnet: SubNetwork, stage: Stage) -> StageDuty:
        duties = {
            name: Duty(
                self.run_ms(part, name),
                self._out_bytes(subnet, stage.outputs, part),
                self.bundle.part(part).info.memory,
                self.profiles.device(name).batch_ratio.get(stage.batch, 1.0),
            )
            for name, part in stage.parts.items()
        }
        return StageDuty(duties, stage.spread)

    def _out_bytes(self, subnet: SubNetwork, outputs: tuple[str, ...], part: str) -> float:
        """Bytes that one holder sends to each taker: what its part makes, and what it carries."""
        known = {spec.name: spec for spec in self.bundle.inputs}
        for stage in subnet.stages:
            for other in stage.parts.values():
                known.update(self.bundle.part(other).specs)
        known.update(self.bundle.part(part).specs)
        return tensor_bytes([known[name] for name in outputs if name in known])


def name_of(subnet: SubNetwork, devices: tuple[str, ...]) -> str:
    """What a plan is called: the way, the sub-network, and who runs it."""
    return f"{subnet.variant} {subnet.name} on {'+'.join(devices)}"[:200]


def _join(found: SubJoin, devices: tuple[str, ...], deadline_ms: float) -> Join:
    """The join with devices in place of owners. All slices are needed: with fewer, the answer
    would be that of no sub-network whose accuracy is known."""
    return Join(
        op=found.op,
        tensor=found.tensor,
        slices={name: Slice(found.channels.get(str(k), ())) for k, name in enumerate(devices)},
        axis=found.axis,
        deadline_ms=deadline_ms,
        least=len(devices),
    )

"""From options to a playbook: parts, plans with their forecasts, and the policy's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from shoal.plan.network import Part
from shoal.plan.objective import Objective
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec, Stage
from shoal.strategies.base import built
from shoal.strategies.ledger import Ledger, memory_limits
from shoal.strategies.promised import Promised
from shoal.strategies.split.book import PlanSetting, Settings
from shoal.strategies.split.choice import Wish
from shoal.strategies.split.options import Ground, Option
from shoal.strategies.split.table import Costs, Table, costs


class Assembly:
    """Takes on options one by one, as long as there is memory for their parts."""

    def __init__(
        self,
        ground: Ground,
        objective: Objective,
        batch: int,
        wait_ms: float,
        promised: Promised | None = None,
    ) -> None:
        self.ground = ground
        self.ledger = Ledger(memory_limits(ground.cluster, objective))
        self.notes: list[str] = []
        self._batch, self._wait_ms = batch, wait_ms
        self._promised = promised
        self._taken: list[Option] = []
        self._stages: dict[str, tuple[Stage, ...]] = {}
        self._resume: dict[int, tuple[Stage, ...]] = {}
        network = ground.network
        self._names = {cut.at: tuple(cut.names) for cut in network.cuts}
        self._names[0] = tuple(spec.name for spec in network.inputs)
        self._names[ground.nodes] = tuple(spec.name for spec in network.outputs)

    def take(self, option: Option) -> bool:
        """Add an option; False, and nothing changes, when its parts do not fit."""
        device, servers, end = [self.ground.device], self.ground.servers, self.ground.nodes
        at = end if option.at is None else option.at
        both: list[tuple[Sequence[str], int, int]] = [(device, 0, at), (servers, at, end)]
        runs = [(names, first, last) for names, first, last in both if first < last]
        if not self.ledger.put(
            (name, self._part(first, last)) for names, first, last in runs for name in names
        ):
            return False
        stages = [self._stage(*run) for run in runs]
        if at > 0:  # else the input is packed, which is the plan's own
            stages[0] = msgspec.structs.replace(stages[0], codec=option.codec)
        self._taken.append(option)
        self._stages[option.name] = tuple(stages)
        inside = 0 < at < end and at not in self._resume
        if inside and self.ledger.put([(self.ground.device, self._part(at, end))]):
            self._resume[at] = (self._stage(device, 0, at), self._stage(device, at, end))
        return True

    def _part(self, first: int, last: int) -> Part:
        places = [at for at in (first, last) if 0 < at < self.ground.nodes]
        return self.ground.network.split(places, prove=False)[1 if first else 0]

    def _stage(self, devices: Sequence[str], first: int, last: int) -> Stage:
        """A stretch on any one of ``devices``; servers run requests of others with it."""
        part = self._part(first, last)
        together = part.info.stacks and self.ground.device not in devices and self._batch > 1
        return Stage(
            parts=dict.fromkeys(devices, part.hash),
            inputs=self._names[first],
            outputs=self._names[last],
            batch=self._batch if together else 1,
            batch_wait_ms=self._wait_ms if together else 0.0,
        )

    def playbook(self, wish: Wish, objective: Objective) -> Playbook:
        """The playbook of what was taken, best first by forecast, resumption last."""
        table = self.ground.table(self._taken)
        found = costs(table, self.ground.facts())
        plans = [self._plan(row, found) for row in range(len(self._taken))]
        order = objective.order([plan.forecast for plan in plans])
        without = [at for at in {o.at for o in self._taken if o.at} if at not in self._resume]
        if without:
            self.notes.append(
                f"{self.ground.device} has not the memory to go on alone from "
                f"{len(without)} of the cuts: a request begins again there when a server is lost"
            )
        settings = msgspec.json.encode(self._settings(table, wish))
        policy = PolicySpec("split", msgspec.json.decode(settings))
        plans = [*(plans[k] for k in order), *(self._resumption(at) for at in sorted(self._resume))]
        return built("split", self.ground.network, policy, plans, self.ledger.parts).playbook

    def _settings(self, table: Table, wish: Wish) -> Settings:
        return Settings(
            device=self.ground.device,
            servers=self.ground.servers,
            links=self.ground.links(),
            plans={
                option.name: PlanSetting(
                    bytes=option.bytes,
                    pack_ms=float(table.pack_ms[row]),
                    unpack_ms=dict(
                        zip(self.ground.servers, table.unpack_ms[row].tolist(), strict=True)
                    ),
                )
                for row, option in enumerate(self._taken)
                if option.at is not None
            },
            aims=wish.aims,
            tolerance=wish.tolerance,
            limits=wish.limits,
            answer_bytes=table.answer_bytes,
            device_message_ms=table.device_message_ms,
            device_stage_ms=table.device_stage_ms,
            server_message_ms=table.server_message_ms,
            power_w=table.power_w,
            promised=self._promised,
        )

    def _plan(self, row: int, found: Costs) -> Plan:
        option = self._taken[row]
        stages = self._stages[option.name]
        server = self.ground.servers[int(found.server[row])]
        bounds = {
            f"device {self.ground.device}": float(found.device_ms[row]),
            f"link {self.ground.device} to {server}": float(found.link_ms[row]),
            f"device {server}": float(found.server_ms[row]),
        }
        holder_ms = tuple(self._holder_ms(stage) for stage in stages)
        forecast = Forecast(
            latency_ms=float(found.latency_ms[row]),
            images_per_s=1e3 / max(float(found.period_ms[row]), 1e-9),
            accuracy=option.accuracy,
            bytes_per_image=float(found.bytes[row]),
            memory=self._memory(stages),
            stage_ms=tuple(min(each.values()) for each in holder_ms),
            holder_ms=holder_ms,
            energy_j=float(found.energy_j[row]) if self.ground.power_w() else None,
            slowest=max(bounds, key=lambda name: bounds[name]),
            server_ms=float(found.server_ms[row]),
        )
        return Plan(
            name=option.name,
            stages=stages,
            forecast=forecast,
            tolerance=self.ground.network.tolerance if option.exact else None,
            codec=option.codec if option.at == 0 else "raw",
        )

    def _resumption(self, at: int) -> Plan:
        """The rest of the network on the device, for when no server is left on the way."""
        stages = self._resume[at]
        ms = [self._holder_ms(stage)[self.ground.device] for stage in stages]
        return Plan(
            name=f"alone from cut {at}",
            stages=stages,
            forecast=Forecast(
                latency_ms=sum(ms),
                images_per_s=1e3 / max(sum(ms), 1e-9),
                memory=self._memory(stages),
                stage_ms=tuple(ms),
                slowest=f"device {self.ground.device}",
            ),
            spare=True,
            tolerance=self.ground.network.tolerance,
        )

    def _holder_ms(self, stage: Stage) -> dict[str, float]:
        at = {names: at for at, names in self._names.items()}
        first, last = at[stage.inputs], at[stage.outputs]
        return {device: self.ground.run_ms(device, first, last) for device in stage.parts}

    def _memory(self, stages: Sequence[Stage]) -> dict[str, int]:
        memory: dict[str, int] = {}
        for stage in stages:
            for device, name in stage.parts.items():
                size = self.ledger.parts[name].info.memory
                memory[device] = memory.get(device, 0) + size
        return memory


def importance(counts: Mapping[int, int], made: Sequence[Option]) -> list[int]:
    """Indices of the useful options: cuts that are used most first, so that they get the memory,
    and within a cut the options used most."""
    by_cut: dict[int | None, int] = {}
    for index, count in counts.items():
        by_cut[made[index].at] = by_cut.get(made[index].at, 0) + count
    return sorted(counts, key=lambda i: (-by_cut[made[i].at], made[i].at or 0, -counts[i]))

"""From options to a playbook: parts, plans with their forecasts, and the policy's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from shoal.plan.network import Part
from shoal.plan.objective import Objective
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec, Stage
from shoal.plan.playbook import make_playbook
from shoal.strategies.split.book import LinkSetting, PlanSetting, Settings
from shoal.strategies.split.choice import Wish
from shoal.strategies.split.options import Ground, Option
from shoal.strategies.split.table import Costs, costs


class Shelf:
    """The parts that plans need, by where they begin and end, and the memory that is left for
    them on each device."""

    def __init__(self, ground: Ground, objective: Objective) -> None:
        self.parts: dict[str, Part] = {}
        self._ground = ground
        self._holds: dict[str, set[str]] = {}
        self._limits: dict[str, int] = {}
        for name in (ground.device, *ground.servers):
            limits = [ground.cluster.node(name).memory, objective.max_memory or 0]
            stated = [int(limit) for limit in limits if limit]
            if stated:
                self._limits[name] = min(stated)

    def part(self, first: int, last: int) -> Part:
        """The part from node ``first`` up to ``last``."""
        end = self._ground.nodes
        places = [at for at in (first, last) if 0 < at < end]
        return self._ground.network.split(places, prove=False)[1 if first else 0]

    def room(self, device: str) -> float:
        """Bytes that are left on a device."""
        taken = sum(self.parts[name].info.memory for name in self._holds.get(device, ()))
        return self._limits.get(device, float("inf")) - taken

    def put(self, wanted: Mapping[str, Sequence[Part]]) -> bool:
        """Put parts on devices, all or none: False when one has no room for its own."""
        for device, parts in wanted.items():
            held = self._holds.setdefault(device, set())
            new = {part.hash: part.info.memory for part in parts if part.hash not in held}
            if sum(new.values()) > self.room(device):
                return False
        for device, parts in wanted.items():
            for part in parts:
                self.parts[part.hash] = part
                self._holds[device].add(part.hash)
        return True


class Assembly:
    """Takes on options one by one, as long as there is memory for their parts."""

    def __init__(self, ground: Ground, objective: Objective, batch: int, wait_ms: float) -> None:
        self.ground = ground
        self.shelf = Shelf(ground, objective)
        self.notes: list[str] = []
        self._batch = {"batch": batch, "batch_wait_ms": wait_ms} if batch > 1 else {}
        self._taken: list[Option] = []
        self._stages: dict[str, tuple[Stage, ...]] = {}
        self._resume: dict[int, tuple[Stage, ...]] = {}
        network = ground.network
        self._names = {cut.at: tuple(cut.names) for cut in network.cuts}
        self._names[0] = tuple(spec.name for spec in network.inputs)
        self._names[ground.nodes] = tuple(spec.name for spec in network.outputs)

    def take(self, option: Option) -> bool:
        """Add an option; False, and nothing changes, when its parts do not fit."""
        device, servers, end = self.ground.device, self.ground.servers, self.ground.nodes
        at = end if option.at is None else option.at
        wanted: dict[str, list[Part]] = {}
        if at > 0:
            wanted[device] = [self.shelf.part(0, at)]
        if at < end:
            wanted.update({name: [self.shelf.part(at, end)] for name in servers})
        if not self.shelf.put(wanted):
            return False
        stages = []
        if at > 0:
            stages.append(self._stage([device], 0, at, codec=option.codec))
        if at < end:
            stages.append(self._stage(servers, at, end, **self._batch))
        self._taken.append(option)
        self._stages[option.name] = tuple(stages)
        if 0 < at < end and at not in self._resume:
            rest = self.shelf.part(at, end)
            if self.shelf.put({device: [rest]}):
                self._resume[at] = (
                    self._stage([device], 0, at),
                    self._stage([device], at, end),
                )
        return True

    def _stage(self, devices: Sequence[str], first: int, last: int, **facts: object) -> Stage:
        part = self.shelf.part(first, last)
        if not part.info.stacks:
            facts = {name: value for name, value in facts.items() if name not in self._batch}
        fields = {"parts": dict.fromkeys(devices, part.hash), **facts}
        return Stage(inputs=self._names[first], outputs=self._names[last], **fields)  # type: ignore[arg-type]

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
        network = self.ground.network
        settings = Settings(
            device=self.ground.device,
            servers=self.ground.servers,
            links={n: LinkSetting(*link) for n, link in self.ground.links().items()},
            plans={
                option.name: PlanSetting(
                    bytes=option.bytes,
                    pack_ms=float(table.pack_ms[row]),
                    unpack_ms={
                        name: float(table.unpack_ms[row, column])
                        for column, name in enumerate(self.ground.servers)
                    },
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
        )
        resume = [self._resumption(at) for at in sorted(self._resume)]
        return make_playbook(
            network=network.name,
            strategy="split",
            policy=PolicySpec("split", msgspec.json.decode(msgspec.json.encode(settings))),
            plans=[*(plans[index] for index in order), *resume],
            parts={name: part.info for name, part in self.shelf.parts.items()},
            inputs=network.inputs,
            outputs=network.outputs,
            stacks=network.stacks,
        )

    def _plan(self, row: int, found: Costs) -> Plan:
        option = self._taken[row]
        stages = self._stages[option.name]
        bounds = {
            f"device {self.ground.device}": float(found.device_ms[row]),
            f"link {self.ground.device} to {self._server(row, found)}": float(found.link_ms[row]),
            f"device {self._server(row, found)}": float(found.server_ms[row]),
        }
        forecast = Forecast(
            latency_ms=float(found.latency_ms[row]),
            images_per_s=1e3 / max(float(found.period_ms[row]), 1e-9),
            accuracy=option.accuracy,
            bytes_per_image=float(found.bytes[row]),
            memory=self._memory(stages),
            stage_ms=tuple(
                min(self._run_ms(stage, device) for device in stage.parts) for stage in stages
            ),
            holder_ms=tuple(
                {device: self._run_ms(stage, device) for device in stage.parts} for stage in stages
            ),
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
        ms = [self._run_ms(stage, self.ground.device) for stage in stages]
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

    def _server(self, row: int, found: Costs) -> str:
        return self.ground.servers[int(found.server[row])]

    def _run_ms(self, stage: Stage, device: str) -> float:
        first, last = self._range(stage)
        return self.ground.run_ms(device, first, last)

    def _range(self, stage: Stage) -> tuple[int, int]:
        ends = {names: at for at, names in self._names.items()}
        return ends[stage.inputs], ends[stage.outputs]

    def _memory(self, stages: Sequence[Stage]) -> dict[str, int]:
        memory: dict[str, int] = {}
        for stage in stages:
            for device, name in stage.parts.items():
                size = self.shelf.parts[name].info.memory
                memory[device] = memory.get(device, 0) + size
        return memory


def importance(counts: Mapping[int, int], made: Sequence[Option]) -> list[int]:
    """Indices of the useful options: cuts that are used most first, so that they get the memory,
    and within a cut the options used most."""
    by_cut: dict[int | None, int] = {}
    for index, count in counts.items():
        by_cut[made[index].at] = by_cut.get(made[index].at, 0) + count
    return sorted(counts, key=lambda i: (-by_cut[made[i].at], made[i].at or 0, -counts[i]))

"""Playbooks made by hand, a policy or two, and the truth about answers.

The toy network is a line of layers; tensor ``t3`` is what the first three made of the input
``t0``. The part ``2-5`` turns ``t2`` into ``t5``; ``2-5/1`` is a shard of it. So from how a body
was made one can tell whether it is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shoal.core.actions import Deliver, Reject
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.messages import Route, Values
from shoal.core.policy import Choice, Hold, Limit, Policy, View
from shoal.model.spec import TensorSpec
from shoal.plan.plan import (
    Exit,
    Forecast,
    Join,
    PartInfo,
    Plan,
    Playbook,
    PolicySpec,
    Reserve,
    Slice,
    Spread,
    Stage,
)
from shoal.sim.engine import Symbols, Token, joined
from shoal.sim.world import Reply, Ticket, World
from shoal.strategies.preferred import policy as preferred
from shoal.strategies.relay.policy import policy as relay

MIB = 1 << 20


def tensor(k: int) -> TensorSpec:
    return TensorSpec(f"t{k}", "float32", (None, 4))


def one(first: int, last: int, devices: Iterable[str], **settings: Any) -> Stage:
    """Layers ``first`` to ``last``, run by one of ``devices``."""
    parts = dict.fromkeys(devices, f"{first}-{last}")
    return Stage(parts, (f"t{first}",), (f"t{last}",), **settings)


def every(
    first: int,
    last: int,
    devices: Sequence[str],
    op: str = "channels",
    least: int = 1,
    deadline_ms: float = 200.0,
) -> Stage:
    """Layers ``first`` to ``last``, run by all of ``devices`` together."""
    parts = {name: f"{first}-{last}/{k}" for k, name in enumerate(devices)}
    slices = {name: Slice((k,) if op == "channels" else ()) for k, name in enumerate(devices)}
    join = Join(op, tensor(last), slices, least=least, deadline_ms=deadline_ms)
    return Stage(parts, (f"t{first}",), (f"t{last}",), Spread.ALL, join)


def coded(stage: Stage) -> Stage:
    """The stage, of whose slices any ``least`` give all."""
    join = stage.join
    assert join is not None
    rows = [tuple(float(k == row) for k in range(join.least)) for row in range(join.least)]
    spares = range(1, 1 + len(join.slices) - join.least)
    rows += [tuple(float(spare**k) for k in range(join.least)) for spare in spares]
    slices = {name: Slice(code=row) for name, row in zip(join.slices, rows, strict=True)}
    join = msgspec.structs.replace(join, op="coded", slices=slices, block=4)
    return msgspec.structs.replace(stage, join=join)


def homely(stage: Stage) -> Stage:
    """The stage, of whose slices some stays with the holders."""
    assert stage.join is not None
    slices = {n: msgspec.structs.replace(s, stays=4) for n, s in stage.join.slices.items()}
    return msgspec.structs.replace(stage, join=msgspec.structs.replace(stage.join, slices=slices))


def packed(stage: Stage, codec: str = "half") -> Stage:
    """The stage, whose outputs lose something on their way."""
    return msgspec.structs.replace(stage, codec=codec)


def leaving(stage: Stage, threshold: float = 0.9) -> Stage:
    """The stage, with an exit."""
    exit = Exit("logits", "out", threshold)
    return Stage(stage.parts, stage.inputs, stage.outputs, stage.spread, stage.join, exit)


def plan(name: str, *stages: Stage, run_ms: float = 10.0) -> Plan:
    forecast = Forecast(
        latency_ms=run_ms * len(stages),
        images_per_s=1e3 / run_ms,
        stage_ms=(run_ms,) * len(stages),
    )
    return Plan(name, stages, forecast)


def in_reserve(
    spared: Plan, without: Iterable[str], after_s: float = 10.0, instead: bool = False
) -> Plan:
    """The plan, not in place before these devices are lost. Its shards are other parts."""
    stages = (
        msgspec.structs.replace(stage, parts={n: f"{p}+" for n, p in stage.parts.items()})
        if stage.spread is Spread.ALL
        else stage
        for stage in spared.stages
    )
    reserve = Reserve(tuple(without), after_s, instead)
    return msgspec.structs.replace(spared, stages=tuple(stages), reserve=reserve)


def pipeline(name: str, *devices: str | Sequence[str], layers: int = 12) -> Plan:
    """One stage for each of ``devices`` (a name, or those who can stand for each other)."""
    n = len(devices)
    cuts = [round(k * layers / n) for k in range(n + 1)]
    return plan(
        name,
        *(
            one(cuts[k], cuts[k + 1], [names] if isinstance(names, str) else names)
            for k, names in enumerate(devices)
        ),
    )


def playbook(
    *plans: Plan, policy: str = "preferred", id: str = "book", memory: int = MIB, layers: int = 12
) -> Playbook:
    parts = {part for p in plans for stage in p.stages for part in stage.parts.values()}
    return Playbook(
        id=id,
        network="toy",
        strategy="toy",
        policy=PolicySpec(policy),
        plans=plans,
        parts={part: PartInfo(size=1000, memory=memory, stacks=True) for part in sorted(parts)},
        inputs=(tensor(0),),
        outputs=(tensor(layers),),
    )


# -- policies


class Preferred:
    """The first plan whose devices are all usable; of those who can stand for each other, the
    one with the least work. ``tolerant``: of an ALL stage, those that are usable."""

    def __init__(self, tolerant: bool = False) -> None:
        self._tolerant = tolerant

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        for candidate in playbook.plans:
            for start, stage in enumerate(candidate.stages):
                if stage.inputs == at:
                    route = self._route(candidate, start, view)
                    if route is not None:
                        return Choice(candidate.name, route, start), memory
        return None, memory

    def _route(self, candidate: Plan, start: int, view: View) -> Route | None:
        route: list[tuple[str, ...]] = [()] * start
        for stage in candidate.stages[start:]:
            names = [name for name in stage.parts if view.usable(name)]
            least = stage.join.least if stage.join is not None and self._tolerant else 1
            if stage.spread is Spread.ALL:
                if len(names) < (least if self._tolerant else len(stage.parts)):
                    return None
            else:
                names = sorted(names, key=lambda n: view.devices[n].work_ms)[:1]
            if not names:
                return None
            route.append(tuple(names))
        return tuple(route)

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        names = [name for name in plan.stages[stage].parts if view.usable(name)]
        return min(names, key=lambda n: view.devices[n].outstanding, default=None), memory


class Free(Preferred):
    """Leaves the route to the hops."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        choice, memory = super().choose(playbook, view, at, memory)
        return choice and Choice(choice.plan, (), choice.start), memory


class Patient(Free):
    """Gives a device the next one when it has done the last, and till then holds it; remembers how
    often it was asked, and leaves who gets it to chance."""

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        asked = (memory or 0) + 1
        names = [name for name in plan.stages[stage].parts if view.usable(name)]
        if not names:
            return None, asked
        seen = {name: view.devices[name] for name in names}
        # What it holds itself keeps it from nothing.
        held = {name: each.load.held for name, each in seen.items() if name == view.here}
        idle = [name for name in names if seen[name].outstanding <= held.get(name, 0)]
        if not idle:
            return Hold(view.now + 0.5), asked
        return idle[int(view.drawn * len(idle))], asked


class Sure(Preferred):
    """Sets the thresholds of exits for each request: never, for the first plan."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        choice, memory = super().choose(playbook, view, at, memory)
        values = Values(((0, 2.0 if view.images == 1 else 0.1),))
        return choice and msgspec.structs.replace(choice, values=values), memory


class Admitting(Preferred):
    """Lets one request begin at a time, and the next a while after the last one began."""

    def __init__(self, pause_s: float = 0.2, broken: bool = False) -> None:
        super().__init__()
        self._pause_s, self._broken = pause_s, broken

    def admit(
        self, playbook: Playbook, view: View, under_way: int, memory: Any
    ) -> tuple[Limit, Any]:
        if self._broken:
            raise ZeroDivisionError("no limit")
        began, before = memory or (-1.0, 0)
        if under_way > before:
            began = view.now
        return Limit(1, began + self._pause_s), (began, under_way)


class Broken(Free):
    """Raises, when asked for a plan or only when asked for the next hop."""

    def __init__(self, hop: bool = False) -> None:
        super().__init__()
        self._hop = hop

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        if not self._hop:
            raise ZeroDivisionError("no plan")
        return super().choose(playbook, view, at, memory)

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        raise ZeroDivisionError("no hop")


POLICIES: dict[str, Policy] = {
    "broken": Broken(),
    "broken hop": Broken(hop=True),
    "preferred": Preferred(),
    "tolerant": Preferred(tolerant=True),
    "free": Free(),
    "patient": Patient(),
    "sure": Sure(),
    "admitting": Admitting(),
    "admits nothing": Admitting(broken=True),
    "the preferred": preferred,
    "relay": relay,
}


def find(name: str) -> Policy:
    return POLICIES[name]


# -- the truth


class Reading:
    """What a body holds: layers up to ``upto`` of ``input``, without the slices of ``absent``."""

    def __init__(self, input: str, upto: int, absent: frozenset[str]) -> None:
        self.input, self.upto, self.absent = input, upto, absent


def read(made: tuple[Any, ...], books: Iterable[Playbook]) -> Reading:
    """Read how a body was made; AssertionError when no right run makes it so."""
    books = list(books)
    match made:
        case ("input", name):
            return Reading(name, 0, frozenset())
        case ("part", str(part), inputs) if "/" not in part:
            first, last = map(int, part.split("-"))
            before = read(inputs, books)
            assert before.upto == first, f"{part} was run on t{before.upto}"
            return Reading(before.input, last, before.absent)
        case ("join", slices):
            return _read_join(slices, books)
        case ("packed", _, sent):
            return read(sent, books)
    raise AssertionError(f"a body was made by {made}")


def _read_join(slices: Iterable[tuple[str, Any]], books: list[Playbook]) -> Reading:
    absent: set[str] = set()
    inputs, ranges, parts = set(), set(), {}
    codecs = set()
    for giver, made in slices:
        lost, whole = _unpacked(made)
        kind, part, before = whole
        codecs.add((lost, _unpacked(before)[0]))
        assert kind == "part"
        span, _, _ = part.partition("/")
        first, last = map(int, span.split("-"))
        reading = read(before, books)
        assert reading.upto == first
        absent |= reading.absent
        inputs.add(reading.input)
        ranges.add((first, last))
        parts[giver] = part
    assert len(inputs) == 1, f"slices of several requests were joined: {inputs}"
    assert len(ranges) == 1, f"slices of several stages were joined: {ranges}"
    assert len(codecs) == 1, f"slices, or what they were made of, were packed and not: {codecs}"
    stages = [
        stage
        for book in books
        for p in book.plans
        for stage in p.stages
        if stage.spread is Spread.ALL and parts.items() <= stage.parts.items()
    ]
    assert stages, f"no stage is run so: {parts}"
    assert any(s.join and s.join.enough(parts) for s in stages), f"too few were joined: {parts}"
    absent |= min(({*stage.parts} - {*parts} for stage in stages), key=len)
    return Reading(inputs.pop(), ranges.pop()[1], frozenset(absent))


def _unpacked(made: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """With what something was packed (empty: it was not), and what that was."""
    return (made[1], made[2]) if made[0] == "packed" else ("", made)


def check(deliver: Deliver, input: str, books: Iterable[Playbook], layers: int = 12) -> Reading:
    """Check an answer against the truth: right for its input, and honest about what is missing."""
    made = joined(deliver.given)
    if deliver.left_early:
        kind, part, before = made
        assert kind == "exit"
        reading = read(before, books)
        assert reading.upto == int(part.split("-")[0])
    else:
        reading = read(made, books)
        assert reading.upto == layers
    assert reading.input == input
    assert set(deliver.absent) == reading.absent, (deliver.absent, reading.absent)
    return reading


# -- a world to tell stories in


class Story:
    """A gateway ``g`` and some workers, the playbooks in place, and what becomes of requests."""

    def __init__(
        self,
        devices: Iterable[str],
        *books: Playbook,
        engine: Symbols | None = None,
        gateway: dict[str, Any] | None = None,
        ready: bool = True,
        **world: Any,
    ) -> None:
        self.books = list(books)
        self.world = World(engine or Symbols(), policies=find, **world)
        self.world.add("g", gateway=gateway or {})
        for name in devices:
            self.world.add(name)
        self.tickets: list[Ticket] = []
        self.world.run(0.01)
        for book in books:
            self.world.adopt("g", book)
        if ready:
            assert self.world.run_until(self.ready)

    def ready(self) -> bool:
        return not any(self.gateway.unready(book) for book in self.books)

    @property
    def gateway(self) -> GatewayCore:
        return self.world.gateway("g")

    def ask(self, count: int = 1, budget_ms: float = 10_000.0, gateway: str = "g") -> None:
        for _ in range(count):
            number = len(self.tickets)
            body = Token(("input", f"x{number}"), 1000)
            self.tickets.append(self.world.submit(gateway, body, budget_ms))

    def end(self, limit_s: float = 60.0) -> None:
        """Let time pass until all requests are over."""
        assert self.world.run_until(lambda: all(map(self.world.replies.get, self.tickets)), limit_s)

    def replies(self) -> list[Reply]:
        """The one reply of each request."""
        found = [self.world.replies[ticket] for ticket in self.tickets]
        assert all(len(replies) == 1 for replies in found), "not exactly one reply"
        return [reply for (reply,) in found]

    def answers(self, limit_s: float = 60.0) -> list[Deliver]:
        """The answers to all requests, in the order asked, checked against the truth."""
        self.end(limit_s)
        answers = []
        for k, reply in enumerate(self.replies()):
            assert isinstance(reply.what, Deliver), reply.what
            check(reply.what, f"x{k}", self.books)
            answers.append(reply.what)
        return answers

    def rejects(self, limit_s: float = 60.0) -> list[Reject]:
        self.end(limit_s)
        rejects = [reply.what for reply in self.replies()]
        assert all(isinstance(reject, Reject) for reject in rejects), rejects
        return rejects  # type: ignore[return-value]

    def left_behind(self) -> dict[str, int]:
        """Per-request state that is held anywhere (nothing, some time after the last request)."""
        left = {}
        for name, node in self.world.nodes.items():
            if not node.alive:
                continue
            worker, gateway = node.worker, node.gateway
            held = {
                "jobs": len(worker.inbox.jobs),
                "kept": len(worker.kept),
                "attempts": len(worker.attempts),
                "requests": len(gateway.requests) if gateway else 0,
                "outstanding": sum(d.outstanding for d in gateway.devices.known().values())
                if gateway
                else 0,
            }
            left |= {f"{name}: {what}": count for what, count in held.items() if count}
        return left


def devices(answer: Deliver) -> list[str]:
    """Who ran the stages of an answer."""
    return [step.device for step in answer.trace]

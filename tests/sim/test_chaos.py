"""Whatever happens in whatever order: each request is answered once and rightly, or fails with a
reason by its deadline; nothing piles up; and when things are well again, all is served again."""

import math
from collections.abc import Sequence

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.core.toys import (
    coded,
    every,
    find,
    homely,
    in_reserve,
    leaving,
    one,
    packed,
    pipeline,
    plan,
    playbook,
)
from tests.sim.chaos import Watch

from shoal.core.gateway import loads
from shoal.core.messages import CoreMessage
from shoal.plan.plan import Playbook, PolicySpec
from shoal.sim.engine import Symbols, Token
from shoal.sim.world import World

DEVICES = "abcd"

AT = (0, 4, 8)


def reserved(instead: bool) -> Playbook:
    """All devices together, and for the loss of each a plan that then does without it."""
    main = plan("all", every(0, 8, DEVICES, least=3, deadline_ms=60), one(8, 12, DEVICES))
    rest = {name: DEVICES.replace(name, "") for name in DEVICES}
    spares = (
        in_reserve(
            plan(names, every(0, 8, names, least=3, deadline_ms=60), one(8, 12, names)),
            (lost,),
            1.2,
            instead,
        )
        for lost, names in rest.items()
    )
    name = "in reserve" + ", in turn" * instead
    return playbook(main, *spares, plan("alone", one(0, 12, "ab")), id=name, policy="tolerant")


BOOKS: dict[str, Playbook] = {
    "pipeline": playbook(
        pipeline("abc", "a", "b", "c"),
        pipeline("ab", "a", "b"),
        pipeline("bd", "b", "d"),
        pipeline("cd", "c", "d"),
        plan("alone", one(0, 12, "abd")),
        id="pipeline",
    ),
    "replicated pipeline": playbook(
        pipeline("ab-cd", "ab", "cd"), plan("alone", one(0, 12, "abcd")), id="replicated pipeline"
    ),
    "replicas": playbook(plan("any", one(0, 12, "abcd", batch=3)), id="replicas"),
    "resumable": playbook(
        plan("abc", one(0, 4, "a"), one(4, 8, "b"), one(8, 12, "c")),
        plan("abd", one(0, 4, "a"), one(4, 8, "b"), one(8, 12, "d")),
        plan("acd", one(0, 4, "a"), one(4, 8, "c"), one(8, 12, "d")),
        plan("bcd", one(0, 4, "b"), one(4, 8, "c"), one(8, 12, "d")),
        plan("ab", one(0, 4, "a"), one(4, 12, "b")),
        plan("c", one(0, 12, "c")),
        id="resumable",
    ),
    "shards": playbook(
        plan("one", every(0, 12, "abcd", deadline_ms=60)),
        id="shards",
        policy="tolerant",
    ),
    "shards in a row": playbook(
        plan("all", every(0, 4, "abcd", least=2), every(4, 8, "abcd"), every(8, 12, "abc")),
        plan("head", every(0, 8, "abcd", op="sum", least=3), one(8, 12, "ab")),
        plan("alone", one(0, 12, "cd")),
        id="shards in a row",
        policy="tolerant",
    ),
    "exits": playbook(
        plan("abc", leaving(one(0, 4, "ab")), leaving(one(4, 8, "bc")), one(8, 12, "cd")),
        plan("alone", leaving(one(0, 12, "abcd"))),
        id="exits",
    ),
    "free": playbook(
        plan("free", leaving(one(0, 4, "abc")), one(4, 8, "bcd"), one(8, 12, "cda")),
        id="free",
        policy="free",
    ),
    "at home": playbook(
        plan("all", *(homely(every(k, k + 4, "abcd", "sum", least=2, deadline_ms=60)) for k in AT)),
        plan("alone", one(0, 12, "ab")),
        id="at home",
        policy="tolerant",
    ),
    "coded": playbook(
        plan("all", *(coded(every(k, k + 4, "abcd", least=3, deadline_ms=60)) for k in AT)),
        plan("alone", one(0, 12, "cd")),
        id="coded",
        policy="tolerant",
    ),
    "coded at home": playbook(
        plan("all", *(homely(coded(every(k, k + 4, "abcd", least=2))) for k in AT)),
        id="coded at home",
        policy="tolerant",
    ),
    "packed": playbook(  # what goes to g from its own gateway, too
        msgspec.structs.replace(
            plan(
                "all",
                packed(homely(every(0, 4, "abcg", "sum", least=2, deadline_ms=60))),
                packed(one(4, 6, "abcg")),
                packed(every(6, 9, DEVICES, least=2, deadline_ms=60), "quant:4"),
                one(9, 12, DEVICES),
            ),
            codec="half",
        ),
        plan("alone", one(0, 12, "cd")),
        id="packed",
        policy="tolerant",
    ),
    "in reserve": reserved(instead=False),
    "in reserve, in turn": reserved(instead=True),
    "held": playbook(
        plan("free", leaving(one(0, 4, "ab")), leaving(one(4, 8, "bc")), one(8, 12, "cd")),
        plan("alone", one(0, 12, "abcd")),
        id="held",
        policy="patient",
    ),
    "relay": msgspec.structs.replace(
        playbook(
            plan(
                "relay",
                *(leaving(one(k, k + 3, "abcd"), 0.7) for k in (0, 3, 6)),
                one(9, 12, DEVICES),
            ),
            id="relay",
        ),
        policy=PolicySpec("relay", {"sizes": [1e3, 1e4, 1e4, 1e4], "fixed": "rate"}),
    ),
    "free shards": playbook(
        plan("free", one(0, 3, "ab"), every(3, 9, "abcd", deadline_ms=60), one(9, 12, "cd")),
        plan("tail", one(0, 6, "cd"), every(6, 12, "abc", least=2)),
        id="free shards",
        policy="free",
    ),
}
OTHER = playbook(
    pipeline("dc", "d", "c"), pipeline("ba", "b", "a"), plan("c", one(0, 12, "abcd")), id="other"
)

names = st.sampled_from(DEVICES)
ends = st.sampled_from([*DEVICES, "g"])
pauses = st.sampled_from([0.0, 0.001, 0.004, 0.013, 0.05, 0.2, 0.45, 1.5, 6.0])
fates = st.sampled_from([(), (), (0.0, 0.0), (0.03,), (0.0, 2.0), (0.0,)])


class Chaos(RuleBasedStateMachine):
    """Two gateways, one of which runs parts too, on four devices on which everything happens."""

    lossy = False
    """Whether messages may be lost, doubled, delayed, or reach a later life of their taker, all
    against the contract of the link."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.fate: list[Sequence[float]] = []

    @initialize(
        name=st.sampled_from(sorted(BOOKS)),
        inbox=st.sampled_from([2, 256]),
        keep=st.sampled_from([0, 15_000, 1 << 20]),
        hedge=st.sampled_from([None, 0.03]),
        run_ms=st.sampled_from([5.0, 40.0]),
        capacity=st.sampled_from([1, 2]),
    )
    def begin(
        self,
        name: str,
        inbox: int,
        keep: int,
        hedge: float | None,
        run_ms: float,
        capacity: int,
    ) -> None:
        self.book = BOOKS[name]
        engine = Symbols(
            run_ms=lambda device, part, batch: run_ms * (1 + 0.3 * "abcdgh".index(device)) * batch,
            confidence=lambda part, made: (len(repr(made)) * 7919 % 100) / 100,
        )
        self.world = World(engine, policies=find)
        self.made()
        self.watch = Watch(self.world, [self.book, OTHER])
        self.world.tamper, self.world.by_name = self.tamper, self.lossy
        worker = {"inbox": inbox, "keep_bytes": keep, "capacity": capacity}
        for gateway in "gh":
            self.world.add(gateway, gateway={"hedge_s": hedge, "max_pending": 40}, worker=worker)
        for device in DEVICES:
            self.world.add(device, worker=worker)
        for gateway in "gh":
            self.world.adopt(gateway, self.book)
        self.world.run(0.05)

    def made(self) -> None:
        """The world is there, and nobody in it."""

    def tamper(self, giver: str, taker: str, message: CoreMessage) -> Sequence[float]:
        return self.fate.pop() if self.fate else (0.0,)

    # -- what clients do

    @rule(
        count=st.sampled_from([1, 1, 3, 15]),
        budget_ms=st.sampled_from([1.0, 80.0, 900.0, 30_000.0, 600_000.0]),
        gateway=st.sampled_from("ggh"),
    )
    def ask(self, count: int, budget_ms: float, gateway: str) -> None:
        node = self.world.nodes[gateway]
        if node.silent:
            return
        for _ in range(count):
            name = f"x{self.count}"
            self.count += 1
            ticket = self.world.submit(gateway, Token(("input", name), 1000), budget_ms)
            self.watch.note(ticket, name, budget_ms)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        pending = [t for t, replies in self.world.replies.items() if not replies]
        if not pending:
            return
        ticket = data.draw(st.sampled_from(pending))
        node = self.world.nodes[ticket.gateway]
        if node.life == ticket.life and not node.silent:
            self.world.cancel(ticket)
            del self.world.replies[ticket]

    @rule(seconds=pauses)
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule()
    def adopt(self) -> None:
        if not self.world.nodes["g"].silent:
            self.world.adopt("g", OTHER)

    # -- what happens to devices

    @rule(name=names)
    def kill(self, name: str) -> None:
        if self.world.nodes[name].alive:
            self.world.kill(name)

    @rule(name=names)
    def restart(self, name: str) -> None:
        self.world.restart(name)

    @rule()
    def restart_gateway(self) -> None:
        self.world.restart("g")
        self.world.adopt("g", self.book)

    @rule(name=ends)
    def freeze(self, name: str) -> None:
        self.watch.excuse(name)
        self.world.freeze(name)

    @rule(name=ends)
    def thaw(self, name: str) -> None:
        self.world.thaw(name)

    @rule(giver=ends, taker=ends, both=st.booleans())
    def cut(self, giver: str, taker: str, both: bool) -> None:
        if giver != taker:
            self.world.cut(giver, taker, both)

    @rule(giver=ends, taker=ends)
    def heal(self, giver: str, taker: str) -> None:
        if giver != taker:
            self.world.heal(giver, taker)

    @rule(name=names, factor=st.sampled_from([0.3, 1.0, 30.0]))
    def slow(self, name: str, factor: float) -> None:
        self.world.slow(name, factor)

    @rule(name=names)
    def drain(self, name: str) -> None:
        if not self.world.nodes[name].silent:
            self.world.drain(name)

    @precondition(lambda self: self.lossy)
    @rule(
        fates=st.lists(
            st.sampled_from([(), (), (0.0, 0.0), (0.03,), (0.0, 2.0), (0.0,)]), max_size=9
        )
    )
    def tampered(self, fates: list[Sequence[float]]) -> None:
        self.fate = fates

    # -- what holds

    @invariant()
    def right(self) -> None:
        if hasattr(self, "watch"):
            self.watch.check_replies()
            assert self.watch.overdue() == []

    def teardown(self) -> None:
        if hasattr(self, "watch"):
            self.recover()
            self.served_again()
            self.nothing_left()

    def recover(self) -> None:
        """Make everything well again."""
        self.fate = []
        for pair in [(a, b) for a in [*DEVICES, "g"] for b in [*DEVICES, "g"] if a < b]:
            self.world.heal(*pair)
        for name, node in self.world.nodes.items():
            self.world.thaw(name)
            self.world.slow(name, 1.0)
            if not node.alive or node.worker.info.draining:
                self.world.restart(name)

    def served_again(self) -> None:
        """What is pending, and new requests, are answered when all has been well for a while."""
        self.world.run(30.0)
        self.world.run_until(self.quiet, limit_s=120.0)
        for gateway in "gh":
            self.ask(3, 5_000.0, gateway)
        well = self.world.now
        self.world.run(60.0)
        self.watch.check_replies()
        assert self.watch.overdue() == []
        for ticket, replies in self.world.replies.items():
            if self.world.nodes[ticket.gateway].life != ticket.life:
                continue
            assert replies, f"{ticket} is pending while all is well"
            if self.watch.deadlines[ticket] > well:
                what = replies[0].what
                overloaded = getattr(what, "kind", "") == "overloaded"
                assert overloaded or hasattr(what, "given"), what

    def quiet(self) -> bool:
        return not any(n.gateway.requests for n in self.world.nodes.values() if n.gateway)

    def nothing_left(self) -> None:
        self.world.run(30.0)
        for name, node in self.world.nodes.items():
            assert len(node.worker.inbox.jobs) == 0, name
            if not self.lossy:
                assert len(node.worker.kept) == 0, name
                assert len(node.worker.attempts) == 0, name
            if node.gateway is not None:
                assert len(node.gateway.requests) == 0
                assert len(node.gateway._state.settling) == 0
                assert node.gateway._state.next_due() == math.inf


class LossyChaos(Chaos):
    """The same when the links break their contract. (Then a worker may not hear that it can free
    what it keeps, or may be given work of a gateway's earlier life; what it holds of that is
    bounded, and forgotten as it forgets all that is old.)"""

    lossy = True


@pytest.mark.parametrize("machine", [Chaos, LossyChaos])
def test_chaos(machine: type[Chaos], monkeypatch: pytest.MonkeyPatch) -> None:
    # A device that is started again and again while it loads is soon tried again here.
    monkeypatch.setattr(loads, "SPARED_S", 1.0)
    monkeypatch.setattr(loads, "SPARED_MOST_S", 1.0)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""Requests that kill whoever runs them, among others that do not."""

import itertools
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.core.toys import Story, check, leaving, one, pipeline, plan, playbook
from tests.sim.deaths import Deaths

from shoal.core.actions import Deliver, Reject
from shoal.core.gateway.loads import SPARED_S
from shoal.core.gateway.suspects import KEEP_S
from shoal.plan.plan import Playbook
from shoal.sim.engine import Symbols, Token
from shoal.sim.world import Ticket, World

REPLICAS = playbook(plan("any", one(0, 12, "abc")))
BOOKS: dict[str, Playbook] = {
    "replicas": REPLICAS,
    "batches": playbook(plan("any", one(0, 12, "abc", batch=4, batch_wait_ms=5.0))),
    "pipeline": playbook(
        pipeline("abc", "a", "b", "c"),
        pipeline("ab", "a", "b"),
        pipeline("bc", "b", "c"),
        pipeline("ca", "c", "a"),
        plan("alone", one(0, 12, "abc")),
    ),
    "resumable": playbook(
        plan("abc", one(0, 4, "a"), one(4, 8, "b"), one(8, 12, "c")),
        plan("acb", one(0, 4, "a"), one(4, 8, "c"), one(8, 12, "b")),
        plan("bca", one(0, 4, "b"), one(4, 8, "c"), one(8, 12, "a")),
        plan("alone", one(0, 12, "abc")),
    ),
    "free": playbook(
        plan("free", one(0, 4, "abc"), one(4, 8, "bca"), one(8, 12, "cab")), policy="free"
    ),
    "exits": playbook(plan("ab", leaving(one(0, 6, "abc")), one(6, 12, "bca")), policy="free"),
}


def input_of(made: tuple[Any, ...]) -> str:
    """The name of the input that a body was made from."""
    while made[0] != "input":
        made = next(iter(made[1]))[1] if made[0] == "join" else made[2]
    return str(made[1])


def poisoned(part: str | None = None, **settings: Any) -> Symbols:
    """An engine that kills devices for inputs called poison, in any part or only in one."""

    def deadly(device: str, ran: str, made: tuple[Any, ...]) -> bool:
        return input_of(made).startswith("poison") and part in (None, ran.partition("/")[0])

    return Symbols(deadly=deadly, **settings)


def supervise(world: World, after_s: float = 1.0) -> None:
    """Start again what crashed."""
    world.supervisor = lambda name: world.clock.after(after_s, world.restart, name)


def send(world: World, name: str, budget_ms: float = 10_000.0, gateway: str = "g") -> Ticket:
    return world.submit(gateway, Token(("input", name), 1000), budget_ms)


def reply(world: World, ticket: Ticket) -> Deliver | Reject:
    (only,) = world.replies[ticket]
    return only.what


def poison(world: World, *tickets: Ticket) -> None:
    """These, and no others, failed for what they are."""
    for ticket, replies in world.replies.items():
        for each in replies:
            guilty = isinstance(each.what, Reject) and each.what.kind == "poison"
            assert guilty == (ticket in tickets), each.what


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("restart_s", [0.3, 1.5, None])
def test_poison_among_good_requests_costs_two_workers_and_nobody_else(
    name: str, restart_s: float | None
) -> None:
    story = Story("abc", BOOKS[name], engine=poisoned(), unsent_s=0.0005)
    world, deaths = story.world, Deaths(story.world)
    if restart_s is not None:
        supervise(world, restart_s)
    tickets = {}
    for k in range(100):
        tickets[f"x{k}"] = send(world, f"x{k}")
        if k == 30:
            tickets["poison"] = send(world, "poison")
        world.run(0.008)
    world.run(3.0)
    poison(world, tickets["poison"])
    assert deaths.count() == 2
    if restart_s is None and name in ("free", "pipeline", "resumable", "exits"):
        return  # what is left may not do
    good = [t for name, t in tickets.items() if name != "poison"]
    for k, ticket in enumerate(good):
        answer = reply(world, ticket)
        assert isinstance(answer, Deliver), answer
        check(answer, f"x{k}", story.books)


def test_good_requests_do_not_stand_still() -> None:
    story = Story("abc", REPLICAS, engine=poisoned(), unsent_s=0.0005)
    world = story.world
    supervise(world)
    for k in range(300):
        send(world, "poison" if k == 100 else f"x{k}")
        world.run(0.01)
    world.run(1.0)
    ends = sorted(r.at for replies in world.replies.values() for r in replies)
    assert len(ends) == 300
    assert max(b - a for a, b in itertools.pairwise(ends)) < 0.1


def test_it_is_told_at_once_why_it_fails_and_who_died() -> None:
    story = Story("abc", REPLICAS, engine=poisoned())
    ticket = send(story.world, "poison")
    story.world.run(1.0)
    reject = reply(story.world, ticket)
    assert isinstance(reject, Reject)
    assert reject.kind == "poison"
    assert "(a, b)" in reject.text
    assert story.world.nodes["c"].alive


def test_the_same_again_is_refused_at_once_for_a_while() -> None:
    story = Story("abc", REPLICAS, engine=poisoned())
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    send(world, "poison")
    world.run(5.0)
    again = [send(world, "poison") for _ in range(20)]
    poison(world, *world.replies)
    assert all(world.replies[ticket][0].at == world.now for ticket in again)
    assert deaths.count() == 2
    good = send(world, "x")
    world.run(KEEP_S)
    assert isinstance(reply(world, good), Deliver)
    send(world, "poison")
    world.run(5.0)
    assert deaths.count() == 4, "then it may be tried again"


def test_one_that_is_sent_again_before_it_has_failed_costs_no_more() -> None:
    """Clients that lose patience, give up and send it again."""
    story = Story("abc", REPLICAS, engine=poisoned(run_ms=lambda device, part, batch: 400.0))
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    tickets = []
    for _ in range(40):
        tickets.append(send(world, "poison", budget_ms=150.0))
        world.run(0.15)
    world.run(10.0)
    assert deaths.count() == 2
    assert reply(world, tickets[-1]).kind == "poison"  # type: ignore[union-attr]


def test_a_single_worker_dies_twice() -> None:
    story = Story("a", playbook(plan("a", one(0, 12, "a"))), engine=poisoned())
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    ticket = send(world, "poison")
    good = [send(world, f"x{k}") for k in range(10)]
    world.run(8.0)
    poison(world, ticket)
    assert deaths.count() == 2
    assert all(isinstance(reply(world, t), Deliver) for t in good)


def test_one_that_takes_its_time_to_kill_kills_two_all_the_same() -> None:
    """Memory that runs out: meanwhile others are asked, since no answer comes."""
    engine = poisoned(
        run_ms=lambda device, part, batch: 10.0 * batch,
    )
    engine.run_s = lambda device, run: (  # type: ignore[method-assign]
        4.0 if engine.kills(device, run) else 0.01 * len(run.jobs)
    )
    story = Story("abcd", playbook(plan("any", one(0, 12, "abcd"))), engine=engine)
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    ticket = send(world, "poison", budget_ms=60_000.0)
    good = []
    for k in range(400):
        good.append(send(world, f"x{k}"))
        world.run(0.02)
    world.run(20.0)
    poison(world, ticket)
    assert deaths.count() == 2
    assert all(isinstance(reply(world, t), Deliver) for t in good)


def test_another_gateways_requests_are_not_blamed_for_it() -> None:
    story = Story("abc", REPLICAS, engine=poisoned(), unsent_s=0.0005)
    world = story.world
    world.add("h", gateway={})
    world.run(0.1)
    world.adopt("h", REPLICAS)
    world.run(0.5)
    supervise(world)
    tickets = []
    for k in range(200):
        send(world, f"x{k}", gateway="h")
        if k % 40 == 20:
            tickets.append(send(world, f"poison{k}"))
        send(world, f"y{k}")
        world.run(0.02)
    world.run(10.0)
    poison(world, *tickets)
    assert all(len(replies) == 1 for replies in world.replies.values())


def test_of_inputs_that_were_put_together_only_the_one_is_guilty() -> None:
    digest: Callable[[Any], tuple[str, ...]] = lambda body: tuple(body.made[1].split("+"))  # noqa: E731
    engine = Symbols(deadly=lambda device, part, made: "poison" in input_of(made))
    story = Story("abc", REPLICAS, engine=engine, digest=digest)
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    together = send(world, "x0+poison+x1")
    world.run(3.0)
    poison(world, together)
    assert deaths.count() == 2
    alone = [send(world, name) for name in ("x0", "poison", "x1")]
    world.run(3.0)
    poison(world, together, alone[1])
    assert deaths.count() == 2
    again = send(world, "x2+poison")
    poison(world, together, alone[1], again)


@pytest.mark.parametrize("fault", ["cut", "freeze", "kill"])
def test_two_devices_that_are_lost_by_chance_do_not_make_it_guilty(fault: str) -> None:
    engine = Symbols(run_ms=lambda device, part, batch: 300.0)
    story = Story("abc", REPLICAS, engine=engine)
    world = story.world
    ticket = send(world, "x")
    for name in "ab":
        world.run(0.1 if name == "a" else 0.6)  # each runs it, b alone
        if fault == "cut":
            world.cut("g", name)
        else:
            getattr(world, fault)(name)
    assert world.run_until(lambda: bool(world.replies[ticket]), 2.0)
    assert isinstance(reply(world, ticket), Deliver), "c has answered it"


@pytest.mark.parametrize("gap_s", [0.0, 0.002, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("name", BOOKS)
def test_whoever_kills_all_workers_makes_no_request_guilty(name: str, gap_s: float) -> None:
    story = Story("abc", BOOKS[name])
    world = story.world
    tickets = [send(world, f"x{k}") for k in range(30)]
    world.run(0.025)
    for device in "abc":
        world.kill(device)
        world.clock.after(1.0, world.restart, device)
        world.run(gap_s)
    world.run(10.0)
    assert all(isinstance(reply(world, ticket), Deliver) for ticket in tickets)


def test_without_memory_for_a_process_of_its_own_two_deaths_have_to_do() -> None:
    story = Story("", REPLICAS, engine=poisoned(), ready=False)
    world, deaths = story.world, Deaths(story.world)
    for name in "abc":
        world.add(name, info={"memory": REPLICAS.parts["0-12"].memory})
    assert world.run_until(story.ready)
    ticket = send(world, "poison")
    world.run(1.0)
    poison(world, ticket)
    assert deaths.count() == 2
    assert "too little memory" in reply(world, ticket).text  # type: ignore[union-attr]


def test_workers_that_an_operator_kills_are_nobodys_fault() -> None:
    story = Story("abc", BOOKS["pipeline"])
    world = story.world
    for k in range(400):
        send(world, f"x{k}")
        world.run(0.02)
        if k % 40 == 39:
            name = "abc"[k // 40 % 3]
            world.kill(name)
            world.clock.after(0.2, world.restart, name)
    world.run(5.0)
    assert all(isinstance(reply(world, t), Deliver) for t in world.replies)


# -- parts that kill who loads them

PARTS = playbook(
    plan("ab", one(0, 6, "a"), one(6, 12, "b")), plan("spare", one(0, 12, "ac")), id="parts"
)


def dies_of(part: str, device: str = "a") -> Symbols:
    """Loading takes less time than a message."""
    return Symbols(deadly_part=lambda d, p: (d, p) == (device, part), load_ms=lambda d, p: 0.1)


@pytest.mark.parametrize("unsent_s", [0.0, 0.05])
def test_a_part_that_kills_who_loads_it_is_not_sent_again_and_again(unsent_s: float) -> None:
    engine = dies_of("0-6")
    story = Story("abc", PARTS, engine=engine, unsent_s=unsent_s, ready=False)
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    assert world.run_until(story.ready)
    assert deaths.count() == 2
    unusable = story.gateway.usable.unusable(story.gateway.playbooks.all()[0])
    assert unusable.keys() == {"a"}
    assert "refused: a died twice while loading part 0-6" in unusable["a"]
    tickets = [send(world, f"x{k}") for k in range(20)]
    world.run(2.0)
    assert {reply(world, ticket).plan for ticket in tickets} == {"spare"}  # type: ignore[union-attr]
    assert "0-12" in world.nodes["a"].loaded, "the rest of the playbook is"
    world.run(300.0)
    assert deaths.count() == 2


def test_it_may_be_tried_again_after_a_while() -> None:
    engine = dies_of("0-6")
    story = Story("abc", PARTS, engine=engine, ready=False)
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    assert world.run_until(story.ready)
    engine.deadly_part = lambda device, part: False  # somebody gave it more memory
    assert world.run_until(lambda: "0-6" in world.nodes["a"].loaded, 2 * SPARED_S)
    assert world.now > SPARED_S
    assert world.run_until(
        lambda: not story.gateway.usable.unusable(story.gateway.playbooks.all()[0])
    )
    assert deaths.count() == 2


def test_another_playbook_is_tried_at_once() -> None:
    story = Story("abc", PARTS, engine=dies_of("0-6"), ready=False)
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    assert world.run_until(story.ready)
    other = playbook(plan("ba", one(0, 4, "b"), one(4, 12, "a")), id="other")
    world.adopt("g", other)
    assert world.run_until(lambda: not story.gateway.unready(other))
    assert world.nodes["a"].loaded >= {"4-12"}
    assert deaths.count() == 2


def test_who_else_runs_there_is_not_blamed_for_what_was_loaded() -> None:
    """A playbook is adopted under load, and a part of it kills."""
    story = Story("abc", REPLICAS, engine=dies_of("0-6"))
    world, deaths = story.world, Deaths(story.world)
    supervise(world)
    tickets = []
    for k in range(300):
        tickets.append(send(world, f"x{k}"))
        if k == 50:
            world.adopt("g", PARTS)
        world.run(0.02)
    world.run(5.0)
    assert all(isinstance(reply(world, ticket), Deliver) for ticket in tickets)
    assert deaths.count() == 2


def test_a_worker_that_is_out_of_sight_while_it_loads_has_not_died() -> None:
    engine = Symbols(load_ms=lambda device, part: 3000.0)
    story = Story("abc", PARTS, engine=engine, ready=False)
    world = story.world
    for _ in range(3):
        world.run(0.7)
        world.cut("g", "a")
        world.run(0.7)
        world.heal("g", "a")
    assert world.run_until(story.ready)
    assert story.gateway.usable.unusable(story.gateway.playbooks.all()[0]) == {}


@given(
    name=st.sampled_from(sorted(BOOKS)),
    at=st.lists(st.integers(0, 79), min_size=1, max_size=2, unique=True),
    part=st.sampled_from([None, "0-4", "4-8", "0-12", "0-6", "6-12", "8-12"]),
    pause=st.sampled_from([0.0, 0.003, 0.012, 0.03]),
    restart_s=st.sampled_from([0.05, 0.7, 2.0]),
    unsent_s=st.sampled_from([0.0, 0.001, 0.02]),
    run_ms=st.sampled_from([1.0, 10.0, 40.0]),
    capacity=st.sampled_from([1, 1, 2]),
    gateways=st.sampled_from(["g", "gh"]),
    freeze=st.none() | st.tuples(st.integers(0, 79), st.sampled_from("abc")),
)
@settings(max_examples=80, deadline=None)
def test_whenever_it_comes_whatever_it_kills_nobody_else_fails(
    name: str,
    at: list[int],
    part: str | None,
    pause: float,
    restart_s: float,
    unsent_s: float,
    run_ms: float,
    capacity: int,
    gateways: str,
    freeze: tuple[int, str] | None,
) -> None:
    engine = poisoned(part, run_ms=lambda device, part, batch: run_ms * batch)
    story = Story("", BOOKS[name], engine=engine, unsent_s=unsent_s, ready=False)
    world, deaths = story.world, Deaths(story.world)
    for device in "abc":
        world.add(device, worker={"capacity": capacity})
    world.add("h", gateway={})
    world.adopt("h", BOOKS[name])
    assert world.run_until(story.ready)
    world.run(0.5)
    supervise(world, restart_s)
    good, bad = [], []
    for k in range(80):
        if k in at:
            bad.append(send(world, f"poison{k}", 60_000.0))
        good.append(send(world, f"x{k}", 60_000.0, gateways[k % len(gateways)]))
        if freeze is not None and k == freeze[0]:
            world.freeze(freeze[1])
            world.clock.after(1.0, world.thaw, freeze[1])
        world.run(pause)
    world.run(61.0)
    for k, ticket in enumerate(good):
        answer = reply(world, ticket)
        assert isinstance(answer, Deliver), answer
        check(answer, f"x{k}", story.books)
    for ticket in bad:
        answer = reply(world, ticket)
        assert isinstance(answer, Deliver) or answer.kind == "poison", answer
    # One that stood still runs what it was given before, come what may; and of two at a time one
    # may be on its way to somebody when the other kills who knows of it.
    assert deaths.count() <= 2 * len(bad) + (freeze is not None) + (len(bad) > 1)

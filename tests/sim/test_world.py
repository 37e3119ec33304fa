"""The world itself: links, computing, and what peers see of each other."""

from typing import Any

import pytest
from tests.core.toys import Story, find, one, plan, playbook

from shoal.core.actions import Deliver, Send
from shoal.core.events import (
    Appeared,
    Arrived,
    Drain,
    LinkMeasured,
    Ran,
    Tick,
    Unsent,
    Vanished,
)
from shoal.core.messages import Hello
from shoal.sim.engine import Symbols, Token
from shoal.sim.node import Node
from shoal.sim.wires import HEAD_BYTES, Wire, Wires
from shoal.sim.world import Reply, Ticket, World

ALONE = playbook(plan("a", one(0, 12, "a")))


class Log:
    """What each node of a world is told, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[tuple[float, str, Any]] = []
        world.watch = self.note

    def note(self, node: Node, event: Any, actions: Any) -> None:
        self.lines.append((self.world.now, node.name, event))

    def of(self, name: str, kind: type) -> list[tuple[float, Any]]:
        return [(at, event) for at, who, event in self.lines if (who, type(event)) == (name, kind)]

    def sights(self, name: str) -> list[str]:
        """What a node saw of its peers."""
        return [
            f"{'+' if isinstance(event, Appeared) else '-'}{event.incarnation}"
            for _, who, event in self.lines
            if who == name and isinstance(event, Appeared | Vanished) and event.name != name
        ]


def world(*names: str, **settings: Any) -> tuple[World, Log]:
    made = World(policies=find, **settings)
    log = Log(made)
    for name in names:
        made.add(name)
    made.run(0.1)
    return made, log


# -- links


def test_a_message_takes_its_bytes_over_the_rate_and_the_delay() -> None:
    wires = Wires(lambda a, b: Wire(delay_s=0.01, bytes_per_s=1e6))
    assert wires.arrival("a", "b", 1000 - HEAD_BYTES, now=1.0) == pytest.approx(1.011)


def test_messages_wait_for_each_other_on_one_way_but_not_on_another() -> None:
    wires = Wires(lambda a, b: Wire(delay_s=0.0, bytes_per_s=1e6))
    size = 10_000 - HEAD_BYTES
    assert wires.arrival("a", "b", size, 0.0) == pytest.approx(0.010)
    assert wires.arrival("a", "b", size, 0.0) == pytest.approx(0.020)
    assert wires.arrival("b", "a", size, 0.0) == pytest.approx(0.010)
    wires.change("a", "b", Wire(delay_s=0.0, bytes_per_s=1e7), 0.015)
    assert wires.arrival("a", "b", size, 0.015) == pytest.approx(0.020), "not before the last one"
    assert wires.arrival("a", "b", size, 0.030) == pytest.approx(0.031)


def test_a_link_of_which_packets_are_lost_delays_what_comes_after_as_well() -> None:
    sure = Wires(lambda a, b: Wire(delay_s=0.01, bytes_per_s=1e6))
    lossy = Wires(lambda a, b: Wire(delay_s=0.01, bytes_per_s=1e6, loss=0.2))
    late = [
        lossy.arrival("a", "b", 1000, k * 0.1) - sure.arrival("a", "b", 1000, k * 0.1)
        for k in range(200)
    ]
    assert 0.1 < sum(extra > 0.019 for extra in late) / len(late) < 0.3
    times = [lossy.arrival("c", "d", 100, 0.0) for _ in range(100)]
    assert times == sorted(times)


def test_a_link_takes_no_more_work_than_may_wait_for_it() -> None:
    wires = Wires(lambda a, b: Wire(bytes_per_s=1e6, work=2))
    for _ in range(3):
        assert not wires.full("a", "b", 0.0)
        wires.arrival("a", "b", 100_000, 0.0)
    assert wires.full("a", "b", 0.0)
    assert not wires.full("b", "a", 0.0)
    assert not wires.full("a", "b", 0.11)


def test_what_a_link_carries_is_known_exactly_from_much_and_at_least_from_little() -> None:
    wires = Wires(lambda a, b: Wire(delay_s=0.01, bytes_per_s=1e6))
    assert wires.carried("a", "b", 0.0) is None
    wires.arrival("a", "b", 700, 0.0)
    little, rtt_s = wires.carried("a", "b", 0.1) or pytest.fail("nothing was seen")
    assert (little.at_least, rtt_s) == (True, pytest.approx(0.02))
    assert little.bytes_per_s < 1e6
    wires.arrival("a", "b", 100_000, 0.2)
    assert wires.carried("a", "b", 0.2) == (little, rtt_s)
    much, _ = wires.carried("a", "b", 0.4) or pytest.fail("nothing was seen")
    assert (much.at_least, much.bytes_per_s) == (False, 1e6)


def test_a_link_is_told_of_once_when_something_was_sent_or_is_under_way() -> None:
    wires = Wires(lambda a, b: Wire(delay_s=0.01, bytes_per_s=1e6))
    assert wires.news("a", 0.0) == []
    wires.arrival("a", "b", 700, 0.0)
    wires.arrival("a", "c", 700, 0.0)
    wires.arrival("a", "b", 100_000, 0.001)
    assert wires.news("a", 0.01) == [], "nothing is known before an answer could come"
    assert [(taker, seen.at_least) for taker, seen, _ in wires.news("a", 0.022)] == [
        ("b", True),
        ("c", True),
    ]
    assert [(taker, seen.at_least) for taker, seen, _ in wires.news("a", 0.2)] == [("b", False)]
    assert wires.news("a", 0.3) == wires.news("b", 0.3) == []


def test_what_waits_for_a_link_that_gets_faster_leaves_sooner() -> None:
    wires = Wires(lambda a, b: Wire(bytes_per_s=1e5, work=1))
    for _ in range(3):
        wires.arrival("a", "b", 100_000, 0.0)
    wires.change("a", "b", Wire(bytes_per_s=1e7, work=1), 0.1)
    assert wires.full("a", "b", 0.1)
    assert not wires.full("a", "b", 0.2)


def test_nodes_are_told_what_their_links_carry() -> None:
    story = Story("a", ALONE, wires=lambda a, b: Wire(bytes_per_s=2e6, delay_s=0.001))
    log = Log(story.world)
    for _ in range(3):
        story.ask(1)
        story.world.run(0.06)
    story.answers()
    seen = [event for _, event in log.of("g", LinkMeasured)]
    assert seen
    assert {(event.peer, round(event.rtt_ms, 6)) for event in seen} == {("a", 2.0)}
    assert all(event.bytes_per_s <= 2e6 and event.age_s >= 0 for event in seen)


def test_a_link_that_is_full_delays_nobody_for_good() -> None:
    """More is asked than the way to ``a`` takes: what it does not take goes to ``b``, nothing is
    lost, and when the rush is over all goes to ``a`` again."""
    book = playbook(plan("a", one(0, 12, "a")), plan("b", one(0, 12, "b")))

    def wires(giver: str, taker: str) -> Wire:
        return Wire(bytes_per_s=50e3 if (giver, taker) == ("g", "a") else 1e8, work=1)

    story = Story("ab", book, wires=wires, engine=Symbols(run_ms=lambda *_: 1.0))
    log = Log(story.world)
    story.ask(40)
    story.world.run(5.0)
    assert [event for _, event in log.of("g", Unsent) if event.full]
    assert {answer.plan for answer in story.answers()} == {"a", "b"}
    assert story.gateway.devices.limits.devices() == []
    story.world.run(5.0)
    story.ask(1)
    assert story.answers()[-1].plan == "a"
    story.world.run(30.0)
    assert story.left_behind() == {}


def test_a_slow_link_shows_in_the_time_of_an_answer() -> None:
    def wires(giver: str, taker: str) -> Wire:
        return Wire(bytes_per_s=1e5 if giver == "g" else 1e9, delay_s=0.0)

    story = Story("a", ALONE, wires=wires)
    story.ask(1)
    asked = story.world.now
    story.answers()
    assert story.replies()[0].at - asked == pytest.approx(0.010 + 1300 / 1e5, rel=0.01)


def test_to_send_to_who_is_not_seen_is_told_to_the_sender() -> None:
    here, log = world("a", "b", neighbours=lambda a, b: False)
    send = Send("b", Hello(here.nodes["a"].worker.info))
    here.post(here.nodes["a"], send)
    here.run(0.1)
    assert log.of("a", Unsent) == [(0.1, Unsent("b", send.message))]


def test_messages_can_be_lost_doubled_and_delayed() -> None:
    here, log = world("a", "b")
    fates = iter([(), (0.0, 0.0), (0.5,)])
    here.tamper = lambda giver, taker, message: next(fates)
    start = len(log.of("b", Arrived))
    for _ in range(3):
        here.post(here.nodes["a"], Send("b", Hello(here.nodes["a"].worker.info)))
    here.run(1.0)
    times = [at for at, _ in log.of("b", Arrived)[start:]]
    assert [round(at, 2) for at in times] == [0.1, 0.1, 0.6]


def test_who_wants_to_be_told_of_the_ends_of_requests_has_to_keep_them() -> None:
    story = Story("a", ALONE)
    heard: list[tuple[Ticket, Reply]] = []
    story.world.told = lambda ticket, reply: heard.append((ticket, reply))
    before = story.world.decided
    ticket = story.world.submit("g", Token(("input", "x"), 1000))
    story.world.run(1.0)
    ((told, reply),) = heard
    assert told == ticket
    assert isinstance(reply.what, Deliver)
    assert story.world.replies == {}
    assert story.world.decided > before + 4, "submitted, arrived, ran, arrived, and ticks"


# -- what peers see of each other


def test_nodes_see_themselves_first_and_then_each_other() -> None:
    here, log = world("a", "b")
    assert [event.name for _, event in log.of("a", Appeared)] == ["a", "b"]
    assert log.sights("b") == ["+a#1"]
    assert here.nodes["a"].sees == {"b": "b#1"}


def test_a_death_is_seen_soon_and_a_silence_after_the_lease() -> None:
    here, log = world("a", "b", "c", notice_s=0.003, lease_s=0.4)
    here.kill("b")
    here.freeze("c")
    here.run(1.0)
    ((dead, _), (silent, _)) = log.of("a", Vanished)
    assert (dead, silent) == (pytest.approx(0.103), pytest.approx(0.5))


def test_a_silence_shorter_than_the_lease_is_not_seen() -> None:
    here, log = world("a", "b", lease_s=0.4)
    for _ in range(3):
        here.freeze("b")
        here.run(0.3)
        here.thaw("b")
        here.run(0.05)
    assert log.sights("a") == ["+b#1"]


def test_who_thaws_is_seen_again_and_has_lost_sight_as_well() -> None:
    here, log = world("a", "b")
    here.freeze("b")
    here.run(1.0)
    here.thaw("b")
    here.run(0.1)
    assert log.sights("a") == ["+b#1", "-b#1", "+b#1"]
    assert log.sights("b") == ["+a#1", "-a#1", "+a#1"]


def test_who_restarts_is_another() -> None:
    here, log = world("a", "b")
    here.restart("b")
    here.run(0.1)
    assert log.sights("a") == ["+b#1", "-b#1", "+b#2"]
    assert here.nodes["b"].worker.info.incarnation == "b#2"


def test_a_cut_in_one_direction_is_seen_on_one_side() -> None:
    here, log = world("a", "b")
    here.cut("a", "b", both=False)
    here.run(1.0)
    assert log.sights("b") == ["+a#1", "-a#1"]
    assert log.sights("a") == ["+b#1"]
    here.heal("a", "b")
    here.run(0.1)
    assert log.sights("b") == ["+a#1", "-a#1", "+a#1"]


def test_what_is_held_by_a_cut_arrives_after_it_in_order() -> None:
    story = Story("a", ALONE)
    log = Log(story.world)
    story.world.cut("g", "a")
    story.ask(3)
    story.world.run(0.2)
    assert log.of("a", Arrived) == []
    story.world.heal("g", "a")
    answers = story.answers()
    assert [answer.number for answer in answers] == [0, 1, 2]


# -- nodes


def test_a_run_stands_still_while_its_node_does() -> None:
    story = Story("a", ALONE, engine=Symbols(run_ms=lambda *_: 100.0), lease_s=10.0)
    log = Log(story.world)
    story.ask(1)
    started = story.world.now
    for _ in range(2):
        story.world.run(0.04)
        story.world.freeze("a")
        story.world.run(0.5)
        story.world.thaw("a")
    story.world.run(1.0)
    ((ended, _),) = log.of("a", Ran)
    assert ended - started == pytest.approx(1.1, abs=0.001)


def test_a_run_that_would_end_while_its_node_stands_still_ends_after_it() -> None:
    story = Story("a", ALONE, engine=Symbols(run_ms=lambda *_: 100.0), lease_s=10.0)
    log = Log(story.world)
    story.ask(1)
    started = story.world.now
    story.world.run(0.09)
    story.world.freeze("a")
    story.world.run(0.5)
    story.world.thaw("a")
    story.world.run(1.0)
    ((ended, _),) = log.of("a", Ran)
    assert ended - started == pytest.approx(0.6, abs=0.001)


def test_what_a_node_was_doing_dies_with_it() -> None:
    story = Story("a", ALONE)
    log = Log(story.world)
    story.ask(1)
    story.world.run(0.005)
    story.world.kill("a")
    story.world.run(0.5)
    assert log.of("a", Ran) == []
    story.world.restart("a")
    story.answers()
    assert len(log.of("a", Ran)) == 1


def test_a_slow_node_takes_longer_from_its_next_run_on() -> None:
    story = Story("a", ALONE)
    story.world.slow("a", 10)
    story.ask(1)
    (answer,) = story.answers()
    assert answer.trace[0].run_ms == pytest.approx(100)


def test_a_node_is_woken_when_it_wants_to_be_and_only_then() -> None:
    here, log = world("a", "b")
    here.kill("b")
    here.run(20.0)
    ((vanished, _),) = log.of("a", Vanished)
    assert [at for at, _ in log.of("a", Tick)] == [pytest.approx(vanished + 5.0)]


def test_what_a_node_says_to_itself_does_not_travel() -> None:
    story = Story("a", playbook(plan("g", one(0, 12, "g"))))
    story.world.run(0.05)
    posted, log = story.world.posted, Log(story.world)
    story.ask(1)
    story.answers()
    assert story.world.posted == posted
    assert log.of("g", Arrived) == []


def test_a_node_without_work_is_drained_at_once() -> None:
    here, log = world("a")
    here.drain("a")
    assert here.nodes["a"].drained
    assert len(log.of("a", Drain)) == 1


def test_a_node_without_a_gateway_has_none() -> None:
    here, _ = world("a")
    with pytest.raises(KeyError):
        here.gateway("a")


def test_who_runs_what_it_has_not_loaded_fails() -> None:
    story = Story("a", ALONE)
    story.world.nodes["a"].loaded.clear()
    story.ask(1)
    (reject,) = story.rejects()
    assert "is not loaded" in reject.text


def test_time_can_pass_until_something_holds() -> None:
    here, _ = world("a")
    here.clock.after(1.0, here.kill, "a")
    assert here.run_until(lambda: not here.nodes["a"].alive)
    assert here.now == pytest.approx(1.1)
    assert not here.run_until(lambda: False, limit_s=2.0)
    assert here.now == pytest.approx(3.1)

"""A recording played again: the same node, the same events, the same actions, all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.core.toys import find, one, plan, playbook
from tests.sim.test_chaos import BOOKS, LossyChaos

from shoal.core.actions import Send
from shoal.core.events import Appeared, Arrived, Submitted, Unsent
from shoal.core.gateway import loads
from shoal.core.log import Step
from shoal.core.messages import DeviceInfo, Install, Refused, Resume, Task, Why
from shoal.core.node import make_core
from shoal.core.policy import Policy
from shoal.core.recording import End, Entry, RecordingHead, begin, decode, encode
from shoal.core.settings import GatewaySettings, Origin
from shoal.errors import PlanError, RecordingError
from shoal.sim.engine import Symbols, Token
from shoal.sim.node import Node
from shoal.sim.replay import Difference, Played, play
from shoal.sim.wires import Wire
from shoal.sim.world import World

replace = msgspec.structs.replace
RESUMABLE = BOOKS["resumable"]
ANY = playbook(plan("any", one(0, 12, "abc")), id="any")


class Recorder:
    """Records every life of every node of a world, from when it is made."""

    def __init__(self, world: World) -> None:
        self.lives: dict[tuple[str, int], list[Entry]] = {}
        world.tap = self.tap

    def tap(self, node: Node) -> Callable[[Step], None]:
        entries = self.lives[node.name, node.life] = [RecordingHead(node.core.origin, "now")]
        return entries.append

    def of(self, name: str, life: int = 1) -> list[Entry]:
        """The recording of a life, as it is read."""
        return list(decode([as_bytes([*self.lives[name, life], End()])]))

    def play_all(self) -> int:
        """Play all lives again; how many actions there were."""
        count = 0
        for name, life in self.lives:
            entries = self.of(name, life)
            played = play(entries, find)
            assert played.difference is None, played.difference
            assert played.events == sum(isinstance(entry, Step) for entry in entries)
            count += played.actions
        return count


def as_bytes(entries: Iterable[Entry]) -> bytes:
    first, *rest = entries
    assert isinstance(first, RecordingHead)
    return begin(first) + b"".join(map(encode, rest))


def faults() -> Recorder:
    """A story in which a device is killed, one freezes, links are full, and work is refused."""
    world = World(
        Symbols(run_ms=lambda device, part, batch: 8.0 * batch),
        lambda giver, taker: Wire(0.001, 2e6, work=3),
        policies=find,
    )
    recorder = Recorder(world)
    world.add("g", gateway={"hedge_s": 0.05}, worker={"inbox": 3})
    for device in "abcd":
        world.add(device, worker={"inbox": 3})
    world.adopt("g", RESUMABLE)
    world.run(0.1)
    what: dict[int, Callable[[], None]] = {
        10: lambda: world.kill("b"),
        25: lambda: world.freeze("c"),
        45: lambda: world.restart("b"),
        60: lambda: world.thaw("c"),
        70: lambda: world.drain("d"),
    }
    for k in range(100):
        what.get(k, lambda: None)()
        for n in range(2):
            world.submit("g", token(2 * k + n), 900.0)
        world.run(0.01)
    world.run(5.0)
    return recorder


def token(number: int) -> Token:
    return Token(("input", f"x{number}"), 40_000)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return faults()


def steps(entries: Iterable[Entry]) -> list[Step]:
    return [entry for entry in entries if isinstance(entry, Step)]


def test_a_story_full_of_faults_is_the_same_again(recorder: Recorder) -> None:
    of_all = [step for entries in recorder.lives.values() for step in steps(entries)]
    whys = {
        step.event.message.why
        for step in of_all
        if isinstance(step.event, Arrived) and isinstance(step.event.message, Refused)
    }
    asked = {type(a.message) for step in of_all for a in step.actions if isinstance(a, Send)}
    assert {Why.OVERLOADED, Why.PEER_ABSENT, Why.DRAINING} <= whys, "all of it happened"
    assert any(isinstance(step.event, Unsent) and step.event.full for step in of_all)
    assert {Task, Resume} <= asked
    assert recorder.lives.keys() == {(name, 1) for name in "gabcd"} | {("b", 2)}
    assert recorder.play_all() == sum(len(step.actions) for step in of_all)


def changed(entries: list[Entry], index: int, change: Callable[[Step], Step]) -> Difference:
    """The difference that is found when the step at ``index`` is changed."""
    step = entries[index]
    assert isinstance(step, Step)
    played = play([*entries[:index], change(step), *entries[index + 1 :]], find)
    found = played.difference
    assert found is not None
    assert found.number == index, "entries begin with the header, events with 1"
    assert played.events == index - 1
    return found


@pytest.mark.parametrize("place", [0, 7, 60, -1])
def test_a_log_that_was_changed_is_found_out_at_the_right_event(
    recorder: Recorder, place: int
) -> None:
    entries = recorder.of("g")
    acted = [
        k
        for k, entry in enumerate(entries)
        if isinstance(entry, Step) and entry.actions and not entry.digests
    ]
    found = changed(entries, acted[place], lambda step: replace(step, actions=step.actions[:-1]))
    assert len(found.now) == len(found.then) + 1
    assert found.where == "it does more now"


def test_a_difference_says_in_which_field(recorder: Recorder) -> None:
    entries = recorder.of("g")

    def other_plan(step: Step) -> Step:
        (send,) = step.actions
        assert isinstance(send, Send)
        itinerary = replace(send.message.itinerary, plan="bcd")
        message = replace(send.message, itinerary=itinerary, attempt=7)
        return replace(step, actions=(replace(send, message=message),))

    asked = next(k for k, e in enumerate(entries) if isinstance(getattr(e, "event", 0), Submitted))
    found = changed(entries, asked, other_plan)
    assert found.where == "message.attempt, message.itinerary.plan"
    assert found.event == "Submitted(number=0, body=None, budget_ms=900.0)"
    assert "attempt=7" in found.then[0]
    assert "plan='bcd'" in found.then[0]
    assert "attempt=1" in found.now[0]
    assert "plan='abc'" in found.now[0]
    assert "budget_ms=900.0" in found.now[0]
    assert "sliced" not in found.now[0], "what is as by default is not said"


def test_an_event_that_is_missing_is_found_out(recorder: Recorder) -> None:
    entries = recorder.of("g")
    asked = next(k for k, e in enumerate(entries) if isinstance(getattr(e, "event", 0), Submitted))
    played = play([*entries[:asked], *entries[asked + 1 :]], find)
    assert played.difference is not None
    assert played.difference.number >= asked


def test_digests_are_those_of_then() -> None:
    """There are no bodies to ask, and what is in them decides who is suspected."""
    world = World(Symbols(deadly=lambda device, part, made: device in "ab"), policies=find)
    recorder = Recorder(world)
    world.add("g", gateway={})
    for device in "abc":
        world.add(device)
    world.adopt("g", ANY)
    world.run(0.1)
    for number in range(4):
        world.submit("g", token(number))
    world.run(1.0)
    entries = recorder.of("g")
    asked = [k for k, e in enumerate(entries) if isinstance(e, Step) and e.digests]
    assert asked
    assert play(entries, find).difference is None
    step = entries[asked[0]]
    assert isinstance(step, Step)
    entries[asked[0]] = replace(step, digests=())
    found = play(entries, find).difference
    assert found is not None
    assert (found.number, found.where) == (asked[0], "it does more now")


def test_luck_is_the_same_again_whoever_asked_in_between() -> None:
    """A policy that leaves something to chance, remembers, and holds what is on its way; and a
    client that asks whether anything can be served, which is no event."""
    book = playbook(plan("free", one(0, 6, "abc"), one(6, 12, "abcd")), policy="patient")
    world = World(policies=find)
    recorder = Recorder(world)
    world.add("g", gateway={})
    for device in "abcd":
        world.add(device)
    world.adopt("g", book)
    world.run(0.1)
    for number in range(60):
        world.submit("g", token(number))
        assert world.gateway("g").servable(book, world.now)
        world.run(0.003)
    world.run(3.0)
    assert all(len(replies) == 1 for replies in world.replies.values())
    assert recorder.play_all() > 200


def test_what_raised_raises_again() -> None:
    core = make_core(
        Origin(DeviceInfo("g", "g1"), gateway=GatewaySettings()), find, lambda body: ()
    )
    entries: list[Entry] = [RecordingHead(core.origin, "now")]
    core.log.tap = entries.append
    core.handle(Submitted(1, "x", 1000.0), 0.0)
    with pytest.raises(ValueError, match="numbers count up"):
        core.handle(Submitted(0, "x", 1000.0), 0.1)
    core.handle(Submitted(2, "x", 1000.0), 0.2)
    assert play(entries, find) == Played("g", "now", 3, 0, None)
    raised = entries[2]
    assert isinstance(raised, Step)
    entries[2] = replace(raised, error="")
    found = play(entries, find).difference
    assert found is not None
    assert found.number == 2
    assert found.now == ("raised ValueError: request 0 came after 1; numbers count up",)


def lacking(name: str) -> Policy:
    """What a machine says that has another set of packages."""
    raise PlanError(f"no policy is registered as {name!r}; install the package that brings it")


@pytest.mark.parametrize("name", ["g", "a"])
def test_a_policy_that_is_not_installed_is_named(recorder: Recorder, name: str) -> None:
    """On a gateway that adopts a playbook, and on a worker that is to install one."""
    with pytest.raises(RecordingError, match=r"not here: no policy .* 'preferred'; install"):
        play(recorder.of(name), lacking)


def test_a_node_that_lacked_a_policy_lacks_it_again() -> None:
    core = make_core(Origin(DeviceInfo("a", "a1")), lacking, lambda body: ())
    entries: list[Entry] = [RecordingHead(core.origin, "now")]
    core.log.tap = entries.append
    core.handle(Appeared("g", "g1"), 0.0)
    (send,) = core.handle(Arrived("g", Install(ANY)), 0.1)
    assert isinstance(send, Send)
    assert play(entries, lacking).difference is None


def test_what_is_no_recording_is_refused() -> None:
    with pytest.raises(RecordingError, match="begins with its header"):
        play([End()], find)


def test_why_it_ends_is_told() -> None:
    header = RecordingHead(Origin(DeviceInfo("a", "a1")), "now")
    assert play([header], find) == Played("a", "now", 0, 0, None), "it breaks off"
    assert play([header, End()], find).ended == ""
    assert play([header, End("the disk was full")], find).ended == "the disk was full"


class Replayed(LossyChaos):
    """Any chaos, played again."""

    def made(self) -> None:
        self.recorder = Recorder(self.world)

    def teardown(self) -> None:
        if hasattr(self, "recorder"):
            self.world.run(5.0)
            assert self.recorder.play_all() > 0


def test_any_chaos_is_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "SPARED_S", 1.0)
    run_state_machine_as_test(
        Replayed,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

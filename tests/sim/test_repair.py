"""What a device held that is lost for good is given to the others, and taken back when it is
back."""

from collections.abc import Callable, Sequence

import hypothesis.strategies as st
from hypothesis import given, settings
from tests.core.toys import MIB, Story, every, in_reserve, one, plan, playbook

from shoal.core.actions import Deliver, NodeAction
from shoal.core.events import NodeEvent
from shoal.core.validate import broken
from shoal.plan.plan import Plan
from shoal.sim.node import Node
from shoal.sim.world import World

NAMES = "abc"
AFTER_S = 3.0


def together(name: str, names: str, least: int) -> Plan:
    return plan(name, every(0, 8, names, least=least, deadline_ms=50), one(8, 12, names))


def repaired(lost: str, instead: bool = False) -> Plan:
    rest = NAMES.replace(lost, "")
    return in_reserve(together(rest, rest, len(rest)), (lost,), AFTER_S, instead)


MAIN = together("abc", NAMES, 2)
BOOK = playbook(MAIN, *map(repaired, NAMES), policy="tolerant")
TIGHT = playbook(MAIN, *(repaired(name, True) for name in NAMES), policy="tolerant")


def story(tight: bool = False) -> Story:
    """In a ``tight`` one devices have memory for the parts of one plan."""
    made = Story("", TIGHT if tight else BOOK, ready=False)
    made.world.watch = watch
    for name in NAMES:
        made.world.add(name, info={"memory": (2 if tight else 3) * MIB})
    assert made.world.run_until(made.ready)
    return made


def watch(node: Node, event: NodeEvent, actions: Sequence[NodeAction]) -> None:
    assert broken(node.core) == [], event


def plans(story: Story) -> list[str]:
    """What the next requests are answered by, and without whom."""
    first = len(story.tickets)
    story.ask(2)
    story.end()
    found = []
    for ticket in story.tickets[first:]:
        (reply,) = story.world.replies[ticket]
        assert isinstance(reply.what, Deliver), reply.what
        found.append(reply.what.plan + "".join(f"-{name}" for name in reply.what.absent))
    return found


def loaded(story: Story) -> set[str]:
    """The parts that are loaded anywhere."""
    return {part for node in story.world.nodes.values() if node.alive for part in node.loaded}


def test_what_only_a_lost_device_held_is_put_in_place() -> None:
    told = story()
    told.world.kill("a")
    told.world.run(AFTER_S - 1)
    assert plans(told) == ["abc-a"] * 2
    told.world.run(2)
    assert plans(told) == ["bc"] * 2
    told.world.restart("a")
    told.world.run(2)
    assert plans(told) == ["abc"] * 2
    told.world.run(1)
    assert not any(part.endswith("+") for part in loaded(told)), "it is let go of"


def test_a_device_that_is_lost_for_a_moment_costs_no_transfer() -> None:
    told = story()
    told.world.kill("a")
    told.world.run(AFTER_S - 1)
    told.world.restart("a")
    told.world.run(2 * AFTER_S)
    assert plans(told) == ["abc"] * 2
    assert len(told.gateway.playbooks) == 1


def test_who_has_no_memory_for_it_goes_on_with_what_it_has() -> None:
    told = Story("", BOOK, ready=False)
    for name, parts in (("a", 3), ("b", 3), ("c", 2)):  # c has no room for a third
        told.world.add(name, info={"memory": parts * MIB})
    assert told.world.run_until(told.ready)
    told.world.kill("a")
    told.world.run(3 * AFTER_S)
    assert plans(told) == ["abc-a"] * 2
    told.world.restart("a")
    told.world.kill("c")
    told.world.run(3 * AFTER_S)
    assert plans(told) == ["ab"] * 2


def test_where_there_is_memory_for_one_only_the_parts_take_turns() -> None:
    told = story(tight=True)
    told.world.kill("a")
    told.world.run(2 * AFTER_S)
    assert plans(told) == ["bc"] * 2
    assert loaded(told) == {"0-8/0+", "0-8/1+", "8-12"}
    told.world.restart("b")
    told.world.run(1)
    assert plans(told) == ["bc"] * 2
    told.world.restart("a")
    told.world.run(1)
    assert plans(told) == ["abc"] * 2
    assert loaded(told) == {"0-8/0", "0-8/1", "0-8/2", "8-12"}


def test_a_device_that_is_back_without_its_parts_does_not_end_it() -> None:
    """It has less memory than before: the others do its work on."""
    told = story()
    told.world.kill("a")
    told.world.run(2 * AFTER_S)
    told.world.nodes["a"].loaded.clear()
    told.world.add("a", info={"memory": MIB // 2})
    told.world.run(2)
    assert plans(told) == ["bc"] * 2


def test_a_gateway_that_is_new_finds_out_who_is_lost() -> None:
    told = story()
    told.world.kill("a")
    told.world.run(2 * AFTER_S)
    told.world.restart("g")
    told.tickets.clear()
    told.world.run(0.1)
    told.world.adopt("g", BOOK)
    told.world.run(AFTER_S - 1)
    assert plans(told) == ["abc-a"] * 2
    told.world.run(2)
    assert plans(told) == ["bc"] * 2


def test_another_playbook_takes_the_place_of_both() -> None:
    told = story()
    told.world.kill("a")
    told.world.run(2 * AFTER_S)
    other = playbook(plan("other", one(0, 12, "bc")), id="other")
    told.books.append(other)
    told.world.adopt("g", other)
    told.world.run(3)
    assert plans(told) == ["other"] * 2
    assert [book.id for book in told.gateway.playbooks.all()] == ["other"]
    assert loaded(told) == {"0-12"}


FAULTS: dict[str, Callable[[World, str], None]] = {
    "kill": lambda world, name: world.kill(name) if world.nodes[name].alive else None,
    "restart": lambda world, name: world.restart(name),
    "freeze": lambda world, name: world.freeze(name),
    "thaw": lambda world, name: world.thaw(name),
    "cut": lambda world, name: world.cut("g", name),
    "heal": lambda world, name: world.heal("g", name),
}


@given(
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from(sorted(FAULTS)), st.sampled_from(NAMES))),
    st.sampled_from(["", *NAMES]),
    st.booleans(),
)
@settings(max_examples=100)
def test_whatever_happens_in_the_end_nothing_is_missing(
    faults: list[tuple[float, str, str]], lost: str, tight: bool
) -> None:
    told = story(tight)
    for wait_s, fault, name in faults:
        told.ask()
        told.world.run(wait_s)
        FAULTS[fault](told.world, name)
    for name in NAMES:
        told.world.heal("g", name)
        told.world.thaw(name)
        if name == lost:
            FAULTS["kill"](told.world, name)
        elif not told.world.nodes[name].alive:
            told.world.restart(name)
    told.world.run(60)
    assert plans(told) == [NAMES.replace(lost, "") if lost else NAMES] * 2
    told.world.run(2)
    assert len(told.gateway.playbooks) == (2 if lost else 1)
    assert any(part.endswith("+") for part in loaded(told)) == bool(lost)
    assert told.left_behind() == {}

"""What messages, requests and runs cost a processor delays answers, and what is computed."""

import msgspec
import pytest
from tests.core.toys import every, find, one, playbook
from tests.core.toys import plan as plan_of
from tests.sim.test_world import Log

from shoal.core.actions import Deliver, Given, Run
from shoal.core.events import Arrived, JobKey, Ran
from shoal.core.messages import Task
from shoal.sim.crossings import Crossing, Made
from shoal.sim.engine import Symbols, Token
from shoal.sim.forecasted import Forecasted, Image
from shoal.sim.handling import FREE, MEASURED, Handling
from shoal.sim.wires import Wire
from shoal.sim.world import World

BOOK = playbook(plan_of("a", one(0, 12, "a")))
RUN_S, ASKED_BYTES, MADE_BYTES = 0.1, 1000, 10_000
COSTS = Handling(asked_s=0.001, run_s=0.002, message_s=0.004, byte_s=1e-6)


def world(handling: Handling, engine: Symbols | None = None) -> World:
    """A gateway and a worker that knows its part; the links take no time to speak of."""
    made = World(
        engine or Symbols(run_ms=lambda *_: RUN_S * 1e3),
        lambda a, b: Wire(delay_s=0.0, bytes_per_s=1e15),
        policies=find,
    )
    made.add("g", gateway={}, handling=handling)
    made.add("a", handling=handling)
    made.run(0.1)
    made.adopt("g", BOOK)
    made.run(2.0)
    return made


def latency_s(made: World) -> float:
    ticket, began = made.submit("g", Token(("input", "x"), ASKED_BYTES)), made.now
    assert made.run_until(lambda: bool(made.replies[ticket]))
    ((reply,),) = [made.replies[ticket]]
    assert isinstance(reply.what, Deliver)
    return reply.at - began


def test_an_answer_comes_later_by_all_that_is_done_for_it() -> None:
    assert latency_s(world(FREE)) == pytest.approx(RUN_S)
    ends = 2 * 0.004 + ASKED_BYTES * 2e-6 + 2 * 0.004 + MADE_BYTES * 2e-6
    assert latency_s(world(COSTS)) == pytest.approx(0.001 + 0.002 + RUN_S + ends)


def test_on_a_slow_core_all_of_it_takes_longer() -> None:
    assert COSTS.at(0.5) == Handling(0.002, 0.004, 0.008, 2e-6)
    made = world(COSTS)
    usual = latency_s(made)
    for name in "ga":
        made.slow(name, 3.0)
    assert latency_s(made) == pytest.approx(3 * usual)


def test_what_is_computed_stands_still_while_messages_are_dealt_with() -> None:
    made = world(COSTS)
    log = Log(made)
    began = made.now
    made.submit("g", Token(("input", "x"), ASKED_BYTES))
    made.run(0.05)
    made.submit("g", Token(("input", "y"), ASKED_BYTES))
    made.run(1.0)
    (first, _), (second, _) = log.of("a", Ran)
    task_s = 0.004 + ASKED_BYTES * 1e-6
    alone = 0.001 + 2 * task_s + 0.002 + RUN_S
    assert first - began == pytest.approx(alone + task_s)
    answer_s = 0.004 + MADE_BYTES * 1e-6
    assert second - first == pytest.approx(answer_s + 0.002 + RUN_S)


def test_messages_are_dealt_with_one_after_the_other_in_their_order() -> None:
    made = world(Handling(message_s=0.01))
    log = Log(made)
    began = made.now
    for name in "xyz":
        made.submit("g", Token(("input", name), 0))
    made.run(1.0)
    tasks = [(at, event.message) for at, event in log.of("a", Arrived)]
    tasks = [(at, message) for at, message in tasks if isinstance(message, Task)]
    assert [message.number for _, message in tasks] == [0, 1, 2]
    assert [round(at - began, 6) for at, _ in tasks] == [0.02, 0.03, 0.04]


def test_the_time_of_a_processor_is_counted() -> None:
    made = world(COSTS)
    before = {name: node.busy_s for name, node in made.nodes.items()}
    latency_s(made)
    spent = {name: node.busy_s - before[name] for name, node in made.nodes.items()}
    each = 2 * 0.004 + (ASKED_BYTES + MADE_BYTES) * 1e-6
    assert spent == {
        "g": pytest.approx(0.001 + each),
        "a": pytest.approx(RUN_S + 0.002 + each),
    }


def test_who_is_frozen_deals_with_nothing_and_who_is_killed_sends_nothing() -> None:
    made = world(Handling(message_s=0.01))
    log = Log(made)
    made.submit("g", Token(("input", "x"), 0))
    made.run(0.015)  # it has left the gateway
    made.freeze("a")
    made.run(0.2)
    assert log.of("a", Arrived) == []
    made.thaw("a")
    made.run(0.01)
    assert [type(event.message) for _, event in log.of("a", Arrived)] == [Task]
    ticket = made.submit("g", Token(("input", "y"), 0))
    made.run(0.005)  # it is still being sent
    made.kill("g")
    made.run(1.0)
    assert made.replies[ticket] == []
    assert len(log.of("a", Arrived)) == 1


def test_what_waits_to_leave_a_frozen_node_leaves_it_afterwards() -> None:
    made = world(Handling(message_s=0.01))
    ticket = made.submit("g", Token(("input", "x"), 0), budget_ms=60_000)
    made.run(0.005)
    made.freeze("g")
    made.run(0.1)
    made.thaw("g")
    assert made.run_until(lambda: bool(made.replies[ticket]))


def test_packing_costs_who_sends_and_unpacking_who_is_sent_to() -> None:
    class Packing(Symbols):
        def size(self, body: Token, codec: str) -> int:
            return body.size // 10

        def pack_s(self, device: str, body: Token, codec: str) -> float:
            return {"g": 0.01, "a": 0.02}[device]

        def unpack_s(self, device: str, body: Token, codec: str) -> float:
            return {"g": 0.03, "a": 0.04}[device]

    made = world(Handling(byte_s=1e-6), Packing(run_ms=lambda *_: RUN_S * 1e3))
    log = Log(made)
    took = latency_s(made)
    sizes = [event.size for name in "ag" for _, event in log.of(name, Arrived)]
    assert sizes == [ASKED_BYTES // 10, MADE_BYTES // 10]
    assert took == pytest.approx(RUN_S + 0.01 + 0.04 + 0.02 + 0.03 + 2e-6 * sum(sizes))


def test_what_goes_to_several_is_packed_once_and_who_made_it_unpacks_it_too() -> None:
    shards = msgspec.structs.replace(every(0, 6, "ab"), codec="half")
    book = playbook(plan_of("p", shards, every(6, 12, "ab")))
    packed: list[str] = []

    class Packing(Symbols):
        def pack_s(self, device: str, body: Token, codec: str) -> float:
            packed.append(device)
            return 0.02 if codec == "half" else 0.0

    made = World(Packing(), lambda a, b: Wire(delay_s=0.0, bytes_per_s=1e15), policies=find)
    made.add("g", gateway={})
    for name in "ab":
        made.add(name)
    made.run(0.1)
    made.adopt("g", book)
    made.run(2.0)
    latency_s(made)
    # The input goes to two, and so would each slice among three.
    assert sorted(packed) == ["a", "a", "b", "b", "g"]


def test_who_joins_unpacks_its_own_slice_as_well() -> None:
    stage = msgspec.structs.replace(every(0, 6, "ab"), codec="half")
    book = playbook(plan_of("p", stage, every(6, 12, "ab")))
    slices = {name: Made(stage.parts[name], stage.outputs) for name in "ab"}
    crossings = {(made, "half"): Crossing(10, 3.0, 7.0) for made in slices.values()}
    engine = Forecasted(book, crossings, {"a": 2.0, "b": 1.0})
    bodies = {name: Image(0, made) for name, made in slices.items()}
    key = JobKey("g", "g1", 0, 1, 1)

    def run_s(codec: str) -> float:
        given = Given(bodies, stage.join, codec)
        return engine.run_s("a", Run((key,), "6-12/0", (given,), ("t12",)))

    assert run_s("half") - run_s("raw") == pytest.approx(7e-3 / 2)


def test_what_was_measured_is_less_than_a_millisecond_for_a_request() -> None:
    assert 0 < MEASURED.asked_s + MEASURED.run_s + 4 * MEASURED.message(3000) < 1e-3

"""After a refusal, a full link, a hedge, a doubt, a loss or two of them at once a gateway is what
it was before; and it does nothing about them too early or too often."""

from typing import Any

from tests.core.alone import LoneGateway, of, sent
from tests.core.toys import every, one, pipeline, plan, playbook

from shoal.core.actions import Deliver, Reject
from shoal.core.events import Appeared, Cancelled, Tick, Unsent, Vanished
from shoal.core.messages import Forget, Install, Moved, Resume, StageTrace, Task, Why

ALONE = playbook(plan("a", one(0, 12, "a")), plan("b", one(0, 12, "b")))
PAIRS = playbook(
    pipeline("ab", "a", "b"), pipeline("ac", "a", "c"), plan("c", one(0, 12, "c")), id="pairs"
)
SHARDS = playbook(plan("abc", every(0, 12, "abc", least=2, deadline_ms=200)), policy="tolerant")
LONG_MS = 60_000.0


def to(actions: list[Any]) -> list[str]:
    return [name for name, _ in sent(Task, actions)]


def task_of(actions: list[Any]) -> Task:
    ((_, task),) = sent(Task, actions)
    return task


def wakes(gateway: LoneGateway, until: float) -> list[tuple[float, Any]]:
    """All that is done when the gateway wakes by itself, and when."""
    done = []
    while gateway.core.wake_at <= until:
        gateway.now = max(gateway.now, gateway.core.wake_at)
        done += [(gateway.now, action) for action in gateway.take(Tick())]
    gateway.now = until
    return done


def served(gateway: LoneGateway, number: int, run_ms: float = 10.0) -> str:
    """Who answers one more request."""
    ((name, task),) = sent(Task, gateway.ask(number, LONG_MS))
    assert of(Deliver, gateway.answer(name, task, trace=(StageTrace(0, name, run_ms=run_ms),)))
    return name


def at_rest(gateway: LoneGateway) -> None:
    """Nothing is left of any request."""
    core = gateway.core
    assert not core.requests
    assert core._state.flights.count == 0
    assert len(core._state.flights.doubts) == 0
    assert len(core._state.queue) == 0
    for device in core.devices.known().values():
        assert (device.outstanding, device.work_ms) == (0, 0.0)


# -- refusals


def test_who_was_overloaded_is_spared_for_a_moment_and_then_asked_as_before() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0))
    second = task_of(gateway.refuse("a", first, Why.OVERLOADED))
    gateway.now = 0.001
    assert served(gateway, 1) == "b"
    gateway.answer("b", second)
    gateway.now = 0.1
    assert [served(gateway, number) for number in range(2, 400)] == ["a"] * 398
    tasks = [task_of(gateway.ask(number, LONG_MS)) for number in range(400, 403)]
    assert [task.itinerary.route for task in tasks] == [(("a",),)] * 3, "it has room for several"
    for task in tasks:
        gateway.answer("a", task)
    at_rest(gateway)


def test_one_that_failed_once_is_turned_to_again_and_the_next_request_may_fail_as_often() -> None:
    gateway = LoneGateway(ALONE)
    for number in range(5):
        task = task_of(gateway.ask(number, LONG_MS))
        name = task.itinerary.route[0][0]
        actions = gateway.refuse(name, task, Why.RUN_FAILED)
        assert of(Reject, actions) == []
        ((other, again),) = sent(Task, actions)
        assert other != name
        assert of(Deliver, gateway.answer(other, again))
    at_rest(gateway)


def test_a_request_that_nobody_takes_waits_longer_each_time_and_is_asked_again_for_ever() -> None:
    gateway = LoneGateway(ALONE, "a")
    task, times = task_of(gateway.ask(0, LONG_MS)), []
    for _ in range(12):
        assert to(gateway.refuse("a", task, Why.OVERLOADED)) == []
        before = gateway.now
        while True:
            gateway.now = gateway.core.wake_at
            actions = gateway.take(Tick())
            if sent(Task, actions):
                break
        task = task_of(actions)
        times.append(gateway.now - before)
    assert times[0] < 0.2
    assert times[5] > 3 * times[0]
    assert max(times) < 3.0
    assert of(Deliver, gateway.answer("a", task))
    assert served(gateway, 1) == "a"
    at_rest(gateway)


def test_two_refuse_and_the_one_that_is_free_first_has_it() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0, LONG_MS))
    second = task_of(gateway.refuse("a", first, Why.OVERLOADED))
    assert to(gateway.refuse("b", second, Why.OVERLOADED)) == []
    (third,) = [action for _, action in wakes(gateway, 0.3) if action.to in "ab"][:1]
    assert of(Deliver, gateway.answer(third.to, third.message))
    assert served(gateway, 1) in "ab"
    at_rest(gateway)


# -- links


def test_a_link_that_was_full_carries_as_before_when_something_was_answered_over_it() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0, LONG_MS))
    second = task_of(gateway.take(Unsent("a", first, full=True)))
    assert gateway.core.devices.limits.links()
    assert served(gateway, 1) == "b"
    gateway.answer("b", second)
    gateway.now = 0.2
    for number in range(2, 400):
        assert served(gateway, number) == "a"
    tasks = [task_of(gateway.ask(number, LONG_MS)) for number in range(400, 403)]
    assert [task.itinerary.route for task in tasks] == [(("a",),)] * 3
    for task in tasks:
        gateway.answer("a", task)
    at_rest(gateway)


def test_what_did_not_leave_since_who_takes_it_is_gone_is_no_full_link() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0, LONG_MS))
    assert to(gateway.take(Unsent("a", task))) == ["b"]
    assert gateway.core.devices.limits.links() == []


# -- hedges and doubts


def test_a_hedge_leaves_nothing_behind_and_the_next_request_is_hedged_as_well() -> None:
    gateway = LoneGateway(ALONE, hedge_s=0.05)
    for number in range(3):
        begin = gateway.now
        first = task_of(gateway.ask(number, LONG_MS))
        gateway.now = begin + 0.0499
        assert to(gateway.take(Tick())) == []
        gateway.now = begin + 0.05
        hedge = task_of(gateway.take(Tick()))
        assert (hedge.attempt, hedge.itinerary.route) == (2, (("b",),))
        gateway.now = begin + 0.06
        assert to(gateway.take(Tick())) == [], "once"
        (winner, late) = ("b", "a") if number % 2 else ("a", "b")
        actions = gateway.answer(winner, hedge if winner == "b" else first)
        assert len(of(Deliver, actions)) == 1
        assert gateway.core._state.flights.count == 0
        assert of(Deliver, gateway.answer(late, first if late == "a" else hedge)) == []
        gateway.now = begin + 1.0
    at_rest(gateway)


def test_a_hedge_is_no_fault_of_anybody() -> None:
    gateway = LoneGateway(ALONE, hedge_s=0.05)
    first = task_of(gateway.ask(0, LONG_MS))
    gateway.now = 0.05
    gateway.take(Tick())
    gateway.answer("a", first)
    assert len(gateway.core._state.suspects) == 0
    assert gateway.core.devices["a"].slowdown == gateway.core.devices["b"].slowdown == 1.0
    assert served(gateway, 1) == "a"


def test_a_doubt_comes_later_each_time_and_is_over_with_the_answer() -> None:
    gateway = LoneGateway(ALONE, "a")
    task = task_of(gateway.ask(0, 600_000.0))
    again = [at for at, action in wakes(gateway, 100.0) if isinstance(action.message, Task)]
    assert again, "a message may have been lost"
    assert again[0] >= 0.5
    gaps = [b - a for a, b in zip([0.0, *again], again, strict=False)]
    assert gaps == sorted(gaps)
    assert len(again) < 20
    assert of(Deliver, gateway.answer("a", task)), "the first attempt is as good as the last"
    at_rest(gateway)
    for number in range(1, 60):
        served(gateway, number)
    begin = gateway.now
    gateway.ask(60, 600_000.0)
    later = [at for at, action in wakes(gateway, begin + 100.0) if isinstance(action.message, Task)]
    assert later[0] - begin < 5.0, "one that was late is forgotten by and by"


def test_who_does_other_work_meanwhile_is_waited_for() -> None:
    gateway = LoneGateway(ALONE, "ab")
    gateway.ask(0, LONG_MS)
    other = task_of(gateway.ask(1, LONG_MS))
    gateway.now = 0.4
    gateway.answer("a", other, trace=(StageTrace(0, "a", run_ms=10.0),))
    gateway.now = 0.6
    assert to(gateway.take(Tick())) == [], "it has done something since"


# -- losses


def test_who_comes_back_in_the_same_life_has_lost_nothing_and_killed_nobody() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0, LONG_MS))
    second = task_of(gateway.take(Vanished("a", "a1")))
    assert len(gateway.core._state.suspects) == 1
    gateway.take(Appeared("a", "a1"))
    assert len(gateway.core._state.suspects) == 0
    assert of(Deliver, gateway.answer("a", first))
    assert of(Deliver, gateway.answer("b", second)) == []
    gateway.installed("a", ALONE)
    assert served(gateway, 1) == "a"
    at_rest(gateway)


def test_one_refuses_while_another_is_lost_and_the_request_goes_on_when_either_is_back() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0, LONG_MS))
    second = task_of(gateway.refuse("a", first, Why.PART_MISSING))
    assert to(gateway.take(Vanished("b", "b1"))) == []
    gateway.now = 1.0
    gateway.take(Tick())
    assert to(gateway.installed("a", ALONE)) == ["a"]
    gateway.take(Appeared("b", "b1"))
    (deliver,) = of(Deliver, gateway.answer("b", second))
    assert deliver.number == 0
    at_rest(gateway)


def test_both_of_a_pair_are_lost_and_come_back_one_after_the_other() -> None:
    gateway = LoneGateway(PAIRS)
    gateway.ask(0, LONG_MS)
    ((keeper, resume),) = sent(Resume, gateway.take(Vanished("b", "b1")))
    assert (keeper, resume.itinerary.plan) == ("a", "ac")
    actions = gateway.take(Vanished("c", "c1"))
    assert sent(Task, actions) == sent(Resume, actions) == [], "nobody is left who can"
    gateway.appears("c", "c2")
    actions = gateway.installed("c", PAIRS)
    begun = [*sent(Task, actions), *sent(Resume, actions)]
    if not begun:
        begun = [(a.to, a.message) for _, a in wakes(gateway, 1.0) if isinstance(a.message, Task)]
    assert begun
    name, message = begun[-1]
    stage = len(message.itinerary.route) - 1
    assert name in "ac"
    assert of(Deliver, gateway.answer("c", message, stage=stage))
    at_rest(gateway)


def test_a_slice_comes_late_from_one_and_another_is_lost_and_the_next_is_whole() -> None:
    gateway = LoneGateway(SHARDS)
    task = sent(Task, gateway.ask(0, LONG_MS))[0][1]
    gateway.answer("a", task)
    gateway.answer("b", task)
    (deliver,) = of(Deliver, gateway.take(Vanished("c", "c1")))
    assert deliver.absent == ("c",)
    gateway.take(Appeared("c", "c1"))
    gateway.installed("c", SHARDS)
    actions = gateway.ask(1, LONG_MS)
    assert to(actions) == ["a", "b", "c"]
    task = sent(Task, actions)[0][1]
    for name in "ab":
        assert of(Deliver, gateway.answer(name, task)) == []
    (deliver,) = of(Deliver, gateway.answer("c", task))
    assert deliver.absent == ()
    at_rest(gateway)


# -- free routes


def test_who_is_to_run_the_rest_has_work_from_when_that_is_known_to_when_it_is_done() -> None:
    book = playbook(plan("free", one(0, 6, "a"), one(6, 12, "bc")), policy="free")
    gateway = LoneGateway(book)
    task = task_of(gateway.ask(0, LONG_MS))
    assert [gateway.core.devices[name].outstanding for name in "abc"] == [1, 0, 0]
    gateway.hear("a", Moved("g", "g1", 0, task.attempt, 1, (("a",), ("c",))))
    assert [gateway.core.devices[name].outstanding for name in "abc"] == [1, 0, 1]
    assert gateway.core.devices["c"].work_ms > 0
    gateway.hear("a", Moved("g", "g1", 0, task.attempt, 1, (("a",), ("b",))))
    assert gateway.core.devices["b"].outstanding == 0, "it was decided before"
    assert of(Deliver, gateway.answer("c", task, stage=1))
    at_rest(gateway)


def test_a_playbook_can_be_served_when_it_is_in_use_and_somebody_has_loaded_it() -> None:
    gateway = LoneGateway(ALONE, "")
    other = playbook(plan("c", one(0, 12, "c")), id="another")
    assert not gateway.core.servable(other)
    assert not gateway.core.servable(ALONE)
    gateway.appears("b", "b1")
    assert not gateway.core.servable(ALONE)
    gateway.installed("b", ALONE)
    assert gateway.core.servable(ALONE)
    assert not gateway.core.servable(other)
    gateway.take(Vanished("b", "b1"))
    assert not gateway.core.servable(ALONE)


# -- forgetting


def test_a_device_that_no_playbook_names_is_forgotten_though_no_request_ends() -> None:
    gateway = LoneGateway(ALONE, "abz")
    gateway.core.devices["z"].answered = 1
    gateway.take(Vanished("z", "z1"))
    gateway.take(Vanished("a", "a1"))
    wakes(gateway, 30.0)
    known = gateway.core.devices.known()
    assert "z" not in known
    assert "a" in known, "a playbook names it: it may come back"


def test_who_may_hold_something_hears_that_it_is_over_a_second_later_and_once() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0, LONG_MS))
    gateway.answer("a", task)
    told = [(at, a.to) for at, a in wakes(gateway, 30.0) if isinstance(a.message, Forget)]
    assert [name for _, name in told] == ["a"]
    assert 1.0 <= told[0][0] <= 2.0
    assert gateway.core.wake_at > 1e9, "then it sleeps"


def test_a_cancelled_request_makes_room_for_the_next_at_once() -> None:
    gateway = LoneGateway(ALONE, max_pending=1)
    gateway.ask(0, LONG_MS)
    (reject,) = of(Reject, gateway.ask(1, LONG_MS))
    assert reject.kind == "overloaded"
    gateway.take(Cancelled(0))
    assert served(gateway, 2) == "a"
    at_rest(gateway)


def test_a_device_that_lost_its_parts_is_asked_once_and_used_again_then() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0, LONG_MS))
    actions = gateway.refuse("a", first, Why.PART_MISSING)
    assert [name for name, _ in sent(Install, actions)] == ["a"]
    second = task_of(actions)
    gateway.answer("b", second)
    assert sent(Install, gateway.take(Tick())) == []
    gateway.installed("a", ALONE)
    assert served(gateway, 1) == "a"
    installs = [a for _, a in wakes(gateway, 60.0) if isinstance(a.message, Install)]
    assert installs == [], "nobody asks again who has all"

"""The gateway by itself: events in, actions out."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.core.alone import LoneGateway, of, sent
from tests.core.toys import Preferred, every, find, leaving, one, pipeline, plan, playbook

from shoal.core.actions import Deliver, Reject, Send
from shoal.core.events import Adopt, Appeared, Cancelled, Release, Submitted, Tick, Unsent, Vanished
from shoal.core.messages import (
    Forget,
    Install,
    Leave,
    Moved,
    Resume,
    StageTrace,
    Task,
    Trial,
    Uninstall,
    Why,
)
from shoal.core.policy import Choice, View
from shoal.core.shortfall import shortfall
from shoal.errors import PlanError
from shoal.plan.plan import Playbook

ALONE = playbook(plan("a", one(0, 12, "a")), plan("b", one(0, 12, "b")))
PAIRS = playbook(
    pipeline("ab", "a", "b"), pipeline("ac", "a", "c"), plan("c", one(0, 12, "c")), id="pairs"
)
SHARDS = playbook(plan("abc", every(0, 12, "abc", least=2, deadline_ms=200)), policy="tolerant")


def task_of(actions: list[Any]) -> Task:
    """The only task that is sent."""
    ((_, task),) = sent(Task, actions)
    return task


def to(actions: list[Any], kind: type[Any] = Task) -> list[str]:
    """To whom messages of a kind go."""
    return [name for name, _ in sent(kind, actions)]


# -- from the client to the client


def test_a_request_goes_to_the_first_device_of_its_plan_at_once() -> None:
    gateway = LoneGateway(PAIRS)
    (send,) = gateway.ask(0, budget_ms=800)
    assert (send.to, send.body) == ("a", "x0")
    task = send.message
    assert (task.itinerary.plan, task.stage, task.attempt, task.giver) == ("ab", 0, 1, "g")
    assert (task.itinerary.route, task.budget_ms) == ((("a",), ("b",)), pytest.approx(800))


def test_an_answer_is_delivered_once_and_its_copies_are_ignored() -> None:
    gateway = LoneGateway(PAIRS)
    task = task_of(gateway.ask(0))
    (deliver,) = of(Deliver, gateway.answer("b", task, "right", stage=1))
    assert (deliver.number, deliver.given.bodies, deliver.attempts) == (0, {"b": "right"}, 1)
    assert of(Deliver, gateway.answer("b", task, stage=1)) == []
    assert not gateway.core.requests
    assert all(d.outstanding == 0 for d in gateway.core.devices.known().values())


@pytest.mark.parametrize(
    "wrong",
    [{"incarnation": "g0"}, {"plan": "c"}, {"stage": 0}, {"stage": 7}, {"left_early": True}],
)
def test_what_does_not_answer_an_attempt_that_was_begun_is_ignored(wrong: dict[str, Any]) -> None:
    gateway = LoneGateway(PAIRS)
    task = task_of(gateway.ask(0))
    assert of(Deliver, gateway.answer("b", task, **{"stage": 1, **wrong})) == []
    assert len(of(Deliver, gateway.answer("b", task, stage=1))) == 1


@pytest.mark.parametrize(("sure", "kept"), [(0.95, 1.0), (0.9, 1.0), (0.5, None)])
def test_who_left_less_sure_than_planned_is_promised_nothing(
    sure: float, kept: float | None
) -> None:
    """By a threshold that the policy lowered: what the plan promises was not measured with that."""
    gateway = LoneGateway(playbook(plan("ab", leaving(one(0, 3, "a"), 0.9), one(3, 12, "b"))))
    task = task_of(gateway.ask(0))
    (deliver,) = of(Deliver, gateway.answer("a", task, left_early=True, confidence=sure))
    assert deliver.accuracy == kept
    assert bool(shortfall(deliver)) == (kept is None)


def test_more_than_may_be_pending_is_rejected_at_once() -> None:
    gateway = LoneGateway(ALONE, max_pending=2)
    tasks = [task_of(gateway.ask(number)) for number in (0, 1)]
    (reject,) = gateway.ask(2)
    assert isinstance(reject, Reject)
    assert (reject.number, reject.kind) == (2, "overloaded")
    gateway.answer("a", tasks[0])
    assert len(sent(Task, gateway.ask(3))) == 1


def test_numbers_count_up() -> None:
    gateway = LoneGateway(ALONE)
    gateway.ask(5)
    with pytest.raises(ValueError, match="request 5 came after 5"):
        gateway.take(Submitted(5, "x", 1000.0))


def test_only_as_many_are_in_flight_as_keep_the_devices_busy() -> None:
    gateway = LoneGateway(ALONE, "a", window_per_device=6)
    begun = [task for number in range(20) for _, task in sent(Task, gateway.ask(number))]
    assert len(begun) == 6
    actions = gateway.answer("a", begun[0])
    assert [task.number for _, task in sent(Task, actions)] == [6], "first come, first served"


def test_what_a_device_was_given_is_counted_in_images() -> None:
    gateway = LoneGateway(ALONE, "a")
    task = task_of(gateway.take(Submitted(0, "x", 1000.0, images=4)))
    one = gateway.core.devices["a"].work_ms / 4
    assert task.itinerary.images == 4
    assert one == ALONE.plans[0].run_ms(0, "a") > 0
    step = StageTrace(0, "a", run_ms=4 * one, batch=4)
    gateway.answer("a", task, trace=(step,))
    assert gateway.core.devices["a"].work_ms == 0.0
    assert gateway.core.devices["a"].slowdown == pytest.approx(1.0)


@pytest.mark.parametrize("traced", [False, True])
def test_devices_are_told_whether_a_request_is_traced(traced: bool) -> None:
    gateway = LoneGateway(ALONE, "a")
    task = task_of(gateway.take(Submitted(0, "x", 1000.0, traced=traced)))
    assert task.itinerary.traced is traced


def test_a_cancelled_request_is_forgotten_by_those_who_work_on_it() -> None:
    gateway = LoneGateway(PAIRS)
    gateway.ask(0)
    actions = gateway.take(Cancelled(0))
    assert {name for name, forget in sent(Forget, actions) if 0 in forget.numbers} == {"a", "b"}
    assert of(Reject, actions) == []
    assert gateway.take(Cancelled(0)) == []


# -- deadlines


def test_a_deadline_is_met_to_the_moment() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0, budget_ms=100))
    gateway.now = 0.0999
    assert of(Reject, gateway.take(Tick())) == []
    gateway.now = 0.1
    (reject,) = of(Reject, gateway.take(Tick()))
    assert (reject.number, reject.kind) == (0, "deadline")
    assert "100 ms" in reject.text
    assert of(Deliver, gateway.answer("a", task)) == [], "too late is not answered as well"


def test_a_request_that_nobody_could_serve_says_who_is_missing() -> None:
    gateway = LoneGateway(playbook(pipeline("abc", "a", "b", "c")), "a")
    gateway.appears("c", "c1")
    assert sent(Task, gateway.ask(0, budget_ms=100)) == []
    gateway.now = 0.1
    (reject,) = of(Reject, gateway.take(Tick()))
    assert reject.kind == "unserved"
    assert "b is not there" in reject.text
    assert "c has not loaded its parts yet" in reject.text


def test_a_request_that_waits_is_served_as_soon_as_a_device_is_ready() -> None:
    gateway = LoneGateway(ALONE, "")
    assert sent(Task, gateway.ask(0)) == []
    assert to(gateway.appears("b", "b1"), Install) == ["b"]
    assert to(gateway.installed("b", ALONE)) == ["b"]


# -- losses


def test_what_a_lost_device_had_is_given_to_a_spare_at_once() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0))
    actions = gateway.take(Vanished("a", "a1"))
    task = task_of(actions)
    assert (to(actions), task.attempt, task.itinerary.plan) == (["b"], 2, "b")
    (deliver,) = of(Deliver, gateway.answer("a", first))
    assert deliver.attempts >= 1, "a late answer to the first attempt is as good"
    assert of(Deliver, gateway.answer("b", task)) == []


def test_a_loss_ahead_resumes_from_the_tensor_that_the_device_before_keeps() -> None:
    gateway = LoneGateway(PAIRS)
    gateway.ask(0)
    actions = gateway.take(Vanished("b", "b1"))
    assert sent(Task, actions) == []
    ((name, resume),) = sent(Resume, actions)
    assert (name, resume.itinerary.plan, resume.stage, resume.attempt) == ("a", "ac", 1, 2)
    (deliver,) = of(Deliver, gateway.answer("c", resume, stage=1))
    assert deliver.attempts == 2


def test_when_the_tensor_is_not_kept_it_begins_again_from_the_input() -> None:
    gateway = LoneGateway(PAIRS)
    gateway.ask(0)
    ((_, resume),) = sent(Resume, gateway.take(Vanished("b", "b1")))
    actions = gateway.refuse("a", resume, Why.NOT_KEPT, stage=1)
    task = task_of(actions)
    assert (to(actions), task.stage, task.itinerary.plan, task.attempt) == (["a"], 0, "ac", 3)


def test_when_the_keeper_is_lost_too_it_begins_again_from_the_input() -> None:
    gateway = LoneGateway(PAIRS)
    gateway.ask(0)
    gateway.take(Vanished("b", "b1"))
    actions = gateway.take(Vanished("a", "a1"))
    assert to(actions) == ["c"]
    assert of(Send, actions)[0].body == "x0"


def test_the_loss_of_a_device_that_a_request_has_left_behind_matters_no_more() -> None:
    gateway = LoneGateway(playbook(plan("free", one(0, 6, "ab"), one(6, 12, "c")), policy="free"))
    task = task_of(gateway.ask(0))
    gateway.hear("a", Moved("g", "g1", 0, 1, 1, (("a",), ("c",))))
    assert sent(Task, gateway.take(Vanished("a", "a1"))) == []
    assert len(of(Deliver, gateway.answer("c", task, stage=1))) == 1


def test_a_device_that_restarts_is_installed_again_and_gets_no_work_before() -> None:
    gateway = LoneGateway(ALONE)
    gateway.ask(0)
    actions = gateway.appears("a", "a2")
    assert to(actions) == ["b"], "what its earlier life had is lost"
    assert to(actions, Install) == ["a"]
    assert to(gateway.ask(1)) == ["b"]
    gateway.installed("a", ALONE)
    assert to(gateway.ask(2)) == ["a"]


def test_a_device_that_does_not_say_that_it_has_installed_is_asked_again() -> None:
    gateway = LoneGateway(ALONE, "")
    gateway.appears("a", "a1")
    gateway.now = 0.5
    assert to(gateway.take(Tick()), Install) == []
    gateway.now = 1.0
    assert to(gateway.take(Tick()), Install) == ["a"]


# -- refusals


@pytest.mark.parametrize(
    "why", [Why.OVERLOADED, Why.DRAINING, Why.UNKNOWN_PLAN, Why.PART_MISSING, Why.RUN_FAILED]
)
def test_what_is_refused_goes_elsewhere_at_once(why: Why) -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0))
    actions = gateway.refuse("a", task, why)
    assert to(actions) == ["b"]
    assert gateway.refuse("a", task, why) == [], "it is an older attempt by now"


def test_a_device_that_drains_gets_no_more_work() -> None:
    gateway = LoneGateway(ALONE)
    gateway.refuse("a", task_of(gateway.ask(0)), Why.DRAINING)
    assert to(gateway.ask(1)) == ["b"]


def test_that_a_device_drains_is_not_believed_of_a_request_that_is_over() -> None:
    """It may have been said by an earlier life of it."""
    gateway = LoneGateway(ALONE, "a")
    task = task_of(gateway.ask(0))
    gateway.answer("a", task)
    gateway.refuse("a", task, Why.DRAINING)
    assert len(sent(Task, gateway.ask(1))) == 1


@pytest.mark.parametrize("why", [Why.UNKNOWN_PLAN, Why.PART_MISSING])
def test_a_device_that_lacks_the_playbook_is_asked_to_install_it_before_more_work(why: Why) -> None:
    gateway = LoneGateway(ALONE)
    actions = gateway.refuse("a", task_of(gateway.ask(0)), why)
    assert to(actions, Install) == ["a"]
    assert to(gateway.ask(1)) == ["b"]
    gateway.installed("a", ALONE)
    assert to(gateway.ask(2)) == ["a"]


def test_a_refusal_with_nobody_else_is_tried_again_after_a_pause() -> None:
    gateway = LoneGateway(ALONE, "a")
    task = task_of(gateway.ask(0))
    assert sent(Task, gateway.refuse("a", task, Why.OVERLOADED)) == []
    gateway.now = 0.2
    assert task_of(gateway.take(Tick())).attempt == 2


def test_a_request_that_fails_wherever_it_is_run_is_rejected_with_the_reason() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0))
    rejects: list[Reject] = []
    for _ in range(5):
        device = task.itinerary.route[0][0]
        actions = gateway.refuse(device, task, Why.RUN_FAILED, text="not a number")
        rejects = of(Reject, actions)
        if rejects:
            break
        if not sent(Task, actions):
            gateway.now += 0.5
            actions = gateway.take(Tick())
        task = task_of(actions)
    (reject,) = rejects
    assert (reject.kind, reject.why) == ("remote", Why.RUN_FAILED)
    assert "not a number" in reject.text
    assert task.attempt == 3


@pytest.mark.parametrize(("policy", "said"), [("broken", "no plan"), ("broken hop", "no hop")])
def test_a_policy_that_raises_fails_the_request_that_it_was_asked_about_alone(
    policy: str, said: str
) -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0))
    (book,) = gateway.core.playbooks.all()
    good, book.policy = book.policy, find(policy)
    (reject,) = of(Reject, gateway.ask(1))
    assert (reject.number, reject.kind) == (1, "policy")
    assert "'preferred' broke: ZeroDivisionError: " + said in reject.text
    assert "toys.py:" in reject.text
    assert of(Reject, gateway.refuse("a", task, Why.RUN_FAILED)), "recovery asks the policy too"
    assert not gateway.core.requests
    book.policy = good
    (deliver,) = of(Deliver, gateway.answer("a", task_of(gateway.ask(2))))
    assert deliver.number == 2
    assert not gateway.core.requests


def test_a_policy_that_raises_harms_no_attempt_under_way() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0, budget_ms=60_000))
    (book,) = gateway.core.playbooks.all()
    book.policy = find("broken")
    gateway.now = 20.0
    assert of(Reject, gateway.take(Tick())) == []  # in doubt, it is asked who else could do it
    (deliver,) = of(Deliver, gateway.answer("a", task))
    assert deliver.number == 0


@pytest.mark.parametrize("why", [Why.OVERLOADED, Why.RUN_FAILED])
def test_a_policy_that_raises_without_a_device_may_have_a_plan_with_it(why: Why) -> None:
    class Picky(Preferred):
        def choose(
            self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
        ) -> tuple[Choice | None, Any]:
            if not view.usable("a"):
                raise ZeroDivisionError("nobody")
            return super().choose(playbook, view, at, memory)

    gateway = LoneGateway(playbook(plan("a", one(0, 12, "a"))), devices="a")
    (book,) = gateway.core.playbooks.all()
    book.policy = Picky()
    task = task_of(gateway.ask(0))
    assert of(Reject, gateway.refuse("a", task, why)) == []
    gateway.now += 0.5
    assert task_of(gateway.take(Tick())).attempt == 2


def test_a_hop_whose_policy_raises_fails_the_request_and_nobody_is_blamed() -> None:
    gateway = LoneGateway(PAIRS)
    task = task_of(gateway.ask(0))
    (reject,) = of(Reject, gateway.refuse("a", task, Why.POLICY_FAILED, text="no hop"))
    assert (reject.kind, reject.text) == ("policy", "a: policy failed (no hop)")
    assert gateway.core.devices["a"].slowdown == 1.0


def test_a_device_that_only_the_hop_sees_is_not_chosen_again() -> None:
    """The hop would choose it for ever: the gateway cannot wait for whom it does not see."""
    book = playbook(plan("free", one(0, 6, "a"), one(6, 12, "bc")), policy="free")
    gateway = LoneGateway(book, devices="ac")
    task = task_of(gateway.ask(0))
    moved = Moved("g", "g1", 0, task.attempt, 1, (("a",), ("b",)))
    ((_, resume),) = sent(Resume, gateway.hear("a", moved))
    assert resume.itinerary.without == ("b",)


def test_a_hop_that_has_nobody_else_is_not_asked_again_at_once() -> None:
    book = playbook(plan("free", one(0, 6, "a"), one(6, 12, "bc")), policy="free")
    gateway = LoneGateway(book, devices="ac")
    attempt = task_of(gateway.ask(0)).attempt
    resumes = 0
    for _ in range(50):
        moved = Moved("g", "g1", 0, attempt, 1, (("a",), ("b",)))
        again = sent(Resume, gateway.hear("a", moved))
        resumes += len(again)
        attempt = again[0][1].attempt if again else attempt
    assert 1 <= resumes <= 4


def test_a_task_that_the_link_does_not_take_goes_elsewhere() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0))
    assert to(gateway.take(Unsent("a", task))) == ["b"]


# -- slices of the answer


def test_slices_are_joined_when_the_last_has_come() -> None:
    gateway = LoneGateway(SHARDS)
    actions = gateway.ask(0)
    assert to(actions) == ["a", "b", "c"]
    task = sent(Task, actions)[0][1]
    assert of(Deliver, gateway.answer("a", task)) == []
    assert of(Deliver, gateway.answer("c", task)) == []
    (deliver,) = of(Deliver, gateway.answer("b", task))
    assert sorted(deliver.given.bodies) == ["a", "b", "c"]
    assert deliver.absent == ()


def test_a_slice_that_is_late_is_left_out_at_its_deadline_and_named() -> None:
    gateway = LoneGateway(SHARDS)
    task = sent(Task, gateway.ask(0))[0][1]
    gateway.answer("a", task)
    gateway.answer("c", task)
    gateway.now = 0.2
    (deliver,) = of(Deliver, gateway.take(Tick()))
    assert deliver.absent == ("b",)


def missing_b(gateway: LoneGateway, number: int) -> None:
    """A request of which the slice of b does not come, if it is asked."""
    asked = gateway.ask(number)
    task = sent(Task, asked)[0][1]
    assert to(asked) == ["a", "b", "c"]
    gateway.answer("a", task)
    gateway.answer("c", task)
    gateway.now += 0.2
    (deliver,) = of(Deliver, gateway.take(Tick()))
    assert deliver.absent == ("b",)


def test_who_was_silent_is_asked_again_ever_more_seldom_until_it_answers() -> None:
    gateway = LoneGateway(SHARDS)
    number = 0
    for pause_s in (0.25, 0.5, 1.0):
        missing_b(gateway, number)
        gateway.now += 0.9 * pause_s
        asked = gateway.ask(number + 1)
        assert to(asked) == ["a", "c"]
        task = sent(Task, asked)[0][1]
        gateway.answer("a", task)
        assert of(Deliver, gateway.answer("c", task)) != [], "nobody waits for b"
        gateway.now += 0.2 * pause_s
        number += 2
    asked = gateway.ask(number)
    assert to(asked) == ["a", "b", "c"]
    for name in "abc":
        gateway.answer(name, sent(Task, asked)[0][1], trace=(StageTrace(0, name),))
    missing_b(gateway, number + 1)
    gateway.now += 0.3
    assert to(gateway.ask(number + 2)) == ["a", "b", "c"], "it begins anew"


def test_the_gateway_joins_slices_as_they_arrive_elsewhere() -> None:
    """Its own, where it runs the last stage as well, too."""
    for codec, wanted in (("quant:8", "quant:8"), ("lossless", "raw")):
        stage = replace(every(0, 12, "abc", least=2, deadline_ms=200), codec=codec)
        gateway = LoneGateway(playbook(plan("abc", stage), policy="tolerant"))
        asked = sent(Task, gateway.ask(0))
        gateway.answer("a", asked[0][1])
        gateway.answer("b", asked[1][1])
        (deliver,) = of(Deliver, gateway.answer("c", asked[2][1]))
        assert deliver.given.codec == wanted


def test_who_refuses_is_not_silent() -> None:
    gateway = LoneGateway(SHARDS)
    task = sent(Task, gateway.ask(0))[0][1]
    gateway.refuse("b", task, Why.RUN_FAILED)
    gateway.answer("a", task)
    (deliver,) = of(Deliver, gateway.answer("c", task, absent=("b",)))
    assert deliver.absent == ("b",)
    assert to(gateway.ask(1)) == ["a", "b", "c"]


def test_another_is_asked_before_one_that_is_silent_too() -> None:
    gateway = LoneGateway(playbook(*(plan(name, one(0, 12, name)) for name in "abc")))
    assert to(gateway.ask(0, budget_ms=60_000)) == ["a"]
    while not (asked := to(gateway.take(Tick()))):
        gateway.now += 0.1
        gateway.core._state.devices.silences.missed("b", gateway.now)
    assert asked == ["c"]


def test_who_is_silent_is_asked_where_there_is_nobody_else() -> None:
    gateway = LoneGateway(ALONE)
    assert to(gateway.ask(0, budget_ms=60_000)) == ["a"]
    while not (asked := to(gateway.take(Tick()))):
        gateway.now += 0.1
        gateway.core._state.devices.silences.missed("b", gateway.now)
    assert asked == ["b"]


def test_the_more_is_under_way_the_longer_a_slice_is_waited_for() -> None:
    gateway = LoneGateway(SHARDS)
    gateway.ask(0)
    task = sent(Task, gateway.ask(1))[0][1]
    gateway.answer("a", task)
    gateway.answer("c", task)
    gateway.now = 0.3
    assert of(Deliver, gateway.take(Tick())) == []
    gateway.now = 0.4
    (deliver,) = of(Deliver, gateway.take(Tick()))
    assert deliver.absent == ("b",)


def test_a_giver_that_is_lost_is_waited_for_no_more() -> None:
    gateway = LoneGateway(SHARDS)
    task = sent(Task, gateway.ask(0))[0][1]
    gateway.answer("a", task)
    gateway.answer("c", task)
    (deliver,) = of(Deliver, gateway.take(Vanished("b", "b1")))
    assert deliver.absent == ("b",)


# -- doubts and hedging


def test_an_attempt_that_takes_too_long_is_given_to_others_though_nobody_seems_lost() -> None:
    gateway = LoneGateway(ALONE)
    gateway.ask(0, budget_ms=10_000)
    gateway.now = 0.1
    assert sent(Task, gateway.take(Tick())) == [], "no hedging unless asked for"
    gateway.now = 5.0
    assert to(gateway.take(Tick())) == ["b"]


def test_with_hedging_a_second_attempt_is_begun_and_the_first_answer_counts() -> None:
    gateway = LoneGateway(ALONE, hedge_s=0.05)
    first = task_of(gateway.ask(0))
    gateway.now = 0.049
    assert sent(Task, gateway.take(Tick())) == []
    gateway.now = 0.05
    actions = gateway.take(Tick())
    assert to(actions) == ["b"]
    assert len(of(Deliver, gateway.answer("a", first))) == 1
    assert of(Deliver, gateway.answer("b", task_of(actions))) == []


# -- several playbooks


NEWER = playbook(plan("c", one(0, 12, "c")), id="newer")


def test_a_newer_playbook_is_used_when_it_is_installed_and_the_older_then_let_go() -> None:
    gateway = LoneGateway(ALONE)
    older = task_of(gateway.ask(0))
    assert to(gateway.take(Adopt(NEWER)), Install) == ["c"]
    assert gateway.core.unready(NEWER) == {"c": "has not loaded its parts yet"}
    assert task_of(gateway.ask(1)).itinerary.playbook == "book"
    actions = gateway.installed("c", NEWER)
    assert to(actions, Uninstall) == [], "requests still follow it"
    assert task_of(gateway.ask(2)).itinerary.playbook == "newer"
    gateway.answer("a", older)
    actions = gateway.take(Cancelled(1))
    assert sorted(to(actions, Uninstall)) == ["a", "b"]
    assert [book.id for book in gateway.core.playbooks.all()] == ["newer"]


def test_a_request_of_the_older_playbook_is_answered_after_the_newer_is_used() -> None:
    gateway = LoneGateway(ALONE)
    task = task_of(gateway.ask(0))
    gateway.take(Adopt(NEWER))
    gateway.installed("c", NEWER)
    assert len(of(Deliver, gateway.answer("a", task))) == 1


def test_a_playbook_of_another_network_is_not_adopted() -> None:
    gateway = LoneGateway(ALONE)
    with pytest.raises(PlanError, match="open another gateway"):
        gateway.core.playbooks.check(replace(NEWER, network="another"))


def test_a_plan_whose_part_a_device_refused_is_not_taken() -> None:
    gateway = LoneGateway(ALONE, "b")
    gateway.appears("a", "a1")
    gateway.installed("a", ALONE, **{"0-12": "no room"})
    assert to(gateway.ask(0)) == ["b"]


def test_a_gateway_that_leaves_tells_all_devices() -> None:
    gateway = LoneGateway(ALONE)
    assert to(gateway.take(Release()), Uninstall) == ["a", "b"]


def test_the_end_of_an_earlier_life_of_a_device_is_old_news() -> None:
    gateway = LoneGateway(ALONE)
    gateway.take(Appeared("a", "a2"))
    gateway.installed("a", ALONE)
    gateway.ask(0)
    assert gateway.take(Vanished("a", "a1")) == []


# -- memory


def test_who_has_too_little_memory_for_a_request_is_done_without() -> None:
    gateway = LoneGateway(ALONE)
    first = task_of(gateway.ask(0))
    actions = gateway.refuse("a", first, Why.TOO_LARGE, text="send at most 3")
    second = task_of(actions)
    assert to(actions) == ["b"]
    assert gateway.core.devices["a"].slowdown == 1.0, "it is as good as ever for others"
    (reject,) = of(Reject, gateway.refuse("b", second, Why.TOO_LARGE, text="send at most 5"))
    assert (reject.number, reject.kind, reject.why) == (0, "remote", Why.TOO_LARGE)
    assert "b: too large (send at most 5)" in reject.text
    assert not gateway.core.requests


def test_a_part_that_is_too_large_for_a_device_says_nothing_of_a_smaller_one() -> None:
    book = playbook(plan("a", one(0, 12, "a")), pipeline("ab", "a", "b"))
    gateway = LoneGateway(book)
    first = task_of(gateway.ask(0))
    assert first.itinerary.plan == "a"
    second = task_of(gateway.refuse("a", first, Why.TOO_LARGE))
    assert (second.itinerary.plan, second.itinerary.route) == ("ab", (("a",), ("b",)))


def test_a_request_waits_for_who_has_the_memory_if_somebody_may() -> None:
    gateway = LoneGateway(ALONE, "a")
    first = task_of(gateway.ask(0))
    assert of(Reject, gateway.refuse("a", first, Why.TOO_LARGE)) == []
    for gateway.now in (0.1, 0.2, 0.3):
        assert sent(Task, gateway.take(Tick())) == [], "not given to who refused it for good"
    gateway.appears("b", "b1")
    actions = gateway.installed("b", ALONE)
    gateway.now = 0.4
    actions += gateway.take(Tick())
    assert to(actions) == ["b"]


@pytest.mark.parametrize(("least", "goes_on"), [(2, True), (3, False)])
def test_slices_do_without_one_who_has_too_little_memory_where_they_may(
    least: int, goes_on: bool
) -> None:
    book = playbook(
        plan("abc", every(0, 12, "abc", least=least, deadline_ms=200)), plan("b", one(0, 12, "b"))
    )
    gateway = LoneGateway(book)
    task = sent(Task, gateway.ask(0))[0][1]
    actions = gateway.refuse("a", task, Why.TOO_LARGE)
    assert to(actions) == ([] if goes_on else ["b"])
    if goes_on:
        gateway.answer("b", task)
        (deliver,) = of(Deliver, gateway.answer("c", task))
        assert deliver.absent == ("a",)


def test_a_late_refusal_does_not_hide_that_a_device_died_of_a_newer_attempt() -> None:
    gateway = LoneGateway(playbook(plan("a", one(0, 12, "a"))), "a")
    ((_, first),) = sent(Task, gateway.ask(0, budget_ms=30_000))
    again = []
    while not again:
        gateway.now = gateway.core.wake_at
        again = sent(Task, gateway.take(Tick()))
        assert gateway.now < 30.0, "it is asked again before its deadline"
    ((name, second),) = again
    assert second.attempt > first.attempt
    gateway.refuse(name, first, Why.OVERLOADED)
    assert name in gateway.core.requests[0].lives


def test_a_joiner_that_others_do_not_see_is_done_without_though_it_refused_before_them() -> None:
    """It was asked again until the deadline: that it had too few slices ended each attempt, and
    who could not give it theirs was not heard any more."""
    stages = every(0, 6, "abc", least=2), one(6, 12, "abc")
    gateway = LoneGateway(playbook(plan("abc", *stages), policy="tolerant"))
    task = sent(Task, gateway.ask(0))[0][1]
    ((joiner,),) = task.itinerary.route[1:]
    while tasks := sent(Task, gateway.refuse(joiner, task, Why.TOO_FEW_SLICES, stage=1)):
        task = tasks[0][1]
        assert task.itinerary.route[1] == (joiner,)
    for giver in {*"abc"} - {joiner}:
        gateway.refuse(giver, task, Why.PEER_ABSENT, stage=1, absent=(joiner,))
    gateway.now = gateway.core.wake_at
    task = sent(Task, gateway.take(Tick()))[0][1]
    assert joiner not in task.itinerary.route[1]


def test_who_asks_before_it_is_known_that_it_was_given_the_request_is_told_when_it_is_over() -> (
    None
):
    """On a free route the news of the hop may be late, or lost."""
    gateway = LoneGateway(playbook(plan("p", one(0, 6, "a"), one(6, 12, "bc")), policy="free"))
    task = task_of(gateway.ask(0))
    ((_, leave),) = sent(Leave, gateway.hear("b", Trial("g", "g1", 0, task.attempt, 1)))
    assert leave.run
    cancelled = to(gateway.take(Cancelled(0)), Forget)
    gateway.now = 2.0
    assert "b" in cancelled or "b" in to(gateway.take(Tick()), Forget)

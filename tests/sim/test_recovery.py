"""Stories of faults: what a client gets when devices die, freeze, restart or are cut off."""

import itertools
from collections import Counter

import pytest
from tests.core.toys import Story, devices, every, leaving, one, pipeline, plan, playbook

from shoal.core.actions import Deliver, Reject
from shoal.core.messages import Task
from shoal.sim.engine import Symbols

SPARED = (
    pipeline("abc", "a", "b", "c"),
    pipeline("ab", "a", "b"),
    pipeline("ac", "a", "c"),
    pipeline("bc", "b", "c"),
    plan("alone", one(0, 12, "abc")),
)


def test_without_faults_requests_are_answered_in_order_by_the_first_plan() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(30)
    answers = story.answers()
    assert {answer.plan for answer in answers} == {"abc"}
    assert {answer.attempts for answer in answers} == {1}
    assert devices(answers[0]) == ["a", "b", "c"]
    ends = [reply.at for reply in story.replies()]
    assert ends == sorted(ends)
    apart = [b - a for a, b in itertools.pairwise(ends[10:])]
    assert max(apart) < 0.0105, "a pipeline gives an answer each time that its slowest stage ends"


def test_what_a_killed_worker_had_is_answered_at_once_on_a_spare_plan() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(30)
    story.world.run(0.05)
    story.world.kill("b")
    killed = story.world.now
    answers = story.answers()
    spared = [k for k, answer in enumerate(answers) if answer.attempts > 1]
    assert spared
    assert {answers[k].plan for k in spared} == {"ac"}
    assert story.replies()[spared[0]].at - killed < 0.050


def test_what_a_frozen_worker_had_is_answered_when_its_lease_is_over() -> None:
    story = Story("abc", playbook(*SPARED), lease_s=0.4)
    story.ask(5)
    story.world.run(0.015)
    story.world.freeze("b")
    frozen = story.world.now
    answers = story.answers()
    late = [r.at - frozen for r in story.replies() if r.what.attempts > 1]  # type: ignore[union-attr]
    assert late
    assert 0.4 < min(late) < max(late) < 0.6
    assert "b" not in devices(answers[-1])


def test_a_worker_that_thaws_is_used_again_and_its_late_answers_are_not_given_twice() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(5)
    story.world.run(0.035)
    story.world.freeze("c")
    story.answers()
    story.world.thaw("c")
    assert story.world.run_until(story.ready)
    story.ask(3)
    assert story.answers()[-1].plan == "abc"
    story.world.run(5)
    assert len(story.replies()) == 8
    assert story.left_behind() == {}


def test_a_worker_that_restarts_under_its_name_is_installed_and_used_again() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(5)
    story.world.run(0.03)
    story.world.kill("b")
    story.answers()
    story.world.run(3)
    story.world.restart("b")
    assert story.world.run_until(story.ready)
    story.ask(3)
    assert story.answers()[-1].plan == "abc"


def test_a_restart_that_is_noticed_before_the_loss_is_a_loss_all_the_same() -> None:
    story = Story("abc", playbook(*SPARED), notice_s=1.0, discover_s=0.001)
    story.ask(5)
    story.world.run(0.03)
    story.world.restart("b")
    answers = story.answers(limit_s=0.5)
    assert "ac" in {answer.plan for answer in answers if answer.attempts > 1}


def test_a_request_goes_on_from_the_tensor_that_the_device_before_kept() -> None:
    ran: list[tuple[str, str]] = []

    def run_ms(device: str, part: str, batch: int) -> float:
        ran.append((device, part))
        return 10.0

    book = playbook(
        plan("ab", one(0, 6, "a"), one(6, 12, "b")),
        plan("ac", one(0, 6, "a"), one(6, 12, "c")),
    )
    story = Story("abc", book, engine=Symbols(run_ms=run_ms))
    story.ask(1)
    story.world.run(0.015)
    story.world.kill("b")
    (answer,) = story.answers()
    assert answer.plan == "ac"
    assert devices(answer) == ["a", "c"]
    assert ran == [("a", "0-6"), ("b", "6-12"), ("c", "6-12")]


def test_a_request_whose_device_is_lost_ahead_of_it_is_redirected_while_it_waits() -> None:
    ran: list[tuple[str, str]] = []

    def run_ms(device: str, part: str, batch: int) -> float:
        ran.append((device, part))
        return 50.0

    book = playbook(
        plan("ab", one(0, 6, "a"), one(6, 12, "b")),
        plan("ac", one(0, 6, "a"), one(6, 12, "c")),
    )
    story = Story("abc", book, engine=Symbols(run_ms=run_ms))
    story.ask(3)
    story.world.run(0.01)
    story.world.kill("b")
    assert {answer.plan for answer in story.answers()} == {"ac"}
    assert sorted(ran) == [("a", "0-6")] * 3 + [("c", "6-12")] * 3


def test_a_request_begins_again_when_the_tensor_is_no_longer_kept() -> None:
    book = playbook(
        plan("ab", one(0, 6, "a"), one(6, 12, "b")),
        plan("ac", one(0, 6, "a"), one(6, 12, "c")),
    )
    story = Story("abc", book)
    story.world.nodes["a"].worker.kept._limit_bytes = 0
    story.ask(1)
    story.world.run(0.015)
    story.world.kill("b")
    (answer,) = story.answers()
    assert (answer.plan, answer.attempts) == ("ac", 3)


def test_when_the_keeper_dies_too_the_request_begins_again_from_its_input() -> None:
    book = playbook(
        plan("ab", one(0, 6, "a"), one(6, 12, "b")),
        plan("ac", one(0, 6, "a"), one(6, 12, "c")),
        plan("c", one(0, 12, "c")),
    )
    story = Story("abc", book)
    story.ask(1)
    story.world.run(0.015)
    story.world.kill("a")
    story.world.kill("b")
    (answer,) = story.answers(limit_s=0.1)
    assert answer.plan == "c"


def test_a_link_cut_between_two_workers_is_found_though_the_gateway_sees_both() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(5)
    story.world.run(0.02)
    story.world.cut("a", "b")
    cut = story.world.now
    answers = story.answers()
    assert max(reply.at for reply in story.replies()) - cut < 0.6
    assert answers[-1].plan != "abc"


def test_a_link_cut_one_way_is_found_by_the_time_an_answer_should_have_come() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(20)
    story.answers()
    story.world.cut("a", "b", both=False)
    story.ask(1)
    answer = story.answers(limit_s=8.0)[-1]
    assert answer.plan != "abc"


def test_a_request_nobody_can_serve_waits_for_a_device_until_its_deadline() -> None:
    story = Story("ab", playbook(pipeline("ab", "a", "b")))
    story.world.kill("b")
    story.world.run(0.1)
    story.ask(1, budget_ms=3000)
    story.world.run(1.0)
    story.world.restart("b")
    assert story.answers()[0].attempts == 1


def test_a_request_nobody_can_serve_fails_at_its_deadline_and_says_who_is_missing() -> None:
    story = Story("ab", playbook(pipeline("ab", "a", "b")))
    story.world.kill("b")
    story.world.run(0.1)
    story.ask(1, budget_ms=700)
    asked = story.world.now
    (reject,) = story.rejects()
    assert reject.kind == "unserved"
    assert "b is not there" in reject.text
    assert story.replies()[0].at == pytest.approx(asked + 0.7)


def test_a_deadline_that_passes_on_the_way_is_met_to_the_moment() -> None:
    story = Story("a", playbook(plan("a", one(0, 12, "a"))), engine=Symbols(run_ms=lambda *_: 500))
    story.ask(1, budget_ms=100)
    asked = story.world.now
    (reject,) = story.rejects()
    assert reject.kind == "deadline"
    assert "100 ms" in reject.text
    assert story.replies()[0].at == pytest.approx(asked + 0.1)
    story.world.run(3)
    assert story.left_behind() == {}


def test_early_exits_and_the_rest_of_the_way_are_both_answers() -> None:
    sure = {"x0": 0.95, "x1": 0.2}

    def confidence(part: str, made: tuple[object, ...]) -> float:
        return sure[str(made[1])]

    book = playbook(plan("ab", leaving(one(0, 6, "a")), one(6, 12, "b")))
    story = Story("ab", book, engine=Symbols(confidence=confidence))
    story.ask(2)
    early, late = story.answers()
    assert (early.left_early, early.confidence, devices(early)) == (True, 0.95, ["a"])
    assert (late.left_early, devices(late)) == (False, ["a", "b"])


@pytest.mark.parametrize("op", ["channels", "sum"])
def test_shards_are_gathered_by_a_worker_and_by_the_gateway(op: str) -> None:
    book = playbook(plan("abc", every(0, 6, "abc", op), one(6, 9, "a"), every(9, 12, "abc", op)))
    story = Story("abc", book)
    story.ask(3)
    for answer in story.answers():
        assert answer.absent == ()
        assert answer.given.join is not None
        assert answer.given.join.op == op
        assert len(answer.given.bodies) == 3
        assert len(answer.trace) == 7


def test_a_shard_that_dies_is_left_out_at_once_and_named() -> None:
    book = playbook(plan("abcd", every(0, 12, "abcd", deadline_ms=1000)))
    story = Story("abcd", book)
    story.world.slow("c", 5)
    story.ask(1)
    story.world.run(0.02)
    story.world.kill("c")
    killed = story.world.now
    (answer,) = story.answers()
    assert answer.absent == ("c",)
    assert story.replies()[0].at - killed < 0.01


def test_a_slow_shard_is_left_out_at_the_deadline_and_waited_for_no_more() -> None:
    steps = [every(4 * k, 4 * k + 4, "abcd", deadline_ms=100) for k in range(3)]
    story = Story("abcd", playbook(plan("abcd", *steps)))
    story.world.slow("c", 1000)
    story.ask(1)
    asked = story.world.now
    (answer,) = story.answers()
    assert answer.absent == ("c",)
    assert story.replies()[0].at - asked < 0.15, "one deadline, not one for each stage"


def test_with_too_few_shards_the_request_goes_another_way() -> None:
    book = playbook(
        plan("abcd", every(0, 12, "abcd", least=4, deadline_ms=100)), plan("a", one(0, 12, "a"))
    )
    story = Story("abcd", book)
    story.world.slow("c", 1000)
    story.ask(1)
    (answer,) = story.answers()
    assert (answer.plan, answer.absent) == ("a", ())


def test_with_too_few_shards_alive_the_request_goes_another_way_at_once() -> None:
    book = playbook(
        plan("abcd", every(0, 12, "abcd", least=4, deadline_ms=1000)), plan("a", one(0, 12, "a"))
    )
    story = Story("abcd", book, engine=Symbols(run_ms=lambda *_: 50))
    story.ask(1)
    story.world.run(0.02)
    story.world.kill("c")
    killed = story.world.now
    (answer,) = story.answers()
    assert answer.plan == "a"
    assert story.replies()[0].at - killed < 0.12


FREE = plan("free", one(0, 4, "ab"), one(4, 8, "cd"), one(8, 12, "ef"))


def test_a_free_route_is_decided_hop_by_hop() -> None:
    story = Story("abcdef", playbook(FREE, policy="free"))
    story.ask(20)
    answers = story.answers()
    assert {name for answer in answers for name in devices(answer)} == set("abcdef")


def test_hops_that_decide_hear_how_busy_those_are_whom_they_choose_from() -> None:
    """Twenty requests at once: no holder of a stage gets more than two thirds of them."""
    story = Story("abcdef", playbook(FREE, policy="free"), engine=Symbols(run_ms=lambda *_: 50))
    story.ask(20)
    used = Counter(name for answer in story.answers() for name in devices(answer))
    assert used.total() == 60
    assert max(used.values()) <= 14


def test_on_a_free_route_the_request_goes_on_from_the_keeper_when_the_holder_is_lost() -> None:
    story = Story("abcdef", playbook(FREE, policy="free"), engine=Symbols(run_ms=lambda *_: 50))
    story.ask(1)
    story.world.run(0.07)
    (holder,) = [name for name in "cd" if story.world.nodes[name].worker.inbox.jobs]
    story.world.kill(holder)
    (answer,) = story.answers()
    assert answer.attempts == 2
    assert holder not in devices(answer)
    assert story.replies()[0].at < 0.3


def test_shards_on_a_free_route_all_give_to_the_same_taker() -> None:
    book = playbook(
        plan("free", one(0, 3, "ab"), every(3, 9, "abcd"), one(9, 12, "abcd")), policy="free"
    )
    story = Story("abcd", book)
    story.ask(12)
    for answer in story.answers():
        assert answer.absent == ()
        assert answer.attempts == 1


def test_nothing_is_kept_anywhere_when_all_is_over() -> None:
    story = Story("abc", playbook(*SPARED))
    story.ask(10)
    story.world.run(0.03)
    story.world.kill("b")
    story.answers()
    story.world.restart("b")
    story.world.run(10)
    assert story.left_behind() == {}


def test_the_same_calls_give_the_same_run() -> None:
    def run() -> list[tuple[float, object]]:
        story = Story("abc", playbook(*SPARED))
        story.ask(20)
        story.world.run(0.05)
        story.world.kill("b")
        story.answers()
        return [(reply.at, reply.what) for reply in story.replies()]

    assert run() == run()


def test_a_lost_task_is_sent_again_when_nobody_else_can_run_it() -> None:
    story = Story("a", playbook(plan("a", one(0, 12, "a"))))
    story.ask(5)
    story.answers()
    lost = iter([()])
    story.world.tamper = lambda giver, taker, message: (
        next(lost, (0.0,)) if isinstance(message, Task) else (0.0,)
    )
    story.ask(1)
    answer = story.answers()[-1]
    assert answer.attempts == 2


def test_every_reply_is_one_or_the_other() -> None:
    story = Story("a", playbook(plan("a", one(0, 12, "a"))), gateway={"max_pending": 5})
    story.ask(8)
    story.end()
    kinds = [type(reply.what) for reply in story.replies()]
    assert kinds == [Deliver] * 5 + [Reject] * 3
    assert story.replies()[-1].what.kind == "overloaded"  # type: ignore[union-attr]


# -- a device that becomes slow


def test_a_pipeline_goes_round_a_device_that_has_become_slow_and_comes_back_to_it() -> None:
    line = plan("line", one(0, 6, "a"), one(6, 12, "b"))
    book = playbook(line, plan("spare", one(0, 12, "c"), run_ms=20.0), policy="the preferred")
    story = Story(
        "abc", book, engine=Symbols(run_ms=lambda _, part, n: 20.0 if part == "0-12" else 10.0)
    )

    def plans(count: int) -> Counter[str]:
        story.ask(count)
        return Counter(answer.plan for answer in story.answers()[-count:])

    assert plans(30) == {"line": 30}
    story.world.slow("b", 10.0)
    plans(40)
    round_it = plans(100)
    assert round_it["spare"] >= 90
    assert round_it["line"] >= 3, "it is tried now and then"
    story.world.slow("b", 1.0)
    for _ in range(8):
        plans(100)
    assert plans(100)["line"] == 100

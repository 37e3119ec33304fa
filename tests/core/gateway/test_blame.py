import pytest
from tests.core.alone import LoneGateway, sent
from tests.core.toys import every, one, pipeline, plan, playbook

from shoal.core.gateway.blame import (
    blame,
    doubted,
    givers,
    needed,
    source_before,
    stuck_at,
)
from shoal.core.gateway.request import KeptSource, Request
from shoal.core.messages import Refused, Route, Task, Why
from shoal.core.shared.gather import Gather
from shoal.plan.plan import Plan

ABC = pipeline("abc", "a", "b", "c")
ROUTE = (("a",), ("b",), ("c",))
SHARDS = plan("p", one(0, 3, "a"), every(3, 6, "abcd", least=3), one(6, 9, "e"))
SHARDS_ROUTE = (("a",), ("a", "b", "c", "d"), ("e",))


def request(made: Plan = ABC, route: Route = ROUTE, start: int = 0, reached: int = 0) -> Request:
    request = Request(0, None, 0.0, 10.0)
    request.begin("book", made, start, 0.0)
    request.route, request.reached = route, max(start, reached)
    return request


def refused(why: Why, stage: int, *absent: str) -> Refused:
    return Refused("g", "g#1", 0, 1, stage, why, absent=absent)


@pytest.mark.parametrize(("out", "stage"), [("a", 0), ("b", 1), ("c", 2), ("x", None), ("", None)])
def test_an_attempt_is_stuck_at_the_first_stage_that_nobody_runs_any_more(
    out: str, stage: int | None
) -> None:
    attempt = request()
    attempt.out.update(out)
    assert stuck_at(attempt) == stage


def test_what_is_behind_a_request_does_not_hold_it_up() -> None:
    attempt = request(reached=2)
    attempt.out.update("ab")
    assert stuck_at(attempt) is None


def test_shards_are_stuck_only_when_too_few_are_left() -> None:
    attempt = request(SHARDS, SHARDS_ROUTE, reached=1)
    attempt.out.add("b")
    assert stuck_at(attempt) is None
    attempt.out.add("c")
    assert stuck_at(attempt) == 1


def test_a_slice_that_came_counts_though_its_giver_is_gone() -> None:
    made = plan("p", every(0, 12, "abc", least=2))
    attempt = request(made, (("a", "b", "c"),))
    attempt.gather = Gather({"b", "c"}, made.stages[0].join, bodies={"a": None})
    attempt.out.update("ab")
    assert stuck_at(attempt) is None
    attempt.out.add("c")
    assert stuck_at(attempt) == 0


def test_a_resume_is_stuck_without_who_keeps_the_tensors() -> None:
    attempt = request(start=1)
    attempt.source = KeptSource("x", ("t4",))
    attempt.out.add("x")
    assert stuck_at(attempt) == 1
    attempt.reached = 2
    assert stuck_at(attempt) is None


def test_tensors_are_sought_backwards_at_those_who_made_them_whole() -> None:
    attempt = request()
    assert source_before(attempt, 2, lambda name: True) == KeptSource("b", ("t8",))
    assert source_before(attempt, 2, lambda name: name != "b") == KeptSource("a", ("t4",))
    assert source_before(attempt, 0, lambda name: True) is None
    shards = request(SHARDS, SHARDS_ROUTE)
    assert source_before(shards, 2, lambda name: True) == KeptSource("a", ("t3",))


def test_an_attempt_that_was_resumed_can_be_resumed_again() -> None:
    attempt = request(start=1)
    attempt.source = KeptSource("x", ("t4",))
    assert source_before(attempt, 1, lambda name: True) == KeptSource("x", ("t4",))
    assert source_before(attempt, 1, lambda name: name != "x") is None


def test_who_refuses_is_to_blame() -> None:
    verdict = blame(request(), "b", refused(Why.OVERLOADED, 1))
    assert verdict == (("b",), ("b",), False)


def test_who_cannot_be_reached_is_to_blame_or_else_who_cannot_reach_it() -> None:
    verdict = blame(request(), "a", refused(Why.PEER_ABSENT, 1, "b"))
    assert verdict == (("b",), ("b", "a"), False)


def test_on_a_free_route_who_finds_nobody_ends_the_attempt() -> None:
    verdict = blame(request(route=()), "a", refused(Why.PEER_ABSENT, 1))
    assert verdict == ((), ("a",), True)


def test_a_shard_that_cannot_give_is_out_itself() -> None:
    attempt = request(SHARDS, SHARDS_ROUTE)
    verdict = blame(attempt, "b", refused(Why.PEER_ABSENT, 2, "e"))
    assert verdict == (("b",), ("e",), False)


def test_for_too_few_slices_those_are_to_blame_that_were_asked_for_them() -> None:
    attempt = request(SHARDS, (("a",), ("a", "b", "c"), ("e",)))
    verdict = blame(attempt, "e", refused(Why.TOO_FEW_SLICES, 2, "b", "c", "d"))
    assert verdict == (("e",), ("b", "c"), False)


def test_nobody_is_to_blame_for_what_was_not_kept() -> None:
    assert blame(request(), "a", refused(Why.NOT_KEPT, 1)) == ((), (), True)


def test_those_are_doubted_who_have_not_done_their_part() -> None:
    attempt = request(reached=1)
    assert doubted(attempt) == ["b", "c"]
    assert givers(attempt) == ("a",)
    resumed = request(start=1)
    resumed.source = KeptSource("x", ("t4",))
    assert doubted(resumed) == ["x", "b", "c"]
    assert givers(resumed) == ()


def test_who_alone_runs_a_stage_is_needed_and_one_of_many_only_where_all_of_them_are() -> None:
    assert needed(request(reached=1)) == ["b", "c"]
    assert needed(request(SHARDS, SHARDS_ROUTE, reached=1)) == ["e"]
    assert needed(request(SHARDS, (("a",), ("a", "b", "c"), ("e",)), reached=1)) == list("abce")
    free = request(plan("p", every(0, 12, "abc", least=2)), (("a", "b", "c"),))
    assert needed(free) == ["a", "b", "c"], "one of them it is, and nobody knows which"
    resumed = request(SHARDS, SHARDS_ROUTE, start=1)
    resumed.source = KeptSource("x", ("t4",))
    assert needed(resumed) == ["x", "e"]


@pytest.mark.parametrize("why", list(Why))
@pytest.mark.parametrize("stage", [-1 << 62, -1, 3, 1 << 62])
@pytest.mark.parametrize("absent", [(), ("b", "z")])
def test_a_refusal_of_a_stage_that_is_not_there_harms_nobody(
    why: Why, stage: int, absent: tuple[str, ...]
) -> None:
    gateway = LoneGateway(playbook(ABC))
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.refuse("a", task, why, stage, absent=absent)
    assert "z" not in gateway.core.devices.known()
    assert not any("z" in link for link in gateway.core.devices.limits.links())


def test_a_stranger_can_name_no_end_of_links() -> None:
    gateway = LoneGateway(playbook(ABC))
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.refuse("a", task, Why.LINK_FULL, 1, absent=("b", *map(str, range(100))))
    assert gateway.core.devices.limits.links() == [("a", "b")]

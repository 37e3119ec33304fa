"""Chaos without a lab: which faults a seed gives, and what is held against Shoal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import UsageError
from shoal.observe.load_generator import Failure, Record
from shoal_lab.chaos import verdict
from shoal_lab.chaos.job import Account
from shoal_lab.chaos.scene import DEADLINE_MS, PACE, scene, suitable_kinds
from shoal_lab.chaos.verdict import NEEDED_S, Span
from shoal_lab.faults import ClockJump, Cut, Fault, Freeze, Kill, Lossy, Restart, Slow
from shoal_lab.file import parse_lab
from shoal_lab.machine import Machine
from shoal_lab.network import network
from shoal_lab.player import Happening

ALL = Machine(cores=8, netem=True, tun=True, compiler="cc")
STAR = network(parse_lab("{hosts: {gate: {}, a: {}, b: {}}, topology: star}"))
WHERE = (STAR, "gate", ("a", "b"))


def record(asked_s: float, answered_s: float, *devices: str, **more: bool) -> Record:
    return Record(0, asked_s, answered_s, "p", devices, 1, 0, more.get("wrong", False))


def happened(at_s: float, fault: Fault, ends: bool = False) -> Happening:
    return Happening(at_s, str(type(fault).__struct_config__.tag), None, fault, ends)


# -- what is played


@given(st.integers(0, 10_000))
def test_a_seed_is_a_schedule_that_spares_the_gateway(seed: int) -> None:
    one, again = (scene(None, 300, seed, ALL) for _ in range(2))
    assert one == again
    assert one.gate not in one.workers
    assert all(getattr(fault, "host", "") != one.gate for fault in one.faults)
    assert one.spec.faults == one.faults, "the lab has to know which clocks jump and links lose"
    spans = [fault.for_s or 0.0 for fault in one.faults if hasattr(fault, "for_s")]
    assert max(spans) <= PACE.lasts_s[1]
    assert 1e3 * PACE.lasts_s[1] < DEADLINE_MS / 3, "no request fails for impatience"


def test_in_a_few_minutes_every_kind_of_fault_comes() -> None:
    kinds = {type(fault).__struct_config__.tag for fault in scene(None, 120, 7, ALL).faults}
    assert kinds == {
        "kill", "restart", "freeze", "slow", "disk-full", "clock-jump", "cut", "narrow", "lossy",
    }  # fmt: skip


def test_only_faults_that_this_machine_can_play_are_played() -> None:
    bare = Machine(cores=2)
    assert set(suitable_kinds(ALL, True)) - set(suitable_kinds(bare, True)) == {
        "lossy", "clock-jump",
    }  # fmt: skip
    assert set(suitable_kinds(ALL, False)) == {"kill", "restart", "freeze"}
    played = scene(None, 60, 7, Machine(cores=2, lacks=("root",)))
    assert {type(fault) for fault in played.faults} <= {Kill, Restart, Freeze}


def test_a_lab_in_which_nobody_could_take_over_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("{hosts: {gate: {}, a: {}}, topology: star}")
    with pytest.raises(UsageError, match="two others"):
        scene(tmp_path / "two.yaml", 60, 7, ALL)


# -- what happened


def test_a_killed_host_is_down_until_its_restart() -> None:
    kill, restart = Kill(at_s=1, host="a"), Restart(at_s=4, host="a")
    seen = [happened(1, kill), happened(4, restart), happened(4.1, restart, True)]
    assert verdict.spans(seen) == [Span("kill", kill, 1, 4.1)]
    # As a player tells it: a host that is down cannot be taken down.
    assert verdict.spans([seen[0], seen[2]]) == [Span("kill", kill, 1, 4.1)]


def test_faults_begin_and_end_or_stay_and_a_jump_is_a_moment() -> None:
    cut, slow = Cut(at_s=1, link=("a", "switch"), for_s=2), Slow(at_s=2, host="b", factor=0.5)
    jump = ClockJump(at_s=5, host="a", by_s=5)
    seen = [happened(1, cut), happened(2, slow), happened(3, cut, True), happened(5, jump)]
    assert [(span.begin_s, span.end_s) for span in verdict.spans(seen)] == [
        (1, 3), (2, None), (5, 5),
    ]  # fmt: skip


def test_a_fault_that_could_not_be_played_is_none() -> None:
    fault = Lossy(at_s=1, link=("a", "switch"), loss=0.1)
    assert verdict.spans([Happening(1, "lossy", "not emulated", fault)]) == []


# -- what is held against Shoal


def loss_of(asked_s: float, ended_s: float, *spans: Span) -> bool:
    """Whether a request that failed is excused."""
    failure = Failure(100 + asked_s, 100 + ended_s, "DeadlineError")
    (loss,) = verdict.losses([failure], 100, spans, *WHERE)
    return loss.excused


DOWN_A = Span("kill a", Kill(at_s=0, host="a"), 0, None)
FROZEN_B = Span("freeze b", Freeze(at_s=0, host="b", for_s=60), 0, 60)


def test_a_request_is_lost_when_somebody_could_have_answered() -> None:
    assert not loss_of(1, 31)
    assert not loss_of(1, 31, DOWN_A), "b was there"
    assert not loss_of(1, 31, DOWN_A, Span("freeze b", FROZEN_B.fault, 0, 31 - NEEDED_S))
    assert not loss_of(1, 2, DOWN_A, FROZEN_B), "it was given up before its time"


def test_a_request_is_excused_when_nobody_could_be_reached() -> None:
    assert loss_of(1, 31, DOWN_A, FROZEN_B)
    assert loss_of(1, 31, Span("cut", Cut(at_s=0, link=("gate", "switch")), 0, None))
    assert loss_of(1, 31, DOWN_A, Span("cut", Cut(at_s=0, link=("b", "switch")), 0, 29))
    assert not loss_of(1, 31, Span("cut", Cut(at_s=0, link=("b", "switch")), 0, None))


def test_silence_slowest_answer_and_return_belong_to_the_fault_before_them() -> None:
    spans = [
        Span("kill a", Kill(at_s=2, host="a"), 2, 4),
        Span("slow b", Slow(at_s=10, host="b", factor=0.5, for_s=1), 10, 11),
    ]
    records = [
        record(101, 101.5, "a", "b"),
        record(101.8, 103.5, "b"),  # a silence from the kill at 102 until here
        record(103.6, 104.7, "b"),
        record(104.5, 105, "a", "b"),  # at work again a second after its restart
        record(110, 110.25, "b"),
    ]
    killed, slowed = verdict.effects(records, 100, spans, 11, *WHERE)
    assert killed.silence_ms == pytest.approx(5000), "nobody asked for anything until the next"
    assert killed.slowest_ms == pytest.approx(1700)
    assert killed.back_s == pytest.approx(1)
    assert (slowed.back_s, slowed.lasted_s) == (None, 1)
    assert (killed.hit, slowed.hit) == (True, False), "slowing takes nobody away"
    assert slowed.silence_ms == pytest.approx(750)


def test_a_slow_device_may_come_back_after_the_next_fault_but_not_after_its_own() -> None:
    spans = [
        Span("kill a", Kill(at_s=2, host="a"), 2, 4),
        Span("slow b", Slow(at_s=5, host="b", factor=0.5, for_s=1), 5, 6),
        Span("kill a", Kill(at_s=9, host="a"), 9, 10),
        Span("kill a", Kill(at_s=12, host="a"), 12, 13),
    ]
    records = [record(106, 107, "a"), record(113, 114, "a")]
    found = verdict.effects(records, 100, spans, 20, *WHERE)
    assert [effect.back_s for effect in found] == [3, None, None, 1]


def account(*records: Record, asked: int, twice: int = 0) -> Account:
    return Account(asked=asked, twice=twice, records=records, failures=())


def test_every_request_needs_one_right_answer() -> None:
    good, bad = record(0, 1, "a"), record(0, 1, "a", wrong=True)
    assert verdict.totals(account(good, good, asked=2), [], 1).met
    assert not verdict.totals(account(good, bad, asked=2), [], 1).met
    assert not verdict.totals(account(good, good, asked=2, twice=1), [], 1).met
    assert not verdict.totals(account(asked=0), [], 1).met, "nothing was asked"


def test_a_request_that_was_forgotten_is_lost() -> None:
    assert verdict.totals(account(record(0, 1, "a"), asked=3), [], 1).lost == 2

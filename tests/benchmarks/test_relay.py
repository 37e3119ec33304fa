"""The bench of ``relay``: what is counted, and that its systems serve."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.model import exit_nets
from tests.toys.network import ToyProfile

from shoal.model.network import load
from shoal_benchmarks import registry, relay
from shoal_benchmarks.node.equals import Equals, Followed, Ground
from shoal_benchmarks.node.virtual import Busy, shares
from shoal_benchmarks.relay import faults, growth, overload, spread, unequal
from shoal_benchmarks.relay.faults import Timing
from shoal_benchmarks.relay.growth import Resident, Watch
from shoal_benchmarks.relay.subject import VARIABLE, Subject, subject
from shoal_benchmarks.row import Row
from shoal_benchmarks.split.driver import Told, handed


def by_end(rows: list[Row]) -> dict[str, Row]:
    return {row.name.rpartition(": ")[2]: row for row in rows}


def asked_at(at_s: float, took_s: float = 0.1, number: int = 0, **more: Any) -> Told:
    return Told(at_s, at_s + took_s, "relay", number=number, **more)


def refused(at_s: float, why: str, number: int = 0) -> Told:
    return Told(at_s, at_s, "", lost=True, why=why, number=number)


def test_the_bench_is_known_with_its_sections() -> None:
    for section in relay.SECTIONS:
        assert registry.find(f"relay.{section}").rows


def test_without_the_images_there_is_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert subject.__wrapped__() is None


# -- what is told of requests


def test_a_task_is_handed_on_where_another_device_ran_the_one_before() -> None:
    trace = [SimpleNamespace(device=name) for name in "aabba"]
    assert handed(trace) == 2
    assert shares({1: 3, 4: 1}) == {1: 0.75, 4: 0.25}


def test_late_are_those_whose_deadline_passed_with_an_answer_or_without() -> None:
    late_s = 2 * overload.BUDGET_MS / 1e3
    told = [
        *(asked_at(k) for k in range(97)),
        asked_at(0.0, late_s),
        refused(0.0, "DeadlineError"),
        refused(0.0, "RemoteError"),
        *(refused(0.0, "OverloadedError") for _ in range(100)),
    ]
    rows = by_end(list(overload.rows_of("a flood", told, overload.IN_TIME)))
    assert rows["refused at once"].value == 50.0
    assert rows["of the others, answered in time"].value == 97.0
    assert rows["of the others, answered in time"].met is False
    assert rows["of the others, late"].value == 2.0
    assert (rows["of the others, lost"].value, rows["of the others, lost"].met) == (1, False)
    timely = by_end(list(overload.rows_of("a flood", told[:97], overload.IN_TIME)))
    assert timely["of the others, answered in time"].met


# -- growth


def test_a_queue_that_grows_is_told_from_one_that_does_not() -> None:
    steady = [asked_at(k / 10, 1.0) for k in range(300)]
    rows = by_end(list(growth.rows_of("a flood", steady, [])))
    assert rows["requests under way, first third"].value == pytest.approx(10, rel=0.1)
    assert rows["requests under way, last third over first"].met
    growing = [asked_at(k / 10, 1.0 + k / 100) for k in range(300)]
    rows = by_end(list(growth.rows_of("a flood", growing, [])))
    assert rows["requests under way, last third over first"].value > 1.5
    assert not rows["requests under way, last third over first"].met


def test_memory_is_that_of_each_host_in_the_first_third_and_the_last() -> None:
    told = [asked_at(float(k)) for k in range(31)]
    seen = [Resident(float(k), {"gate": 100.0, "worker": 50.0 + k}) for k in range(-5, 40)]
    rows = by_end(list(growth.rows_of("a flood", told, seen)))
    assert rows["memory of gate, last third over first"].value == 1.0
    assert rows["memory of worker, first third"].value == 55.0
    grown = rows["memory of worker, last third over first"]
    assert (grown.value, grown.met) == (pytest.approx(75 / 55), False)


def test_who_watches_looks_again_and_again_and_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(growth, "EVERY_S", 0.001)
    before = threading.active_count()
    with Watch(lambda: {"gate": 1.0}) as watch:
        until = time.monotonic() + 10
        while len(watch.seen) < 3 and time.monotonic() < until:
            time.sleep(0.001)
    assert len(watch.seen) >= 3
    assert threading.active_count() == before


# -- faults


def test_who_never_ends_is_lost_and_who_ends_twice_is_counted() -> None:
    told = (
        asked_at(0.0, number=0),
        asked_at(0.0, number=0),
        asked_at(0.1, number=1),
        refused(0.2, "OverloadedError", 2),
        refused(0.3, "DeadlineError", 3),
        refused(0.4, "RemoteError", 4),
    )
    followed = Followed(told, 0.0, (), asked=6)
    rows = by_end(list(faults.count_rows("a node killed", followed, all_answered=True)))
    assert {name: row.value for name, row in rows.items()} == {
        "asked": 6,
        "refused at once": 1,
        "late": 1,
        "lost": 2,
        "answered twice": 1,
    }
    assert not any(row.met for row in rows.values() if row.goal)
    more = by_end(list(faults.count_rows("a node killed", followed, all_answered=False)))
    assert {name for name, row in more.items() if row.goal} == {"lost", "answered twice"}


def test_how_soon_the_rate_is_what_it_stays() -> None:
    """100/s; half of it from 10 to 25 s, and for 3 s more until the node works; then 100/s again,
    but for the first 4 s."""
    timing = Timing(10.0, 15.0, 20.0)

    def rate(at_s: float) -> int:
        return 100 if at_s < 10 or at_s >= 32 else 50

    tenths = [k / 10 for k in range(450)]
    told = tuple(
        asked_at(at_s, 0.0, by=("w2",) if at_s >= 28 else ("w1",))
        for at_s in tenths
        for _ in range(rate(at_s) // 10)
    )
    followed = Followed(told, 0.0, ())
    back_s = faults.joined(followed, "w2", 25.0)
    assert back_s == 28.0
    rows = by_end(list(faults.rate_rows("a node killed", followed, timing, back_s, 0.5)))
    assert rows["rate before"].value == 100
    assert rows["from its start until it works again"].value == 18
    found = list(faults.rate_rows("a node killed", followed, timing, back_s, 0.5))
    reached = [(row.value, row.met) for row in found if row.goal]
    assert reached == [(1.0, True), (pytest.approx((2 * 50 + 100) / 300), False)]
    parts = [row.value for row in found if row.name.endswith("the part of what was before")]
    assert parts == [1.0, 1.0]


def test_a_node_that_never_works_again_has_no_rate() -> None:
    followed = Followed((asked_at(1.0, by=("w1",)),), 0.0, ())
    assert faults.joined(followed, "w2", 0.0) == float("inf")
    assert np.isnan(faults.rate_of(followed.told, 0.0, float("inf"), 30.0))


# -- in a lab


@pytest.fixture
def toy() -> Subject:
    network = load(exit_nets.with_exits())
    shape = [size or 1 for size in network.inputs[0].shape]
    images = [np.full(shape, k / 4, np.float32) for k in range(4)]
    return Subject(network, ToyProfile((0.05,) * len(network.nodes)), images, [0, 1, 0, 1])


class Counted:
    """Takes the place of a lab: each host does what its share says, all together a part of it."""

    def __init__(self, ground: Ground, part: float) -> None:
        self.ground, self._part = ground, part
        self.store = None
        self._share = 0.0

    def serve(self, book: Any, images: Any, labels: Any) -> None:
        names = book.plans[0].devices
        self._share = sum(map(self.ground.share_of, names)) * (self._part if len(names) > 1 else 1)

    def busy(self, seconds: float, window: int) -> Busy:
        return Busy(100 * self._share, {})


@pytest.mark.parametrize(("part", "met"), [(0.92, True), (0.85, False)])
def test_what_unequal_hosts_do_is_held_against_the_sum(
    toy: Subject, part: float, met: bool
) -> None:
    lab: Any = Counted(unequal.GROUND, part)
    *_, last = unequal.rows_for(lab, toy, rounds=3, seconds=1.0)
    assert (last.value, last.met) == (pytest.approx(part), met)


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="loopback labs are tested on Linux")
def test_all_systems_serve_and_are_poured_on_in_a_lab(toy: Subject, tmp_path: Path) -> None:
    ground = Ground(2, 0.5, 50.0, 0.0)
    with socket.create_server(("127.77.0.2", 0)) as free:
        port = free.getsockname()[1]
    name = f"t{os.getpid()}-relay"
    with Equals(ground, tmp_path, name=name, port=port, loopback=True) as lab:
        place = spread.Place(2, "mesh", 50.0)
        rows = list(spread.rows_for(lab, place, toy, rounds=1, seconds=0.2))
        assert {row.goal for row in rows} == {None, ">= 2"}
        assert sum(row.name.endswith("throughput") for row in rows) == len(spread.SYSTEMS)
        followed = lab.pour(50.0, 1.0, 5000.0)
        counts = by_end(list(faults.count_rows("calm", followed, all_answered=True)))
        assert counts["asked"].value == followed.asked > 10
        # A busy machine may refuse some, or be late; it loses none and answers none twice.
        assert {name: counts[name].met for name in ("lost", "answered twice")} == {
            "lost": True,
            "answered twice": True,
        }
        assert {each for one in followed.told for each in one.by} <= {*ground.names}
        assert set(lab.resident_mib()) == {"gate", *ground.names}
        assert min(lab.resident_mib().values()) > 5

"""Watching a lab: two looks and what they say, and the real thing."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.runtime import tiny

from shoal.cli.entry import run
from shoal.errors import RequestError
from shoal.runtime.stats import DeviceStats, ServiceStats
from shoal_lab import conditions, reporting, state
from shoal_lab.cable import Load
from shoal_lab.conditions import Conditions, HostCondition, LinkCondition
from shoal_lab.file import parse_lab
from shoal_lab.lab import Lab
from shoal_lab.shape import Shape
from shoal_lab.spec import LabSpec
from shoal_lab.state import State
from shoal_lab.watching import Look, snapshot

LabOf = Callable[[str], LabSpec]
SPEC = parse_lab(
    "{hosts: {pi: {preset: raspberry-pi-4}, x: {share: 0.5}}, "
    "topology: {kind: star, link: {mbit: 8}}}"
)
UP = State(spec=SPEC, loopback=False, owner=1, started=0, keeper=False, folder="/", up_at_s=100)


def a_look(at_s: float, cpu_s: float, up_bytes: int) -> Look:
    return Look(
        at_s=at_s,
        cpu_s={"pi": cpu_s, "x": 0.0},
        memory_bytes={"pi": 1 << 20, "x": 0},
        processes={"pi": 2, "x": 0},
        wire_bytes={"pi:switch": (up_bytes, 0), "x:switch": (0, 0)},
    )


def test_load_is_what_was_used_of_the_share_between_two_looks() -> None:
    made = snapshot(UP, Conditions(), a_look(110, 1.0, 0), a_look(112, 1.095, 1000), [])
    pi, x = made.hosts
    assert pi.load == pytest.approx(0.5), "0.0475 cores of 0.095"
    assert (x.load, x.power_w, x.energy_j) == (0, None, None)
    assert (pi.memory_limit_bytes, x.memory_limit_bytes) == (4096 << 20, None)
    assert made.up_for_s == 12


def test_energy_counts_from_the_beginning_and_power_between_two_looks() -> None:
    """1.6 W idle, 5 W busy on four cores, 2.6 W more while a megabyte leaves at 8 Mbit/s."""
    made = snapshot(UP, Conditions(), a_look(110, 0, 0), a_look(112, 0.19, 1_000_000), [])
    pi = made.hosts[0]
    busy_j, sent_j = 3.4 / 4 * 2, 2.6
    assert pi.energy_j == pytest.approx(1.6 * 12 + busy_j + sent_j)
    assert pi.power_w == pytest.approx(1.6 + (busy_j + sent_j) / 2)


def test_links_are_as_their_owner_wrote_and_carry_what_was_counted() -> None:
    shape = Shape(mbit=2, cut=True)
    link = LinkCondition(up=shape, down=shape, load=Load(mbit=2, cut=True, loss=0.1))
    seen = Conditions(links={"pi:switch": link})
    made = snapshot(UP, seen, a_look(110, 0, 1000), a_look(112, 0, 5000), [])
    (one,) = made.links
    assert (one.up_bytes_per_s, one.down_bytes_per_s) == (2000, 0)
    assert one.faults == ("cut", "narrowed to 2 Mbit/s", "loses 10 %")


def test_a_host_says_what_it_suffers() -> None:
    assert HostCondition().faults == ()
    all_of_it = HostCondition(dead=True, frozen=True, factor=0.5, disk_full=True, clock_s=-5)
    assert all_of_it.faults == (
        "dead", "frozen", "slowed to 50 %", "disk full", "clock off by -5 s",
    )  # fmt: skip


def test_conditions_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert conditions.read(tmp_path) == Conditions()
    (tmp_path / conditions.FILE).write_text("{")
    assert conditions.read(tmp_path) == Conditions()
    written = Conditions(hosts={"pi": HostCondition(frozen=True)})
    conditions.write(written, tmp_path)
    assert conditions.read(tmp_path) == written


# -- services


def stats(**plans: int) -> ServiceStats:
    device = DeviceStats(state="alive", ready=True, outstanding=2, answered=9, slowdown=1.0)
    return ServiceStats(
        answered=9, images=9, failed=0, pending=3, retried=0, degraded=0, images_per_s=5.0,
        p50_ms=1.0, p99_ms=2.0, max_ms=3.0, plans=plans, devices={"a": device, "b": device},
    )  # fmt: skip


def stage(*devices: str) -> Any:
    return SimpleNamespace(parts=dict.fromkeys(devices, "hash"))


PLANS = {"one": (stage("a"), stage("b"), stage("a")), "two": (stage("b"),)}
BOOK: Any = SimpleNamespace(
    network="net",
    strategy="pipeline",
    plans=(SimpleNamespace(name="one"), SimpleNamespace(name="two")),
    plan=lambda name: SimpleNamespace(stages=PLANS[name]),
)


def test_who_runs_which_part_is_that_of_the_plan_in_use() -> None:
    made = reporting.report_of("gate", BOOK, stats(), {"one": 20, "two": 5})
    assert (made.plan, made.stages, made.parts) == ("one", 3, {"a": (1, 3), "b": (2,)})
    made = reporting.report_of("gate", BOOK, stats(), {"one": 2, "two": 4, "of another book": 9})
    assert (made.plan, made.parts) == ("two", {"b": (1,)})
    assert reporting.report_of("gate", BOOK, stats(), {}).plan == "one", "the preferred one"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is on the host ``gate`` of a lab ``here``."""
    monkeypatch.setattr(state, "base_folder", lambda: tmp_path)
    monkeypatch.setattr(reporting, "EVERY_S", 0.01)
    monkeypatch.setenv("SHOAL_LAB", "here")
    monkeypatch.setenv("SHOAL_HOST", "gate")
    (tmp_path / "here").mkdir()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[tiny.Crowd]:
    crowd = tiny.Crowd(tmp_path / "crowd")
    tiny.fill(crowd.store, tiny.network())
    yield crowd
    crowd.close()


def report_when(met: Callable[[reporting.Report], bool]) -> reporting.Report:
    deadline = time.monotonic() + 30
    while True:
        for report in reporting.reports("here"):
            if met(report):
                return report
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("here")
def test_a_service_that_is_deployed_in_a_lab_reports_until_it_is_closed(crowd: tiny.Crowd) -> None:
    crowd.start("a")
    service = crowd.serve(tiny.anywhere(tiny.network(), "a"))
    for image in tiny.images(3):
        service.infer(image)
    report = report_when(lambda report: report.stats.answered == 3)
    assert (report.host, report.pid) == ("gate", os.getpid())
    assert report.parts == {"a": (1,)}
    service.close()
    assert reporting.reports("here") == []


@pytest.mark.usefixtures("here")
def test_the_plan_in_use_is_the_one_that_answered_since_the_last_report() -> None:
    service: Any = SimpleNamespace(playbook=BOOK, stats=stats)
    reporter = reporting.reporter(service)
    assert reporter is not None
    request: Any = None
    answer: Any = SimpleNamespace(plan="two")

    def in_use(report: reporting.Report) -> bool:
        reporter.answered(request, answer)
        return report.plan == "two"

    try:
        report_when(in_use)
        report_when(lambda report: report.plan == "one")  # nobody asks any more
    finally:
        reporter.closed()


@pytest.mark.usefixtures("here")
def test_a_report_ends_with_a_service_that_can_tell_nothing_more() -> None:
    def refuse() -> ServiceStats:
        raise RequestError("the node gate is closed")

    service: Any = SimpleNamespace(playbook=BOOK, stats=refuse)
    reporter = reporting.reporter(service)
    assert reporter is not None
    reporter._thread.join(30)
    assert not reporter._thread.is_alive()
    reporter.closed()


def test_a_service_outside_of_labs_does_not_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOAL_LAB", raising=False)
    service: Any = None
    assert reporting.reporter(service) is None


# -- for real


@pytest.mark.root
@pytest.mark.system
def test_a_lab_of_namespaces_is_watched(
    lab_of: LabOf, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = lab_of(
        "{hosts: {pi: {share: 0.05}, x: {share: 0.05}}, "
        "topology: {kind: star, link: {mbit: 20, delay_ms: 1}}}"
    )
    with Lab(spec) as lab:
        pi = lab.host("pi")
        pi.spawn(["sh", "-c", "while :; do :; done"])
        pi.slow(0.5)
        lab.host("x").kill()
        lab.cable("x", "switch").change(cut=True)
        assert run(["lab", "watch", name, "--once", "--json"]) == 0
        seen = json.loads(capsys.readouterr().out)
        first, second = seen["hosts"]
        assert first["faults"] == ["slowed to 50 %"]
        assert (second["faults"], second["processes"]) == (["dead"], 0)
        assert 0 < first["load"] < 0.8, "half of its share, which is all that it has"
        assert first["processes"] >= 1
        assert [link["faults"] for link in seen["links"]] == [[], ["cut"]]
        assert seen["links"][0]["up"]["mbit"] == 20
        assert run(["lab", "watch", name, "--once"]) == 0
        assert "slowed to 50 %" in capsys.readouterr().out
    assert run(["lab", "watch", name]) == 93


@pytest.mark.system
def test_a_lab_of_processes_is_watched(
    lab_of: LabOf, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lab(lab_of("{hosts: {pi: {}, x: {}}, topology: star}"), loopback=True) as lab:
        lab.host("pi").spawn(["sleep", "100"])
        lab.host("pi").freeze()
        assert run(["lab", "watch", name, "--once", "--json"]) == 0
        pi, x = json.loads(capsys.readouterr().out)["hosts"]
    assert (pi["processes"], pi["load"], pi["faults"]) == (1, None, ["frozen"])
    assert (x["processes"], x["faults"]) == (0, [])

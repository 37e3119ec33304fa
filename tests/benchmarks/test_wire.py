"""The wire's bench: what is made of what was seen, and tiny versions of it on real processes."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import shoal
from shoal.errors import MeshError, UsageError
from shoal_benchmarks import registry, wire
from shoal_benchmarks.wire import cost, frozen, gateway, large, sides
from shoal_benchmarks.wire.frozen import Try
from shoal_benchmarks.wire.large import Fate, Seen
from shoal_benchmarks.wire.sides import Cost, Side

SRC = Path(shoal.__file__).parent.parent


def costs(*total_ms: float) -> list[Cost]:
    """A third of it is the client's."""
    return [Cost(1000, 1.0, total / 3, total * 2 / 3) for total in total_ms]


def test_the_bench_is_known_with_its_sections() -> None:
    for section in wire.SECTIONS:
        assert registry.find(f"wire.{section}").rows


def test_the_ratio_is_that_of_all_processes_in_the_same_round() -> None:
    found = {
        cost.SHOAL: costs(0.6, 1.2),
        cost.COMPUTE: costs(0.1, 0.2),
        cost.GRPC: costs(1.1, 2.2),
        cost.BEFORE: costs(1.2, 2.4),
    }
    rows = {row.name: row for row in cost.rows_of("64 KiB", "<= 0.65", found)}
    what = "CPU per image, two stages, 64 KiB"
    assert rows[f"{what}: Shoal"].value == pytest.approx(0.9)
    assert rows[f"{what}: Shoal, of which the gateway"].value == pytest.approx(0.3)
    ratio = rows[f"{what}: Shoal over gRPC chain"]
    assert (ratio.value, ratio.met) == (pytest.approx(6 / 11), True)
    assert rows[f"{what}: Shoal over gRPC chain, beside computing"].value == pytest.approx(0.5)
    before = rows[f"{what}: Shoal before over gRPC chain"]
    assert (before.value, before.goal) == (pytest.approx(12 / 11), None)


def test_without_the_chain_there_is_no_ratio() -> None:
    found = {cost.SHOAL: costs(0.6), cost.COMPUTE: costs(0.1)}
    assert not any("over" in row.name for row in cost.rows_of("64 KiB", "<= 0.65", found))


def test_a_gateway_is_held_against_another_version() -> None:
    rows = list(gateway.rows_of({"now": costs(0.6), "before": costs(1.2)}))
    found = {row.name.partition(": ")[2]: row for row in rows}
    assert found["CPU per image, gateway"].met
    assert not found["CPU per image, worker"].met
    assert found["CPU per image, worker: now over before"].value == pytest.approx(0.5)


def test_what_is_no_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(sides.BEFORE, raising=False)
    assert sides.before() is None
    monkeypatch.setenv(sides.BEFORE, str(tmp_path))
    with pytest.raises(UsageError, match="no package shoal"):
        sides.before()
    monkeypatch.setenv(sides.BEFORE, str(SRC))
    assert sides.before() == SRC


def test_a_newcomer_that_never_worked_is_told() -> None:
    good = Try(100, 0, 0, 0, pause_ms=30.0, slowest_ms=450.0, used_s=0.4)
    bad = Try(100, 2, 0, 0, pause_ms=5000.0, slowest_ms=5000.0, used_s=None)
    rows = {row.name.partition("tries: ")[2]: row for row in frozen.rows_of([good, bad])}
    assert (rows["lost"].value, rows["lost"].met) == (2, False)
    assert (rows["longest pause between answers"].value, rows["newcomer at work"].met) == (
        5000.0,
        False,
    )
    assert rows[f"newcomer not used within {frozen.PATIENCE_S:g} s"].value == 1
    rows = {row.name.partition("tries: ")[2]: row for row in frozen.rows_of([good])}
    assert all(row.met for row in rows.values() if row.goal)
    assert len(rows) == 7


def test_a_large_request_that_disturbs_is_told() -> None:
    seen = Seen(Fate(0.0, 1.0, 3.0, True, 0), 100, 0, 0, 1, calm_ms=5.0, beside_ms=50.0)
    rows = {row.name: row for row in large.rows_of(500, [seen])}
    assert rows["a request of 500 MB: time of the answer"].value == 2.0
    assert rows["a request of 500 MB: answered rightly"].met
    beside = "beside a request of 500 MB, another client"
    assert not rows[f"{beside}: peers that it lost"].met
    assert rows[f"{beside}: longest pause"].value == 50.0


def test_a_large_request_is_not_begun_without_memory_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(large, "SIZES_MB", (1 << 30,))
    (row,) = large.rows(quick=True)
    assert "not measured, it needs" in row.name


# -- on real processes


@pytest.mark.system
@pytest.mark.timeout(60)
def test_costs_on_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sides.BEFORE, raising=False)
    monkeypatch.setattr(cost, "GOALS", {"64 KiB": "<= 0.65"})
    monkeypatch.setattr(cost, "QUICK_ROUNDS", 1)
    monkeypatch.setattr(cost, "QUICK_TURN_S", 0.2)
    rows = {row.name: row for row in cost.rows(quick=True)}
    what = "CPU per image, two stages, 64 KiB"
    alone = rows[f"{what}: computing alone (baseline)"].value
    assert 0 < alone < rows[f"{what}: Shoal"].value < 100
    if find_spec("grpc") is None:
        assert "gRPC chain, 64 KiB: not measured, grpc is not installed" in rows
    else:
        assert rows[f"{what}: Shoal over gRPC chain"].goal == "<= 0.65"


@pytest.mark.system
@pytest.mark.timeout(60)
def test_a_gateway_beside_another_version_on_real_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(sides.BEFORE, str(SRC))
    monkeypatch.setattr(gateway, "QUICK_ROUNDS", 1)
    monkeypatch.setattr(gateway, "QUICK_TURN_S", 0.2)
    rows = list(gateway.rows(quick=True))
    assert len(rows) == 6
    assert all(row.value > 0 for row in rows)


@pytest.mark.system
def test_a_system_that_cannot_start_says_why() -> None:
    with Side("shoal", "no such task") as side, pytest.raises(MeshError, match="no such task"):
        side.wait_ready()


@pytest.mark.system
@pytest.mark.timeout(60)
def test_a_frozen_worker_is_replaced_on_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "QUICK_TRIES", 1)
    monkeypatch.setattr(frozen, "QUICK_AFTER_S", 0.2)
    monkeypatch.setattr(frozen, "WARM_S", 0.3)
    rows = {row.name.partition("tries: ")[2]: row for row in frozen.rows(quick=True)}
    assert rows["requests"].value > 10
    assert all(rows[what].met for what in ("lost", "answered twice", "wrong"))
    assert 0 < rows["newcomer at work"].value < frozen.PATIENCE_S


@pytest.mark.system
@pytest.mark.timeout(60)
def test_large_requests_on_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "SIZES_MB", (4,))
    monkeypatch.setattr(large, "PAUSE_S", 0.2)
    rows = {row.name: row for row in large.rows(quick=True)}
    assert rows["a request of 4 MB: answered rightly"].met
    beside = "beside a request of 4 MB, another client"
    assert rows[f"{beside}: requests"].value > 0
    assert rows[f"{beside}: lost"].met
    assert rows[f"{beside}: wrong"].met
    assert rows[f"{beside}: peers that it lost"].met

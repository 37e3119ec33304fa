"""The foundation's bench: each section gives the rows that the README quotes."""

import pytest

from shoal.core.messages import StageTrace
from shoal.errors import MissingExtraError
from shoal_benchmarks import foundation, registry, subjects
from shoal_benchmarks.foundation import hops, memory, parts


def test_a_hop_is_from_the_end_of_a_run_to_the_start_of_the_next() -> None:
    before = StageTrace(0, "a", run_ms=30.0, started_s=100.0)
    after = StageTrace(1, "b", run_ms=5.0, started_s=100.0325)
    assert hops.hop_ms(before, after) == pytest.approx(2.5)


def test_a_network_whose_extra_is_missing_gives_no_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise MissingExtraError("pip install './train[efficientnet]'")

    monkeypatch.setattr(subjects, "LOADERS", {"absent": missing})
    assert subjects.load("absent") is None
    assert "./train[efficientnet]" in capsys.readouterr().err


def test_the_bench_is_all_sections_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foundation, "SECTIONS", ("parts", "hops"))
    monkeypatch.setattr(parts, "rows", lambda quick: iter([f"parts {quick}"]))
    monkeypatch.setattr(hops, "rows", lambda quick: iter([f"hops {quick}"]))
    assert list(registry.find("foundation").rows(True)) == ["parts True", "hops True"]


@pytest.mark.system
def test_hops_on_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "QUICK_REQUESTS", 50)
    monkeypatch.setattr(hops, "WARM_UP", 10)
    half, far = hops.rows(quick=True)
    assert half.value > 0.01
    assert half.value <= far.value
    assert (half.goal, far.goal) == ("<= 0.6", "<= 3")


@pytest.mark.system
def test_memory_on_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "QUICK_STARTS", 1)
    monkeypatch.setattr(memory, "QUICK_REQUESTS", 500)
    monkeypatch.setattr(memory, "SETTLE_S", 0.1)
    rows = {row.name: row for row in memory.rows(quick=True)}
    assert 20 < rows["idle worker: resident memory"].value < 200
    assert rows["worker: from start to ready"].value > 0
    assert rows["idle worker: resident memory"].goal == "<= 65"
    assert rows["gateway: growth over 500 requests, most of 1"].goal == "<= 1"

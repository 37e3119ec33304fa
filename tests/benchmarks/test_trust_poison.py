"""What must not happen is counted as it is."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.observe.load_generator import Record
from shoal_benchmarks import registry
from shoal_benchmarks.trust import poison, supervisor


def test_pauses_are_counted_from_when_the_poison_came() -> None:
    def answered(at: float) -> Record:
        return Record(0, at - 0.01, at, "plan", ("a",), 1, 0, False)

    good: Any = SimpleNamespace(records=[answered(at) for at in (1.0, 3.0, 2.5, 3.5)])
    assert poison.ends(good, 2.0) == [2.0, 2.5, 3.0, 3.5]


def test_what_processes_die_of_is_said_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "before")
    with supervisor.fragile(SHOAL_DEADLY_VALUE="7"):
        assert os.environ["PYTHONPATH"].split(os.pathsep)[1:] == ["before"]
        assert os.environ["SHOAL_DEADLY_VALUE"] == "7"
    assert os.environ["PYTHONPATH"] == "before"
    assert "SHOAL_DEADLY_VALUE" not in os.environ


@pytest.mark.system
def test_poison_among_good_requests_on_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "REQUESTS", 120)
    monkeypatch.setattr(poison, "BEGIN_AT", 20)
    lost, failed, wrong, *_, sent, told = registry.find("trust.poison").rows(True)
    assert 1 <= lost.value <= 2
    assert (failed.value, wrong.value) == (0, 0)
    assert sent.value == told.value >= 1

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shoal.cli.entry import run
from shoal.errors import UnreachableError
from shoal_benchmarks import registry
from shoal_benchmarks.row import Row, row


def rows(quick: bool) -> Iterator[Row]:
    yield row("time of the parts over the whole", 1.02, "ratio", "<= 1.05", (1.0, 1.1))
    yield row("requests lost", 3 if quick else 0, "requests", "= 0")
    yield row("baseline [one process]", 12.5, "ms")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find", lambda name: SimpleNamespace(rows=rows))


@pytest.mark.usefixtures("toy")
def test_json_is_a_list_of_objects_with_exactly_the_six_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "toy", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [set(entry) for entry in found] == [
        {"name", "value", "unit", "spread", "goal", "met"}
    ] * 3
    assert found[0]["spread"] == [1.0, 1.1]
    assert [entry["met"] for entry in found] == [True, True, None]
    assert "Python" in err


@pytest.mark.usefixtures("toy")
def test_a_missed_goal_is_said_and_the_exit_code_is_still_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "toy", "--quick"]) == 0
    out = capsys.readouterr().out
    lost = next(line for line in out.splitlines() if "requests lost" in line)
    assert lost.split()[-1] == "no"
    assert "baseline [one process]" in out


def test_what_was_measured_before_a_failure_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(quick: bool) -> Iterator[Row]:
        yield row("first", 1.0, "ms")
        raise UnreachableError("nobody is there")

    monkeypatch.setattr(registry, "find", lambda name: SimpleNamespace(rows=failing))
    assert run(["bench", "toy", "--json"]) == 52
    out, err = capsys.readouterr()
    assert [entry["name"] for entry in json.loads(out)] == ["first"]
    assert "nobody is there" in err


@pytest.mark.usefixtures("toy")
def test_plot_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "toy", "--json", "--plot", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "toy.png").read_bytes().startswith(b"\x89PNG")
    json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("toy")
def test_a_folder_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(["bench", "toy", "--plot", str(tmp_path / "file")]) == 2


def test_without_a_name_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench"]) == 0
    assert "foundation" in capsys.readouterr().out


def test_an_unknown_bench_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "nothing"]) == 2
    assert "foundation" in capsys.readouterr().err

"""shoal plan and shoal run, on two real workers."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.cli.entry import run
from shoal.cli.inputs import Case, Cases
from shoal.cli.run import _ask, ran_on
from shoal.errors import UnservedError
from shoal.plan.playbook import load
from shoal.runtime.service import Service

pytestmark = pytest.mark.system


@pytest.fixture
def playbook(tiny: Path, cluster: Path, tmp_path: Path) -> Path:
    path = tmp_path / "playbook.json"
    arguments = ["--cluster", str(cluster), "--strategy", "replicas", "-o", str(path)]
    assert run(["plan", str(tiny), *arguments]) == 0
    return path


def test_every_strategy_is_forecast_and_one_recommended(
    tiny: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.json"
    assert run(["plan", str(tiny), "--cluster", str(cluster), "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    for strategy in ("local", "pipeline", "remote", "replicas"):
        assert strategy in shown
    # A network of microseconds: any hop costs more than it can gain.
    assert "do not distribute: " in shown
    assert load(out).strategy == "local"


def test_the_same_as_json(tiny: Path, cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(tiny), "--cluster", str(cluster), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recommended"], found["distribute"]) == ("local", False)
    options = {option["strategy"]: option for option in found["options"]}
    assert set(options) >= {"local", "pipeline", "remote", "replicas"}
    assert "compute" in options["split"]["refused"]
    assert options["replicas"]["devices"] == ["worker-1", "worker-2"]
    assert options["remote"]["forecast"]["latency_ms"] > 0
    assert (found["proof"]["weak"], found["proof"]["images"]) == (False, 3)
    assert [plan["name"] for plan in found["plans"]] == [options["local"]["plan"]]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--strategy", "teleport"], 40, "pipeline"),
        (["--objective", "beauty"], 40, "throughput"),
        (["--cluster", "nowhere.yaml"], 30, "nowhere.yaml"),
        (["--strategy", "pipeline", "--set", "stages"], 2, "stages=4"),
        (["--set", "stages=2"], 2, "--strategy"),
        (["--strategy", "pipeline", "--set", "stages=9"], 40, "stages"),
        (["--strategy", "pipeline", "--set", "wheels=2"], 40, "stages"),
        (["--strategy", "pipeline", "--set", "stages=x"], 40, "--set stages=4"),
        (["-o", "no/such/folder/p.json"], 70, "no/such/folder"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str],
    code: int,
    words: str,
    tiny: Path,
    cluster: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["plan", str(tiny), "--cluster", str(cluster), *options]) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_strategy_takes_its_options(tiny: Path, cluster: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    arguments = ["--cluster", str(cluster), "--strategy", "pipeline", "--set", "stages=2"]
    assert run(["plan", str(tiny), *arguments, "-o", str(out)]) == 0
    assert len(load(out).plans[0].stages) == 2


def arrays(path: Path, count: int) -> tuple[Path, Any]:
    images = np.random.default_rng(0).standard_normal((count, 1, 8, 8), dtype=np.float32)
    np.save(path / "images.npy", images)
    return path / "images.npy", images


def test_answers_come_in_order_and_can_be_kept(
    playbook: Path, tiny: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, images = arrays(tmp_path, 30)
    out = tmp_path / "answers.npz"
    capsys.readouterr()
    arguments = ["--cluster", str(cluster), "--input", str(file), "-o", str(out), "--json"]
    assert run(["run", str(playbook), *arguments]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["number"] for line in lines[:-1]] == list(range(30))
    assert lines[-1]["summary"]["answered"] == 30
    assert {line["stages"][0]["device"] for line in lines[:-1]} <= {"worker-1", "worker-2"}
    right = shoal.load(tiny).run({"image": images})["logits"]
    with np.load(out) as kept:
        np.testing.assert_allclose(kept["logits"], right, rtol=1e-4, atol=1e-4)
    assert [line["class"] for line in lines[:-1]] == right.argmax(1).tolist()


def test_the_table_shows_the_first_answers_and_the_service(
    playbook: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = arrays(tmp_path, 25)
    assert run(["run", str(playbook), "--cluster", str(cluster), "--input", str(file)]) == 0
    out = capsys.readouterr().out
    assert "the first 20 of 25" in out
    assert "images.npy[19]" in out
    assert "p99" in out


def test_a_failed_request_is_counted_and_the_others_go_on(
    playbook: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, images = arrays(tmp_path, 3)
    images[1, 0, 0, 0] = np.nan
    np.save(file, images)
    capsys.readouterr()
    arguments = ["run", str(playbook), "--cluster", str(cluster), "--input", str(file)]
    assert run([*arguments, "--json"]) == 20
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in line for line in lines] == [False, True, False]
    assert (last["failed"], last["summary"]["answered"]) == (1, 2)
    assert run([*arguments, "--together", "3", "--json"]) == 20
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in line for line in lines] == [False, True, False]
    assert (last["failed"], last["summary"]["answered"], last["summary"]["images"]) == (1, 1, 2)
    assert [line.get("images") for line in lines] == [2, None, 2]
    assert run([*arguments, "--together", "1000"]) == 20
    assert "give 1 to 64" in capsys.readouterr().err
    assert run(arguments) == 20
    assert "InputError (1)" in capsys.readouterr().out


def test_those_who_ran_a_stage_together_are_shown_together() -> None:
    stages = [(0, "a"), (1, "c"), (1, "b"), (2, "a")]
    assert ran_on([{"stage": k, "device": name} for k, name in stages]) == "a -> b + c -> a"


class _Nobody:
    """A service whose devices are all gone after so many answers."""

    def __init__(self, answers: int) -> None:
        self.answers = answers

    def submit_together(self, each: list[Any]) -> list[Future[Any]]:
        futures: list[Future[Any]] = [Future() for _ in each]
        for future in futures:
            if self.answers:
                future.set_result("an answer")
            else:
                future.set_exception(UnservedError("nobody is there"))
        self.answers = max(0, self.answers - 1)
        return futures


@pytest.mark.parametrize(
    ("width", "together", "failures"), [(1, 1, 3), (4, 1, 4), (20, 1, 20), (4, 10, 40)]
)
def test_when_nobody_is_left_no_more_are_sent(
    width: int, together: int, failures: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = Cases((Case(str(k), {}) for k in range(1000)), 1000)
    nobody: Any = _Nobody(5)
    ends = [end for _, end in _ask(nobody, cases, width, together)]
    assert ends[: 5 * together] == ["an answer"] * 5 * together
    assert len(ends) == 5 * together + failures
    assert f"the last {failures} inputs" in capsys.readouterr().err


def test_what_was_answered_before_an_interruption_is_told(
    playbook: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, _ = arrays(tmp_path, 30)
    submit, asked = Service.submit_together, []

    def interrupted(self: Service, *given: Any) -> Any:
        asked.append(given)
        if len(asked) > 20:
            raise KeyboardInterrupt
        return submit(self, *given)

    monkeypatch.setattr(Service, "submit_together", interrupted)
    capsys.readouterr()
    arguments = ["--cluster", str(cluster), "--input", str(file), "--window", "2", "--json"]
    assert run(["run", str(playbook), *arguments]) == 130
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 18 <= len(lines) <= last["summary"]["answered"]


def test_a_store_without_the_parts_is_told_before_anything_is_sent(
    playbook: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, _ = arrays(tmp_path, 1)
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "empty"))
    arguments = ["--cluster", str(cluster), "--input", str(file)]
    assert run(["run", str(playbook), *arguments]) == 70
    assert "run shoal plan again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--samples"),
        (["--samples", "x", "--input", "y"], 2, "one of"),
        (["--input", "nowhere.npy"], 20, "nowhere.npy"),
        (["--images", "photo.jpg"], 2, "--input"),
    ],
)
def test_what_cannot_be_asked(
    arguments: list[str],
    code: int,
    words: str,
    playbook: Path,
    cluster: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert run(["run", str(playbook), "--cluster", str(cluster), *arguments]) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"PK\x03\x04zip", b"[1, 2]"])
def test_a_file_that_is_no_array(
    content: bytes,
    playbook: Path,
    cluster: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.npy").write_bytes(content)
    arguments = ["--cluster", str(cluster), "--input", str(tmp_path / "bad.npy")]
    assert run(["run", str(playbook), *arguments]) == 20
    assert "bad.npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 3, 8, 8), np.float32),
        np.zeros((1, 1, 8, 8), np.float64),
        np.full((1, 1, 8, 8), np.nan, np.float32),
        np.zeros((0, 1, 8, 8), np.float32),
        np.float32(3.0),
    ],
    ids=["shape", "dtype", "nan", "empty", "scalar"],
)
def test_inputs_that_do_not_fit(
    array: Any, playbook: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "bad.npy", array)
    arguments = ["--cluster", str(cluster), "--input", str(tmp_path / "bad.npy")]
    assert run(["run", str(playbook), *arguments]) == 20
    assert "Traceback" not in capsys.readouterr().err


def test_a_playbook_changed_by_hand(playbook: Path, cluster: Path) -> None:
    playbook.write_text(playbook.read_text().replace("replicas", "replicaz", 1))
    assert run(["run", str(playbook), "--cluster", str(cluster), "--samples", "x"]) == 40


def test_a_playbook_for_other_devices(playbook: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("devices: [{name: someone, address: 'tcp/127.0.0.1:9'}]")
    file, _ = arrays(tmp_path, 1)
    assert run(["run", str(playbook), "--cluster", str(other), "--input", str(file)]) == 30


def test_nobody_is_there(
    playbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(
        "wait_s: 0.5\ndevices: [{name: worker-1, address: 'tcp/127.0.0.1:9'},"
        " {name: worker-2, address: 'tcp/127.0.0.1:10'}]"
    )
    file, _ = arrays(tmp_path, 1)
    assert run(["run", str(playbook), "--cluster", str(other), "--input", str(file)]) == 52
    assert "shoal worker" in capsys.readouterr().err

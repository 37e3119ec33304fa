"""``shoal simulate``: what it prints and writes, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.toys.network import ToyProfile

from shoal.cli.entry import run
from shoal.cli.fleets import counts_of
from shoal.errors import UsageError
from shoal.model.network import load
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.playbook import save
from shoal.plan.profiles import Profiles
from shoal.runtime import survey
from shoal.strategies.making import make


class Known(ToyProfile):
    """As it was measured: nothing is saved by running images together."""

    batch_ratio: ClassVar[dict[int, float]] = {}


CLUSTER = "{devices: [{name: a}, {name: b}], links: {default: {mbit_s: 100, rtt_ms: 1}}}"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CLUSTER)
    return path


def planned(tiny: Path, folder: Path, strategy: str, **options: Any) -> str:
    """A playbook for a network that takes 20 ms, whose parts are in the store."""
    network, stated = load(str(tiny)), Cluster.from_yaml(CLUSTER)
    profile = ToyProfile((20.0 / len(network.nodes),) * len(network.nodes))
    profiles = Profiles.scaled(stated, profile)
    built = make(strategy, network, stated, profiles, store=PartStore(), **options)
    save(built.playbook, folder / f"{strategy}.json")
    return str(folder / f"{strategy}.json")


@pytest.fixture
def replicas(tiny: Path, tmp_path: Path) -> str:
    return planned(tiny, tmp_path, "replicas")


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_table_has_the_words_of_shoal_run(
    replicas: str, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", replicas, "--cluster", str(cluster), "--seconds", "5"]) == 0
    shown = capsys.readouterr().out
    lines = {line[:24].strip(): line[24:].strip() for line in shown.splitlines()}
    assert "by replicas, 5 s in virtual time" in shown
    for word in ("answered", "late", "refused", "lost", "tried again", "degraded", "images/s"):
        assert word in lines, shown
    assert "latency, 8 under way" in shown
    assert "p99" in shown


def test_a_pipeline_whose_parts_are_in_the_store_is_simulated(
    tiny: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    book = planned(tiny, tmp_path, "pipeline", stages=2)
    arguments = ["simulate", book, "--cluster", str(cluster), "--seconds", "10", "--json"]
    assert run(arguments) == 0
    found = told(capsys)
    assert found["asked"] == found["answered"]
    assert found["images_per_s"] > 50
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "other"))
    assert run(arguments) == 70
    assert "run shoal plan again" in capsys.readouterr().err


def test_the_same_command_gives_the_same_output(
    replicas: str, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", replicas, "--cluster", str(cluster), "--seconds", "5", "--rate", "80"]
    words += ["--arrivals", "poisson", "--json"]
    outputs = []
    for seed in ("1", "1", "2"):
        assert run([*words, "--seed", seed]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_faults_are_played_drawn_and_recorded(
    replicas: str, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults, log = tmp_path / "f.yaml", tmp_path / "gateway.rec"
    faults.write_text(
        "- {kind: restart, at_s: 2, host: a, for_s: 2}\n"
        "- {kind: clock-jump, at_s: 1, host: a, by_s: 3}"
    )
    words = ["simulate", replicas, "--cluster", str(cluster), "--seconds", "8", "--window", "8"]
    words += ["--faults", str(faults), "--log", str(log), "--plot", str(tmp_path)]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "the fault clock-jump changes nothing here" in shown
    assert (tmp_path / "simulate.png").stat().st_size > 10_000
    assert run(["replay", str(log), "--story", "5", "--json"]) == 0
    replayed = told(capsys)
    assert replayed["played"]["difference"] is None
    assert replayed["played"]["events"] > 500
    assert "answered by plan" in replayed["story"]["lines"][-1]["text"]


def test_a_trace_of_times_is_asked_as_it_stands(
    replicas: str, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "times.txt"
    trace.write_text("0\n0.5\n0.5\n3\n")
    words = ["simulate", replicas, "--cluster", str(cluster), "--arrivals", str(trace), "--json"]
    assert run(words) == 0
    assert told(capsys)["asked"] == 4
    assert run([*words, "--seconds", "2"]) == 0
    assert told(capsys)["asked"] == 3


def test_more_devices_bring_more_until_they_bring_nothing(
    tiny: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(survey, "profile", lambda network, **_: Known((20.0 / 6,) * 6))
    words = ["simulate", str(tiny), "--cluster", str(cluster), "--devices", "1..4"]
    words += ["--strategy", "replicas", "--seconds", "5", "--rate", "140"]
    assert run([*words, "--json"]) == 0
    steps = told(capsys)["steps"]
    assert [step["devices"] for step in steps] == [1, 2, 3, 4]
    rates = [step["simulated"]["images_per_s"] for step in steps]
    assert rates[2] == pytest.approx(140, rel=0.05)
    assert rates[3] == pytest.approx(rates[2], rel=0.02), "140 are asked for"
    assert rates[0] < rates[1] < rates[2]
    assert run([*words, "--plot", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1 to 4 devices" in shown
    wrong = [w for w in ("late", "refused", "lost") if any(s["simulated"][w] for s in steps)]
    header = next(line for line in shown.splitlines() if "strategy" in line)
    assert wrong
    assert header.split()[-len(wrong) :] == wrong, "what never happened has no column"
    assert (tmp_path / "devices.png").exists()


def test_a_number_of_devices_for_which_there_is_no_plan_is_told(
    tiny: Path, cluster: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "profile", lambda network, **_: Known((20.0 / 6,) * 6))
    words = ["simulate", str(tiny), "--cluster", str(cluster), "--devices", "1..2", "--seconds"]
    assert run([*words, "2", "--strategy", "pipeline", "--stages", "2", "--json"]) == 0
    first, second = told(capsys)["steps"]
    assert (first["simulated"], first["refused"] != "") == (None, True)
    assert second["simulated"]["answered"] > 0
    assert run([*words, "2", "--strategy", "pipeline", "--stages", "2"]) == 0
    assert "with 1 it is not possible: " in capsys.readouterr().out


def test_where_devices_bring_nothing_it_says_how_to_see_what_they_would(
    tiny: Path, cluster: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow link the gateway alone is the best."""
    monkeypatch.setattr(survey, "profile", lambda network, **_: Known((0.01,) * 6))
    slow = cluster.with_name("slow.yaml")
    slow.write_text("{devices: [{name: a}], links: {default: {mbit_s: 0.1, rtt_ms: 50}}}")
    words = ["simulate", str(tiny), "--cluster", str(slow), "--devices", "1..2", "--seconds", "1"]
    assert run([*words, "--window", "4"]) == 0
    assert "name a --strategy to see what devices bring" in capsys.readouterr().out


WRONG = {
    "a rate of 0": (["--rate", "0"], 2, "--rate 0: write more than 0"),
    "a negative rate": (["--rate", "-5"], 2, "write more than 0"),
    "a rate that is no number": (["--rate", "nan"], 2, "write more than 0"),
    "too many requests": (["--rate", "1e9"], 2, "no more than"),
    "negative seconds": (["--seconds", "-1"], 2, "--seconds -1: write more than 0"),
    "endless seconds": (["--seconds", "inf"], 2, "--seconds inf"),
    "a rate and a window": (["--rate", "5", "--window", "2"], 2, "exclude each other"),
    "arrivals without a rate": (["--arrivals", "poisson"], 2, "give --rate"),
    "arrivals that there are not": (["--arrivals", "flood"], 25, "steady, poisson, bursts"),
    "a strategy without devices": (["--strategy", "replicas"], 2, "give --devices"),
    "an aim without devices": (["--objective", "latency"], 2, "give --devices"),
    "devices of a playbook": (["--devices", "1..2"], 2, "name the network"),
    "no range of devices": (["--devices", "2..1"], 2, "write it like 4 or 1..12"),
    "a log of many": (["--devices", "1..2", "--log", "x"], 2, "leave it out with --devices"),
    "a log that cannot be": (["--log", "/none/x"], 70, "cannot write"),
    "no faults": (["--faults", "none.yaml"], 91, "cannot be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused_in_one_line(
    case: str, replicas: str, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, code, words = WRONG[case]
    assert run(["simulate", replicas, "--cluster", str(cluster), *options]) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert words in shown.err


def test_files_that_make_no_sense_are_refused(
    replicas: str, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, words in (
        ("- {kind: kill, at_s: 1, host: pi}", "there is no 'pi' in the cluster"),
        ("- {kind: kill, at_s: 1, host: gateway}", "takes away the gateway"),
        ("- {kind: freeze, at_s: 1, host: a, for_s: -1}", "for_s is -1"),
        ("- {kind: melt, at_s: 1, host: a}", "kinds are kill"),
    ):
        (tmp_path / "f.yaml").write_text(text)
        arguments = ["--cluster", str(cluster), "--faults", str(tmp_path / "f.yaml")]
        assert run(["simulate", replicas, *arguments]) == 91
        assert words in capsys.readouterr().err
    (tmp_path / "times").write_text("1\n0\n")
    arguments = ["--cluster", str(cluster), "--arrivals", str(tmp_path / "times")]
    assert run(["simulate", replicas, *arguments]) == 25
    assert "line 2: time goes back" in capsys.readouterr().err
    (tmp_path / "times").write_text("1764515000\n1764515001\n")
    for more in ([], ["--seconds", "3"]):
        assert run(["simulate", replicas, *arguments, *more]) == 25
        assert "count from 0, or give other --seconds" in capsys.readouterr().err
    cluster.write_text("{devices: [{name: a}]}")
    assert run(["simulate", replicas, "--cluster", str(cluster)]) == 30
    assert "made for b, which the cluster 'cluster' does not have" in capsys.readouterr().err
    (tmp_path / "no.json").write_text("{}")
    assert run(["simulate", str(tmp_path / "no.json"), "--cluster", str(cluster)]) == 40


def test_packed_tensors_are_weighed_on_the_image_that_is_given(
    tiny: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import msgspec

    from shoal.plan.playbook import load as load_playbook
    from shoal.plan.playbook import playbook_id

    book = load_playbook(planned(tiny, tmp_path, "remote"))
    plans = tuple(msgspec.structs.replace(plan, codec="lossless") for plan in book.plans)
    packed = msgspec.structs.replace(book, plans=plans)
    save(msgspec.structs.replace(packed, id=playbook_id(packed)), tmp_path / "packed.json")
    np.save(tmp_path / "image.npy", np.zeros((1, 1, 8, 8), np.float32))
    words = ["simulate", str(tmp_path / "packed.json"), "--cluster", str(cluster)]
    words += ["--seconds", "2"]
    assert run(words) == 0
    assert "that of noise: give an image with --input" in capsys.readouterr().out
    assert run([*words, "--input", str(tmp_path / "image.npy")]) == 0
    assert "noise" not in capsys.readouterr().out
    outputs = []
    for _ in range(2):  # packing takes another time each time
        assert run([*words, "--json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


@pytest.mark.system
def test_the_output_is_the_same_in_another_process(replicas: str, cluster: Path) -> None:
    """In which names have other hashes, so that sets have another order."""
    words = ["simulate", replicas, "--cluster", str(cluster), "--seconds", "2", "--rate", "90"]
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "shoal", *words, "--arrivals", "poisson", "--json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=100,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_numbers_of_devices() -> None:
    assert [*counts_of("3")] == [3]
    assert [*counts_of("1..4")] == [1, 2, 3, 4]
    for wrong in ("0", "..", "1..", "a", "5..2", "1..65", "-1..2"):
        with pytest.raises(UsageError, match="write it like"):
            counts_of(wrong)

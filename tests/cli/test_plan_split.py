"""shoal plan --strategy split: what it writes, explains and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from shoal import zoo
from shoal.cli.entry import run
from shoal.plan.playbook import load

CLUSTER = """
devices: [{name: server, speed: 4}]
gateway: {name: cam, compute: true, speed: 0.01}
links: {default: {mbit_s: 10, rtt_ms: 4}}
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    np.save(root / "some.npy", zoo.samples("fashion-resnet").images[:20])
    return root


def arguments(cluster: Path, *more: str) -> list[str]:
    return ["plan", "fashion-resnet", "--cluster", str(cluster), "--strategy", "split", *more]


def test_a_playbook_is_calibrated_written_and_explained(
    cluster: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "book.json"
    wish = ["--min-accuracy", "0.8", "--minimise", "latency", "--then", "bytes"]
    more = ["--max-latency-ms", "500", "--calibrate", str(images), "--explain"]
    assert run(arguments(cluster, *wish, *more, "-o", str(out))) == 0
    shown = capsys.readouterr().out
    assert "what is chosen at which bandwidth" in shown
    assert "only 20 images" in shown
    playbook = load(out)
    assert playbook.policy.name == "split"
    assert playbook.policy.settings["aims"] == ["latency", "bytes"]
    assert dict(playbook.policy.settings["limits"])["latency"] == 500.0
    assert any(plan.tolerance is None for plan in playbook.plans)


def test_the_same_as_json_for_one_bandwidth(
    cluster: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--calibrate", str(images), "--min-accuracy", "0.8", "--bandwidth", "3"]
    assert run(arguments(cluster, *more, "--explain", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    (at,) = found["bandwidths"]
    assert at["mbit_s"] == 3
    assert at["chosen"]["why"] == "chosen"
    assert at["chosen"]["bound"] in ("device", "link", "server")
    assert all(other["why"] for other in at["others"])
    assert {plan["plan"] for plan in found["front"]} <= {plan["name"] for plan in found["plans"]}


def test_a_picture_is_drawn(cluster: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run(arguments(cluster, "--plot", str(tmp_path / "plots"))) == 0
    assert (tmp_path / "plots" / "split.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--minimise", "beauty"], 40, "throughput"),
        (["--task", "beauty"], 40, "classifier, detector, segmenter, embedding, sequence"),
        (["--task", "detector", "--agreement", "own.py:alike"], 40, "say the same: give one"),
        (["--task", "detector", "--calibrate", "."], 40, "how boxes are read from 'logits'"),
        (["--agreement", "nowhere.py:alike", "--calibrate", "."], 25, "cannot read nowhere.py"),
        (["--min-accuracy", "1.5"], 40, "0.99"),
        (["--max-latency-ms", "-3"], 40, "max_latency_ms"),
        (["--calibrate", "no/such/folder"], 25, "no/such/folder"),
        (["--then", "bytes"], 2, "--minimise"),
        (["--minimise", "latency", "--objective", "bytes"], 2, "--objective"),
        (["--minimise", "energy"], 40, "power"),
        (["--explain", "--bandwidth", "0"], 40, "bandwidth"),
        (["--confidence", "2"], 40, "confidence"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], code: int, words: str, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(cluster, *options)) == code
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_an_empty_folder_is_no_calibration(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(arguments(cluster, "--calibrate", str(tmp_path / "empty"))) == 25
    assert "no images" in capsys.readouterr().err


def test_explaining_is_for_split(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "fashion-resnet", "--cluster", str(cluster), "--explain"]) == 2
    assert "--strategy relay or shards or split" in capsys.readouterr().err


def test_a_gateway_that_does_not_compute_leaves_one_device_only(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.write_text(CLUSTER.replace("compute: true, ", ""))
    assert run(arguments(cluster)) == 40
    assert "compute: true" in capsys.readouterr().err

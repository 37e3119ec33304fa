"""shoal plan and shoal run, on two real workers."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import shoal
from shoal.cli.entry import run
from shoal.cli.plan import lasting
from shoal.errors import UnreachableError
from shoal.plan.playbook import load
from shoal.plan.recommend import Option
from shoal.runtime.probe import Prober
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


def test_nothing_is_recommended_where_a_device_could_not_be_measured(
    tiny: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lost(self: Prober, peer: str, *about: Any, **how: Any) -> Any:
        raise UnreachableError(f"{peer} was lost before it answered")

    monkeypatch.setattr(Prober, "device", lost)
    out = tmp_path / "p.json"
    arguments = ["plan", str(tiny), "--cluster", str(cluster), "-o", str(out)]
    assert run(arguments) == 41
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "no recommendation, because worker-1 is there and could not be measured" in shown.err
    assert not out.exists()


def test_what_was_taken_for_true_is_told(
    tiny: Path,
    cluster: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = cluster.read_text().replace("devices:", "devices:\n- {name: away, address: nowhere:9}")
    cluster.write_text(text)
    assert run(["plan", str(tiny), "--cluster", str(cluster), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["assumed"] == ["away"]
    assert caplog.messages == ["away is not there: its stated speed and link are used"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--strategy", "teleport"], 40, "pipeline"),
        (["--objective", "beauty"], 40, "throughput"),
        (["--cluster", "nowhere.yaml"], 30, "nowhere.yaml"),
        (["--strategy", "pipeline", "--stages"], 2, "--stages VALUE"),
        (["--strategy", "pipeline", "--stages", "2", "--stages=3"], 2, "twice"),
        (["--strategy", "pipeline", "--stages", "9"], 40, "stages"),
        (["--strategy", "pipeline", "--rho", "0.5"], 40, "it has: stages"),
        (["--stages", "x"], 40, "--stages 4"),
        (["--survive", "-1"], 40, "write 0 or more"),
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
    arguments = ["--cluster", str(cluster), "--strategy", "pipeline", "--stages", "2"]
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


def test_stories_are_told_and_a_recording_is_played_again(
    playbook: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = arrays(tmp_path, 5)
    record = tmp_path / "gateway.rec"
    arguments = ["run", str(playbook), "--cluster", str(cluster), "--input", str(file)]
    arguments += ["--stories", "2", "--record", str(record)]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert out.count("asked: to be answered within 10 s") == 2
    assert out.count(", as gateway saw it") == 2
    assert run([*arguments, "--json"]) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["request"] for line in lines] == list(range(5))
    slowest = max(lines, key=lambda line: float(line["latency_ms"]))
    assert [len(last["stories"]), last["stories"][0]["number"]] == [2, slowest["request"]]
    for path in (record, record.with_name("gateway.rec.1")):
        assert run(["replay", str(path), "--story", "3"]) == 0
        out = capsys.readouterr().out
        assert re.match(r"\d+ events of gateway, the same \d+ actions\n", out)
        assert "request 3, as gateway saw it" in out


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A network that counts time first and images second, as those do that read lines of text; it
    also gives three boxes for all it sees, and where the best letter is."""
    weights = [
        numpy_helper.from_array(np.eye(8, 5, dtype=np.float32), "w"),
        numpy_helper.from_array(np.array([3, 1, 4], np.int64), "boxes"),
    ]
    nodes = [
        helper.make_node("Transpose", ["image"], ["columns"], perm=[2, 0, 1]),
        helper.make_node("MatMul", ["columns", "w"], ["letters"]),
        helper.make_node("ReduceMax", ["letters"], ["most"], axes=[1, 2], keepdims=0),
        helper.make_node("Gather", ["most", "boxes"], ["file"]),
        helper.make_node("ArgMax", ["letters"], ["best"], axis=2, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8, 6])],
        [
            helper.make_tensor_value_info("letters", TensorProto.FLOAT, [6, "batch", 5]),
            helper.make_tensor_value_info("file", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("best", TensorProto.INT64, [6, "batch"]),
        ],
        weights,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "reader.onnx")
    return tmp_path / "reader.onnx"


def test_outputs_are_laid_out_by_where_their_images_are(
    reader: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, out = tmp_path / "p.json", tmp_path / "answers.npz"
    arguments = ["--cluster", str(cluster), "--strategy", "replicas", "-o", str(book)]
    assert run(["plan", str(reader), *arguments]) == 0
    images = np.random.default_rng(0).standard_normal((7, 8, 6), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    capsys.readouterr()
    arguments = ["--cluster", str(cluster), "--input", str(tmp_path / "images.npy")]
    assert run(["run", str(book), *arguments, "-o", str(out), "--json"]) == 0
    *lines, _ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["class"] for line in lines} == {None}  # there is none
    network = shoal.load(reader)
    with np.load(out) as kept:
        assert kept["letters"].shape == (6, 7, 5)
        assert kept["file"].shape == (7, 3)
        assert kept["best"].shape == (6, 7)
        for k in range(7):
            alone = network.run({"image": images[k : k + 1]})
            np.testing.assert_allclose(kept["letters"][:, [k]], alone["letters"], rtol=1e-5)
            np.testing.assert_allclose(kept["file"][k], alone["file"], rtol=1e-5)
            np.testing.assert_array_equal(kept["best"][:, [k]], alone["best"])


def test_two_inputs_of_different_lengths_are_refused(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "ab"]
    total = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "sum", rows, [total])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "sum.onnx")
    book, file = tmp_path / "p.json", tmp_path / "x.npz"
    arguments = ["--cluster", str(cluster), "--strategy", "remote", "-o", str(book)]
    assert run(["plan", str(tmp_path / "sum.onnx"), *arguments]) == 0
    a, b = np.ones((5, 2), np.float32), np.ones((1, 2), np.float32)
    np.savez(file, a=a, b=b)
    arguments = ["run", str(book), "--cluster", str(cluster), "--input", str(file)]
    capsys.readouterr()
    assert run(arguments) == 20
    assert "5 of 'a', 1 of 'b'" in capsys.readouterr().err
    np.savez(file, a=a, b=b.repeat(5, 0))
    assert run([*arguments, "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


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


def test_what_was_answered_before_an_interruption_is_told(
    playbook: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, _ = arrays(tmp_path, 30)
    submit, asked = Service.submit_together, []

    def interrupted(self: Service, *given: Any, **more: Any) -> Any:
        asked.append(given)
        if len(asked) > 20:
            raise KeyboardInterrupt
        return submit(self, *given, **more)

    monkeypatch.setattr(Service, "submit_together", interrupted)
    capsys.readouterr()
    out = tmp_path / "answers.npz"
    arguments = ["--cluster", str(cluster), "--input", str(file), "--window", "2", "--json"]
    assert run(["run", str(playbook), *arguments, "-o", str(out)]) == 130
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 18 <= len(lines) <= last["summary"]["answered"]
    assert last["left"] == 30 - len(lines)
    stages = [stage for line in lines for stage in line["stages"]]
    assert all(stage["wait_ms"] >= 0 and stage["bytes_out"] > 0 for stage in stages)
    with np.load(out) as kept:
        assert kept["numbers"].tolist() == [line["number"] for line in lines]
        assert len(kept["logits"]) == len(lines)


def test_a_process_that_is_told_to_stop_tells_and_writes_what_was_answered(
    playbook: Path, cluster: Path, tmp_path: Path
) -> None:
    file, _ = arrays(tmp_path, 200_000)
    out = tmp_path / "answers.npz"
    command = [sys.executable, "-m", "shoal", "run", str(playbook), "--cluster", str(cluster)]
    command += ["--input", str(file), "-o", str(out), "--json", "--together", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(100)]
        process.terminate()
        lines += process.stdout.read().splitlines()
        assert process.wait(60) == 143
    *told, last = [json.loads(line) for line in lines]
    assert 100 <= len(told) == 200_000 - last["left"] < 200_000
    with np.load(out) as kept:
        assert kept["numbers"].tolist() == [line["number"] for line in told]
        assert len(kept["logits"]) == len(told)


def test_what_was_answered_is_written_although_some_failed(
    playbook: Path, tiny: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, images = arrays(tmp_path, 5)
    right = shoal.load(tiny).run({"image": images})["logits"]
    images[1, 0, 0, 0] = np.nan
    np.save(file, images)
    out = tmp_path / "answers.npz"
    arguments = ["--cluster", str(cluster), "--input", str(file), "-o", str(out)]
    assert run(["run", str(playbook), *arguments, "--together", "2"]) == 20
    with np.load(out) as kept:
        assert kept["numbers"].tolist() == [0, 2, 3, 4]
        np.testing.assert_allclose(kept["logits"], right[[0, 2, 3, 4]], rtol=1e-4, atol=1e-4)


def test_a_disk_that_is_full_is_told_behind_the_answers(
    playbook: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    file, _ = arrays(tmp_path, 3)
    capsys.readouterr()
    arguments = ["--cluster", str(cluster), "--input", str(file), "-o", "/dev/full", "--json"]
    assert run(["run", str(playbook), *arguments]) == 70
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[-1])["summary"]["answered"] == 3
    assert "cannot write /dev/full" in shown.err


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


@pytest.mark.parametrize(
    ("judged", "lost", "said"),
    [
        (1, (), "any device"),
        (2, (), "any 2 devices"),
        (1, (("a",), ("b",)), "any but a, b"),
        (2, (("a", "b"), ("a", "c")), "any device, not a+b, a+c together"),
        (3, (("a", "b", "c"),), "any 2 devices, not a+b+c together"),
        (2, (("a",), ("b", "c")), "any but a"),
        (1, tuple((name,) for name in "abcdef"), "any but a, b, c, d, ..."),
    ],
)
def test_which_losses_are_stood_is_told(judged: int, lost: tuple[Any, ...], said: str) -> None:
    assert lasting(Option("toy", unprotected=lost, judged=judged)) == said


def test_what_is_kept_is_told_where_it_is_less() -> None:
    assert lasting(Option("toy", kept=0.9)) == "any device, keeping 0.900"

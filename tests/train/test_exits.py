"""Exits for networks of every kind, from the command line and alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.model import nets
from tests.train import tiny

import shoal
from shoal.cli.entry import run
from shoal.errors import CutError, DataError, ProofError, UnsupportedModelError, UsageError
from shoal.model.confidence import confidences, softmax
from shoal.model.engine import Engine
from shoal.model.exits import Exits
from shoal.model.graph import whole
from shoal.model.network import Network
from shoal.model.spec import TensorSpec
from shoal.model.staged import staged
from shoal.plan.thresholds import NEVER, expected
from shoal_train.datasets import Split
from shoal_train.exits import job as working
from shoal_train.exits.agreement import LEAST, agree, agreeing
from shoal_train.exits.cuts import chosen, shares
from shoal_train.exits.heads import averaging
from shoal_train.exits.learn import column, fit, logits_of, temperature
from shoal_train.exits.material import ends, gather
from shoal_train.exits.place import Place

CLASSES = len(tiny.CLASSES)


def classifier(*, softmax: bool = False, dtype: str = "float32", batch: int | str = "n") -> bytes:
    """Convolutions that see edges, and four classes, each the answer now and then."""
    images = tiny.split(100, 9).images / np.float32(1 if dtype == "uint8" else 255)
    plain = shoal.load(written(None, False, dtype, "n"))
    scores = plain.run({"x": images.astype(dtype)})["y"]
    return written(-scores.mean(axis=0), softmax, dtype, batch)


def written(bias: np.ndarray | None, softmax: bool, dtype: str, batch: int | str) -> bytes:
    first = "x" if dtype == "float32" else "x0"
    nodes = [] if dtype == "float32" else [nets.node("Cast", "x", "x0", to=1)]
    nodes += [
        nets.node("Conv", f"{first} w1", "a", pads=[1, 1, 1, 1]),
        nets.node("Relu", "a", "b"),
        nets.node("Conv", "b w2", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        nets.node("Relu", "c", "d"),
        nets.node("GlobalAveragePool", "d", "e"),
        nets.node("Flatten", "e", "f"),
        nets.node("Gemm", "f w3 b3", "g" if softmax else "y"),
    ]
    nodes += [nets.node("Softmax", "g", "y", axis=1)] if softmax else []
    weights = {
        "w1": nets.random(6, 1, 3, 3),
        "w2": nets.random(8, 6, 3, 3, seed=1) / 4,
        "w3": np.roll(
            nets.random(8, CLASSES, seed=2), 1, axis=1
        ),  # most are right by tiny's labels
        "b3": np.zeros(CLASSES, np.float32) if bias is None else bias,
    }
    side = tiny.SIDE
    return nets.model(nodes, [nets.tensor("x", [batch, 1, side, side], dtype)], ["y"], weights)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, and data by the name fashion-mnist that it takes."""
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "shoal_train.datasets.load", lambda name, say: tiny.data(train=240, test=120)
    )
    (tmp_path / "net.onnx").write_bytes(classifier())
    return tmp_path


def arrays(folder: Path, count: int = 120, **changes: object) -> Path:
    folder.mkdir()
    images = tiny.split(count, 3).images / np.float32(255)
    np.save(folder / "some.npy", images.astype(changes.get("dtype", np.float32)))
    return folder


def test_a_file_with_exits_comes_of_a_network(at_home: Path, capsys) -> None:
    out = at_home / "out.onnx"
    words = ["train", "exits", str(at_home / "net.onnx"), "--data", "fashion-mnist"]
    words += ["--at", "2,4", "-o", str(out), "--plot", str(at_home), "--target-drop", "2"]
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made, plain = shoal.load(out), shoal.load(classifier())
    assert made.hash == plain.hash  # so profiles and playbooks of the one are those of the other
    assert made.exits is not None
    assert [each["at"] for each in found["exits"]] == [2, 4]
    assert [each["drop"] for each in found["drops"]] == [0, 0.25, 0.5, 1, 2]
    assert found["images"] == {"table": 40, "judged": 40}
    assert found["against"] == made.exits.against == "labels"
    # The network is often wrong; what was learned tells surfaces apart.
    *exits, end = made.exits.accuracies
    assert min(exits) > 0.8 > end
    assert (at_home / "exits.png").stat().st_size > 1000
    parts = staged(made, made.exits)
    assert [part.range for part in parts] == [(0, 2), (2, 4), (4, len(plain.nodes))]
    assert all(part.stacks for part in parts)
    assert run(words) == 0
    assert "where images leave" in capsys.readouterr().out


def test_without_labels_exits_learn_what_the_network_says(at_home: Path, capsys) -> None:
    folder = arrays(at_home / "some", 600)
    out = at_home / "out.onnx"
    words = ["train", "exits", str(at_home / "net.onnx"), "--data", f"images:{folder}"]
    assert run([*words, "--at", "auto", "-o", str(out), "--epochs", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made = shoal.load(out)
    assert found["against"] == made.exits.against == "network"
    assert found["accuracy"] == 1.0
    assert min(made.exits.accuracies) > 0.6
    assert found["drops"][0]["accuracy"] <= 1.0


def test_exits_that_say_how_far_they_agree(at_home: Path, capsys) -> None:
    """What each is sure of by the parts of the file is what its table was made of."""
    out = at_home / "out.onnx"
    words = ["train", "exits", str(at_home / "net.onnx"), "--data", "fashion-mnist", "--at", "2,4"]
    assert run([*words, "-o", str(out), "--criterion", "agreement", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made, network = shoal.load(out), shoal.load(classifier())
    assert made.hash == network.hash
    first, second = made.exits.heads
    assert {each["criterion"] for each in found["exits"]} == {"agreement"}
    parts = staged(made, made.exits)
    assert [part.inputs for part in parts] == [("x",), ("b", first.tensor), ("d",)]
    assert all(part.stacks for part in parts)
    table = gather("fashion-mnist", network, 100, 7).table
    tensors = {"x": table.inputs / np.float32(255)}
    for part in parts:
        tensors |= part.run({name: tensors[name] for name in part.inputs})
    shares = [
        softmax(tensors[head.tensor] / np.float64(head.temperature)) for head in (first, second)
    ]
    both = np.minimum(*shares).max(axis=1)
    for head, expected_sure, column_ in zip(
        (first, second), (shares[0].max(axis=1), both), made.exits.table, strict=False
    ):
        sure = confidences(tensors[head.tensor], head.criterion, head.temperature)
        np.testing.assert_allclose(sure, np.maximum(expected_sure, LEAST), rtol=1e-3)
        np.testing.assert_allclose(np.abs(column_), 1000 * sure, atol=1.01)
        right = tensors[head.tensor].argmax(axis=1) == table.labels
        assert np.array_equal(np.array(column_) > 0, right)
    assert (both < shares[1].max(axis=1) - 0.01).any(), "some follow one that is not sure"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_a_file_shifts_logits_as_was_learned(dtype: str, opset: int) -> None:
    nodes = [nets.node("Identity", name, f"{name}_y") for name in "ab"]
    inputs = [nets.tensor(name, ["n", 3], dtype) for name in "ab"]
    graph = shoal.load(nets.model(nodes, inputs, ["a_y", "b_y"], opset=opset)).graph.copy()
    output = TensorSpec("y", dtype, (None, 3))
    first = agree(graph, "a", 2.0, None, output)
    second = agree(graph, "b", 0.5, working.ExitHead("t", first, "y", "agreement", 2.0), output)
    # Both are sure, of the same and of others; and the first, or the second, is not.
    a = np.array([[0, 9, 0], [0, 9, 0], [30, 0, 0], [2, 1, 0], [0, 9, 0]], dtype)
    b = np.array([[0, 4, 1], [0, 1, 4], [0, 0, 90], [0, 4, 0], [0, 1, 1]], dtype)
    given = Engine().load(*whole(graph, (first, second))).run({"a": a, "b": b})
    wanted = agreeing([a.astype(np.float32), b.astype(np.float32)], [2.0, 0.5])
    close = {"rtol": 2e-3, "atol": 5e-3} if dtype == "float16" else {"rtol": 1e-5, "atol": 1e-5}
    for name, logits, own in zip((first, second), wanted, (a, b), strict=True):
        assert given[name].dtype == np.dtype(dtype)
        np.testing.assert_allclose(given[name].astype(np.float32), logits, **close)
        moved = logits - own
        np.testing.assert_allclose(moved, moved[:, :1].repeat(3, axis=1), atol=1e-4)
    sure = confidences(wanted[1], "agreement", 0.5)
    assert sure[0] == pytest.approx(1 / (1 + 2 * np.exp(-4.5)))
    assert sure[1] == pytest.approx(np.exp(-4.5) / (1 + 2 * np.exp(-4.5)))
    assert sure[2] == pytest.approx(LEAST)
    assert sure[3] == pytest.approx(np.exp(0.5) / (np.exp(1) + np.exp(0.5) + 1), rel=1e-3)
    assert sure[4] == pytest.approx(1 / (2 + np.exp(-2.0)))


def test_who_contradicts_the_exit_before_is_at_most_half_sure() -> None:
    chance = np.random.default_rng(3)
    first, second = (chance.normal(0, 4, (2000, 3)).astype(np.float32) for _ in range(2))
    sure = confidences(agreeing([first, second], [1.0, 1.0])[1], "agreement", 1.0)
    same = first.argmax(axis=1) == second.argmax(axis=1)
    assert sure[~same].max() <= 0.5 + 1e-6 < sure[same].max()


@pytest.mark.parametrize("kind", ["softmax", "bytes", "fixed"])
def test_networks_of_other_kinds(kind: str, at_home: Path) -> None:
    source = {
        "softmax": classifier(softmax=True),
        "bytes": classifier(dtype="uint8"),
        "fixed": classifier(batch=1),
    }[kind]
    job = working.Job(shoal.load(source), at_home / "out.onnx", "fashion-mnist", "4", epochs=4)
    trained = working.run(job, lambda what, share: None)
    made = shoal.load(at_home / "out.onnx")
    assert made.exits == trained.exits
    assert trained.exits.accuracies[0] > 0.8 > trained.exits.accuracies[-1]


def test_a_network_that_has_exits_gets_others(at_home: Path) -> None:
    for at in ("2", "4"):
        source = at_home / ("out.onnx" if at == "4" else "net.onnx")
        job = working.Job(shoal.load(source), at_home / "out.onnx", "fashion-mnist", at, epochs=1)
        working.run(job, lambda what, share: None)
    made = shoal.load(at_home / "out.onnx")
    assert made.exits.afters == ("d",)
    assert len(made.with_exits.outputs) == 2


def test_a_file_that_gives_other_logits_is_not_written(at_home: Path, monkeypatch) -> None:
    real = working.dense
    monkeypatch.setattr(
        working, "dense", lambda graph, found, weights, bias, output: real(
            graph, found, weights, bias + np.float32(0.1), output)
    )  # fmt: skip
    out = at_home / "out.onnx"
    job = working.Job(shoal.load(at_home / "net.onnx"), out, "fashion-mnist", "4", epochs=1)
    with pytest.raises(ProofError, match="other answers than were learned"):
        working.run(job, lambda what, share: None)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--at", "99"], 13, "no cut at 99"),
        (["--at", "2,no"], 2, "write numbers of cuts"),
        (["--target-drop", "-1"], 2, "target-drop"),
        (["--criterion", "luck"], 2, "softmax, margin, entropy"),
        (["--data", "images:nowhere"], 25, "nowhere"),
        (["-o", "nowhere/out.onnx"], 70, "nowhere"),
    ],
)
def test_bad_input_is_one_line(words, code, said, at_home: Path, capsys) -> None:
    given = {"-o": str(at_home / "out.onnx"), "--data": "fashion-mnist", "--at": "2"}
    given |= dict([words])
    flat = [word for pair in given.items() for word in pair]
    assert run(["train", "exits", str(at_home / "net.onnx"), *flat]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_labels_that_are_other_classes_to_the_network_are_refused(
    at_home: Path, monkeypatch
) -> None:
    data = tiny.data(train=240, test=120)
    turned = Split(data.train.images, (data.train.labels + 1) % CLASSES)
    monkeypatch.setattr("shoal_train.datasets.load", lambda *_: replace(data, train=turned))
    job = working.Job(
        shoal.load(at_home / "net.onnx"), at_home / "out.onnx", "fashion-mnist", "4", epochs=1
    )
    with pytest.raises(DataError, match="by their folders"):
        working.run(job, lambda what, share: None)
    assert not job.out.exists()


def test_a_network_without_classes_is_refused() -> None:
    image = [nets.node("Conv", "x w", "y", pads=[1, 1, 1, 1])]
    weights = {"w": nets.random(2, 1, 3, 3)}
    network = shoal.load(nets.model(image, [nets.tensor("x", ["n", 1, 8, 8])], ["y"], weights))
    with pytest.raises(UnsupportedModelError, match="scores of two classes"):
        ends(network)
    two = [nets.node("Gemm", "x w", "y"), nets.node("Relu", "y", "z")]
    network = shoal.load(
        nets.model(two, [nets.tensor("x", ["n", 4])], ["y", "z"], {"w": nets.random(4, 3)})
    )
    with pytest.raises(UnsupportedModelError, match="scores of two classes"):
        ends(network)


def test_a_calibration_of_one_class_is_refused(at_home: Path, monkeypatch) -> None:
    data = tiny.data(test=120)
    object.__setattr__(data, "test", data.test.take(np.zeros(120, np.int64)))
    monkeypatch.setattr("shoal_train.datasets.load", lambda name, say: data)
    job = working.Job(shoal.load(at_home / "net.onnx"), at_home / "o.onnx", "fashion-mnist", "2")
    with pytest.raises(DataError, match="of one class"):
        working.run(job, lambda what, share: None)


def test_data_that_does_not_fit_is_refused(at_home: Path, monkeypatch) -> None:
    network = shoal.load(at_home / "net.onnx")
    monkeypatch.setattr("shoal_train.datasets.load", lambda name, say: tiny.data(test=20))
    with pytest.raises(DataError, match="20 images to hold exits against"):
        gather("fashion-mnist", network, 100, 1)
    small = tiny.data()
    object.__setattr__(small.train, "labels", small.train.labels + 1)
    monkeypatch.setattr("shoal_train.datasets.load", lambda name, say: small)
    with pytest.raises(DataError, match="has class 4, the network tells 4 apart"):
        gather("fashion-mnist", network, 100, 1)
    other = [nets.node("Flatten", "x", "f"), nets.node("Gemm", "f w", "y")]
    wide = nets.model(other, [nets.tensor("x", ["n", 9])], ["y"], {"w": nets.random(9, 4)})
    with pytest.raises(DataError, match="the network takes"):
        gather("fashion-mnist", shoal.load(wide), 100, 1)


def test_no_image_is_in_two_lots(at_home: Path) -> None:
    folder = arrays(at_home / "some", 130)
    lots = gather(f"images:{folder}", shoal.load(at_home / "net.onnx"), 1000, 1)
    each = [lots.learn, lots.temperatures, lots.table, lots.judged]
    assert list(map(len, each)) == [65, 21, 21, 23]
    rows = {row.tobytes() for some in each for row in some.inputs}
    assert len(rows) == 130
    assert len(gather(f"images:{folder}", shoal.load(at_home / "net.onnx"), 7, 1).learn) == 7


KINDS = {
    "flat": ([nets.node("Gemm", "x w", "t")], [6], {"w": nets.random(6, 5)}),
    "rows": ([nets.node("Conv", "x w", "t")], [3, 11], {"w": nets.random(5, 3, 2)}),
    "tokens": ([nets.node("MatMul", "x w", "s"), nets.node("Relu", "s", "t")], [7, 6],
               {"w": nets.random(6, 5)}),
    "image": ([nets.node("Conv", "x w", "t")], [3, 10, 8], {"w": nets.random(5, 3, 1, 1)}),
    "solid": ([nets.node("Conv", "x w", "t")], [3, 4, 5, 6], {"w": nets.random(5, 3, 1, 1, 1)}),
    "halves": ([nets.node("Conv", "x w", "s"), nets.node("Cast", "s", "t", to=10)], [3, 6, 6],
               {"w": nets.random(5, 3, 1, 1)}),
}  # fmt: skip


def of_kind(kind: str) -> Network:
    """A network whose tensor ``t`` is of a kind, with five channels."""
    nodes, shape, weights = KINDS[kind]
    inputs = [nets.tensor("x", ["n", *shape])]
    nodes = [*nodes, nets.node("Cast", "t", "t2", to=1), nets.node("Flatten", "t2", "f")]
    width = shoal.load(nets.model(nodes, inputs, ["f"], weights)).outputs[0].shape[1]
    nodes.append(nets.node("Gemm", "f v", "y"))
    weights = {**weights, "v": nets.random(width, CLASSES, seed=4)}
    return shoal.load(nets.model(nodes, inputs, ["y"], weights))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cells", [1, 3])
def test_a_head_averages_tensors_of_any_rank(kind: str, cells: int) -> None:
    network = of_kind(kind)
    network.weight_bytes = 10**9  # so that heads may have all the cells that they ask for
    graph = network.graph.copy()
    cut = next(cut for cut in network.cuts if cut.names == ("t",))
    found = averaging(network, cut, cells, graph)
    graph.nodes += found.nodes
    feeds = network.probe(batch=3)
    given = Engine().load(*whole(graph, ("t", found.features))).run(feeds)
    tensor, seen = given["t"].astype(np.float32), given[found.features]
    assert seen.shape == (3, found.count)
    assert seen.dtype == np.float32
    last = kind in ("tokens", "flat")
    wide = tensor.reshape(3, -1, 5).transpose(0, 2, 1) if last else tensor.reshape(3, 5, -1)
    if cells == 1:
        np.testing.assert_allclose(seen, wide.mean(axis=2), rtol=1e-3, atol=1e-3)
    elif kind != "flat":
        assert found.count > 5
        # Every place counts in some cell, and cells hold no more than there is.
        assert seen.max() <= tensor.max() + 1e-3
        one = np.zeros_like(tensor)
        one[(0, *(-1 for _ in tensor.shape[1:]))] = 1.0
        pool = Engine().load(*whole_of(network, found, graph))
        assert pool.run({"t": one.astype(given["t"].dtype)})[found.features].max() > 0


def whole_of(network: Network, found, graph):
    """The averaging alone."""
    alone = graph.copy()
    alone.nodes = list(found.nodes)
    alone.inputs = (network.spec("t"),)
    alone.weights = {}
    return whole(alone, (found.features,))


def test_cells_are_fewer_where_their_weights_would_be_many() -> None:
    network = shoal.load(classifier())
    cut = next(cut for cut in network.cuts if cut.names == ("b",))
    counts = []
    for weight_bytes in (10**9, 4 * 4 * 6 * 4 * 20, 1):
        network.weight_bytes = weight_bytes
        counts.append(averaging(network, cut, 4, network.graph.copy()).count)
    assert counts == [6 * 16, 6 * 4, 6]


def test_a_tensor_without_a_row_for_each_image_is_refused() -> None:
    nodes = [
        nets.node("Transpose", "x", "t", perm=[1, 0]),
        nets.node("Relu", "t", "u"),
        nets.node("Transpose", "u", "v", perm=[1, 0]),
        nets.node("Gemm", "v w", "y"),
    ]
    network = shoal.load(
        nets.model(nodes, [nets.tensor("x", ["n", 6])], ["y"], {"w": nets.random(6, 3)})
    )
    with pytest.raises(CutError, match="no cut at 2"):
        chosen(network, "2", [1.0] * 4)
    cut = next(cut for cut in network.cuts if cut.names == ("u",))
    with pytest.raises(CutError, match="a row for each image"):
        averaging(network, cut, 1, network.graph.copy())


def test_cuts_of_its_own_choice_lie_at_equal_times() -> None:
    nodes = [nets.node("Gemm", f"t{k} w", f"t{k + 1}") for k in range(12)]
    network = shoal.load(
        nets.model(nodes, [nets.tensor("t0", ["n", 6])], ["t12"], {"w": nets.random(6, 6)})
    )
    cuts = chosen(network, "auto", [1.0] * 12)
    assert [cut.at for cut in cuts] == [3, 6, 9]
    assert shares([1.0] * 12, cuts) == [0.25] * 4
    slow = [10.0, *[1.0] * 10, 10.0]
    assert [cut.at for cut in chosen(network, "auto", slow)] == [1, 6, 11]
    with pytest.raises(UsageError, match="16 exits are possible"):
        chosen(network, ",".join(map(str, range(1, 18))), slow)


def test_a_head_learns_what_is_to_be_learned() -> None:
    chance = np.random.default_rng(0)
    given = chance.normal(3, 2, (600, 4)).astype(np.float32)
    labels = given[:, :3].argmax(axis=1)
    own = chance.normal(0, 1, (600, 3)).astype(np.float32)
    weights, bias = fit(given, 9 * np.eye(3, dtype=np.float32)[labels], labels, 60, 1, print_no)
    assert ((given @ weights + bias).argmax(axis=1) == labels).mean() > 0.95
    # Without labels it learns what the network says, right or wrong.
    weights, bias = fit(given, -9 * np.eye(3, dtype=np.float32)[labels], None, 40, 1, print_no)
    assert ((given @ weights + bias).argmax(axis=1) == labels).mean() < 0.2
    again = fit(given, own, labels, 2, 1, print_no)
    same = fit(given, own, labels, 2, 1, print_no)
    assert np.array_equal(again[0], same[0])


def print_no(share: float) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_by_which_answers_were_drawn(known: float) -> None:
    chance = np.random.default_rng(2)
    logits = chance.normal(0, 2, (40_000, 5))
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    answers = (shares.cumsum(axis=1) < chance.random((len(logits), 1))).sum(axis=1)
    found = temperature((known * logits).astype(np.float32), answers)
    assert found == pytest.approx(known, rel=0.03)


def test_a_column_says_how_sure_and_how_right() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]], np.float32) + 1e-9)
    logits[2] = np.nan
    found = column(logits, np.array([0, 0, 1]), "softmax", 1.0)
    assert [abs(found[0] - 900) <= 1, abs(found[1] + 750) <= 1, found[2]] == [True, True, -1]
    assert column(np.array([[0.0, 900.0]]), np.array([1]), "margin", 1.0) == (1000,)


def test_scores_become_logits() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(np.exp(logits_of(shares)), shares, atol=1e-6)
    scores = np.array([[3.0, -1.0, 0.5]], np.float32)
    found = logits_of(scores)
    np.testing.assert_allclose(found - found[0, 0], scores - scores[0, 0], atol=1e-5)


def test_the_summary_takes_thresholds_from_the_table_alone() -> None:
    cut = next(iter(shoal.load(classifier()).cuts))
    head = working.ExitHead("b", "e", "y")
    table = Exits((head,), ((900, 900, -100), (5, 5, 5)))
    judged = Exits((head,), ((-950, 950, 50, 50), (5, 5, 5, 5)))
    place = Place(shoal.load(classifier()), (cut,), (cut,))
    found = working.summary(working.Trained(table, judged, (0.25, 0.75), place, 1.0), 40.0)
    assert [row["drop"] for row in found["drops"]] == [0, 0.25, 0.5, 1, 40]
    first, last = found["drops"][0], found["drops"][-1]
    assert first["thresholds"] == (0.9,)
    assert (first["accuracy"], first["leaving"]) == (0.75, (0.5, 0.5))
    assert first["time"] == 0.25 + 0.5 * 0.75
    assert last["thresholds"] == (0.1,)
    assert expected(table, (NEVER,)).accuracy == 1.0

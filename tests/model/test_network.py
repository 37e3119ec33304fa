"""A network: loaded, cut, run."""

import gc

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import CutError, InputError, ProofError, UnsupportedModelError
from shoal.model import proof
from shoal.model.engine import Engine
from shoal.model.independence.table import RULES
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.wire import externals


@pytest.fixture(scope="module")
def residual() -> Network:
    return model.load(nets.residual(), name="residual")


def chain(parts, feeds):
    tensors = feeds
    for part in parts:
        tensors = part.run({name: tensors[name] for name in part.inputs})
    return tensors


def assert_equal_everywhere(network: Network, batch: int = 1) -> None:
    """Cut everywhere at once, and at every cut alone."""
    feeds = network.probe(seed=5, batch=batch)
    expected = network.run(feeds)
    places = [cut.at for cut in network.cuts]
    for cuts in [places, *([place] for place in places)]:
        found = chain(network.split(cuts), feeds)
        assert set(found) == {spec.name for spec in network.outputs}
        assert (
            max(proof.difference(expected[name], found[name]) for name in expected)
            <= network.tolerance
        )


def test_it_tells_its_inputs_outputs_and_cuts(residual):
    (x,), (y,) = residual.inputs, residual.outputs
    assert (x.name, x.dtype, x.shape) == ("x", "float32", (None, 3, 8, 8))
    assert (y.name, y.dtype, y.shape) == ("y", "float32", (None, 10))
    assert [(cut.at, cut.names) for cut in residual.cuts] == [
        (1, ("a",)),
        (2, ("b",)),
        (3, ("b", "c")),
        (4, ("d",)),
        (5, ("e",)),
        (6, ("f",)),
        (7, ("g",)),
    ]
    assert [cut.bytes for cut in residual.cuts] == [4096, 4096, 8192, 4096, 4096, 64, 64]
    assert [node.op for node in residual.nodes][:4] == ["Conv", "Relu", "Conv", "Add"]


def test_parts_in_sequence_give_the_whole_at_every_cut_and_any_batch(residual):
    assert_equal_everywhere(residual)
    assert_equal_everywhere(residual, batch=3)


def test_cuts_are_named_by_their_place_or_themselves(residual):
    by_place = residual.split([3])
    assert [part.hash for part in residual.split([residual.cuts[2]])] == [p.hash for p in by_place]
    assert [part.range for part in by_place] == [(0, 3), (3, 8)]


def test_without_cuts_there_is_one_part_the_whole(residual):
    (whole,) = residual.split([])
    assert whole.hash == residual.hash
    feeds = residual.probe()
    np.testing.assert_array_equal(whole.run(feeds)["y"], residual.run(feeds)["y"])


@pytest.mark.parametrize("cuts", [[0], [8], [-1], [99], [3, 3], [5, 2]])
def test_what_is_no_cut_is_refused(residual, cuts):
    with pytest.raises(CutError):
        residual.split(cuts)


def test_the_same_content_has_the_same_hash_and_other_content_another(residual):
    assert model.load(nets.residual()).hash == residual.hash
    assert model.load(nets.residual(batch=1)).hash != residual.hash
    first, second = residual.split([4])
    again, _ = model.load(nets.residual()).split([4])
    assert first.hash == again.hash != second.hash


def test_weights_lie_outside_the_graph_and_are_shared_by_content():
    weight = random(16, 16, 3, 3)
    network = model.load(
        nets.model(
            [node("Conv", "x v", "a"), node("Relu", "a", "b"), node("Conv", "b w", "y")],
            [tensor("x", [1, 16, 8, 8])],
            ["y"],
            {"v": weight, "w": weight},
        )
    )
    first, second = network.split([1])
    assert list(first.blobs) == list(second.blobs)
    assert bytes(first.blobs[next(iter(first.blobs))]) == weight.tobytes()
    assert len(first.graph) < 1024
    assert first.info.blobs == {next(iter(first.blobs)): weight.nbytes}
    assert first.info.size == len(first.graph)


def test_a_part_never_states_less_memory_than_its_weights_have():
    """Also where these are those of another part as well, or two of its own are alike."""
    weight = random(512, 512)
    network = model.load(
        nets.model(
            [node("MatMul", "x w", "a"), node("MatMul", "a w", "b"), node("MatMul", "b v", "y")],
            [tensor("x", ["n", 512])],
            ["y"],
            {"w": weight, "v": weight},
        )
    )
    for cuts in ([1], [1, 2], []):
        for part in network.split(cuts):
            weights = sum(external.nbytes for external in externals(part.graph))
            assert part.info.memory >= weights >= part.weight_bytes > 0


def test_parts_that_nobody_holds_are_forgotten(residual):
    kept = residual.split([2])
    assert residual.split([2])[0] is kept[0]
    number = id(kept[0])
    del kept
    gc.collect()
    assert (0, 2) not in residual._parts or id(residual._parts[(0, 2)]) != number


def test_wrong_parts_are_not_handed_out(residual, monkeypatch):
    network = model.load(nets.residual())
    honest = Part.run_on

    def wrong(part, session, feeds):
        return {name: 1.01 * array for name, array in honest(part, session, feeds).items()}

    monkeypatch.setattr(Part, "run_on", wrong)
    with pytest.raises(ProofError, match="output 'y' differs"):
        network.split([3])
    assert network.split([3], prove=False)


@pytest.mark.parametrize(
    ("batch", "spoil", "reason"),
    [
        ("n", lambda array: array[:1].repeat(len(array), axis=0), "2 images: output 'y' differs"),
        ("n", lambda array: array[: 2 - len(array)], "2 images"),
        (1, lambda array: array + 0.1 * np.abs(array).max(), "one image: output 'y' differs"),
    ],
)
def test_parts_that_are_wrong_for_one_number_of_images_are_not_handed_out(
    monkeypatch, batch, spoil, reason
):
    network = model.load(nets.residual(batch))
    honest = Part.run_on

    def spoilt(part, session, feeds):
        made = honest(part, session, feeds)
        return {name: spoil(array) for name, array in made.items()}

    monkeypatch.setattr(Part, "run_on", spoilt)
    with pytest.raises(ProofError, match=reason):
        network.split([3])


def test_a_proof_makes_one_session_for_each_part(residual, monkeypatch):
    network = model.load(nets.residual())
    honest, made = Part.session, []
    monkeypatch.setattr(Part, "session", lambda part: made.append(part) or honest(part))
    network.split([2, 4])
    assert [part.range for part in made] == [(0, 2), (2, 4), (4, len(network.nodes))]


def good() -> np.ndarray:
    return random(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({}, "Inputs are"),
        ({"z": good()}, "Inputs are"),
        ({"x": good(), "z": good()}, "Inputs are"),
        ({"x": good().astype("float64")}, "dtype float64"),
        ({"x": good()[0]}, "shape"),
        ({"x": good()[:, :2]}, "shape"),
        ({"x": good()[:0]}, "shape"),
        ({"x": good().tolist()}, "not a NumPy array"),
        ({"x": np.full((1, 3, 8, 8), np.nan, np.float32)}, "NaN"),
        ({"x": np.full((1, 3, 8, 8), np.inf, np.float32)}, "infinity"),
    ],
)
def test_wrong_inputs_are_refused(residual, feeds, reason):
    with pytest.raises(InputError, match=reason):
        residual.run(feeds)


def test_a_part_says_which_input_is_missing(residual):
    _, second = residual.split([3])
    with pytest.raises(InputError, match="'c'"):
        second.run({"b": random(1, 16, 8, 8)})


def test_inputs_of_different_batches_are_refused():
    network = model.load(
        nets.model([node("Add", "x z", "y")], [tensor("x", ["n", 4]), tensor("z", ["n", 4])], ["y"])
    )
    with pytest.raises(InputError, match="2 of 'x', 1 of 'z'"):
        network.run({"x": random(2, 4), "z": random(1, 4)})


def test_images_that_may_be_stacked_are_told_from_those_that_may_not(residual):
    assert residual.stacks
    assert not model.load(nets.residual(batch=1)).stacks
    mixing = nets.model(
        [node("Softmax", "x", "y", axis=0)], [tensor("x", ["n", 4])], [tensor("y", ["n", 4])]
    )
    assert not model.load(mixing).stacks


def test_images_that_are_quantised_together_are_not_run_together(tmp_path):
    """ONNX Runtime's own dynamic quantisation takes its scale from the largest value of all."""
    source = tmp_path / "plain.onnx"
    source.write_bytes(nets.residual())
    quantize_dynamic(source, tmp_path / "dynamic.onnx")
    network = model.load(tmp_path / "dynamic.onnx")
    assert "DynamicQuantizeLinear" in network.mixes
    (x,) = network.probe().values()
    alone = network.run({"x": x})["y"]
    beside = network.run({"x": np.concatenate([x, 1000 * x])})["y"][:1]
    assert proof.difference(alone, beside) > 0.1, "it matters"


def test_an_audio_front_end_that_looks_at_the_loudest_of_all_is_told():
    """Decibels below the loudest, cut off at -80: 58 dB off beside a louder one."""
    nodes = [
        node("Abs", "x", "a"),
        node("Add", "a tiny", "b"),
        node("Log", "b", "c"),
        node("Mul", "c db", "d"),
        node("ReduceMax", "d", "most", keepdims=0),
        node("Sub", "most range", "least"),
        node("Max", "d least", "y"),
    ]
    weights = {"tiny": np.float32(1e-10), "db": np.float32(8.686), "range": np.float32(80)}
    network = model.load(nets.model(nodes, [tensor("x", ["n", 64])], ["y"], weights))
    assert network.mixes == "ReduceMax 'most' takes all images together"
    first, second = network.split([4])
    assert not first.stacks
    assert not second.stacks
    quiet = np.full((1, 64), 1e-6, np.float32)
    alone = network.run({"x": quiet})["y"]
    beside = network.run({"x": np.concatenate([quiet, np.full_like(quiet, 1e3)])})["y"][:1]
    assert np.abs(beside - alone).max() > 58


def test_a_sample_that_contradicts_ends_it_for_the_network_and_its_parts(monkeypatch):
    """As where a rule of the table is wrong, or the engine."""
    monkeypatch.setitem(RULES[""], "Softmax", lambda view: view.images(0))
    nodes = [node("Relu", "x", "a"), node("Softmax", "a", "b", axis=0), node("Neg", "b", "y")]
    network = model.load(nets.model(nodes, [tensor("x", ["n", 4])], ["y"]))
    assert "'y' for an image is another when it is beside others" in network.mixes
    assert [part.stacks for part in network.split([1])] == [False, False]


def test_a_part_is_run_on_several_requests_where_its_own_ends_hold_them_in_rows():
    """Time first between two layers: the network may, none of the parts there may."""
    nodes = [
        node("Relu", "x", "a"),
        node("Transpose", "a", "b", perm=[1, 0, 2]),
        node("MatMul", "b w", "c"),
        node("Transpose", "c", "d", perm=[1, 0, 2]),
        node("Neg", "d", "y"),
    ]
    network = model.load(nets.model(nodes, [tensor("x", ["n", 5, 4])], ["y"], {"w": random(4, 4)}))
    assert network.stacks
    assert [part.stacks for part in network.split([1, 2, 3, 4])] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert [part.info.stacks for part in network.split([4])] == [True, True]


def test_a_part_that_takes_two_rows_for_each_image_is_not_run_on_several_requests():
    """First all images, then all of them doubled: those of several requests would be in turn."""
    nodes = [
        node("Relu", "x", "a"),
        node("Add", "a a", "b"),
        node("Concat", "a b", "both", axis=0),
        node("Shape", "a", "s"),
        node("Slice", "s zero one", "n"),
        node("Slice", "both zero n zero", "c"),
        node("Add", "c a", "y"),
    ]
    weights = {"zero": np.array([0]), "one": np.array([1])}
    network = model.load(nets.model(nodes, [tensor("x", ["n", 4])], ["y"], weights))
    assert network.stacks
    at = next(cut.at for cut in network.cuts if set(cut.names) == {"a", "both"})
    assert [part.stacks for part in network.split([at])] == [False, False]


def test_tensors_of_several_rows_for_each_image_are_not_taken_for_others_as_large():
    """The engine would put one in the place of another that is called as large and is not."""
    nodes = [
        node("Add", "x one", "a"),
        node("Concat", "a x", "both", axis=0),
        node("Softmax", "both", "c", axis=-1),
        node("Greater", "both c", "d"),
        node("Where", "d both one", "e"),
        node("ReduceSum", "e axes", "y", keepdims=1),
    ]
    weights = {"one": np.float32(1), "axes": np.array([0])}
    network = model.load(nets.model(nodes, [tensor("x", ["n", 2, 6])], ["y"], weights))
    assert len(network.cuts) == 5
    for cut in network.cuts:
        first, second = network.split([cut])
        x = {"x": random(5, 2, 6)}
        found = second.run(first.run(x))
        assert proof.difference(network.run(x)["y"], found["y"]) < 1e-5


def test_a_network_with_an_input_that_nobody_reads_is_run_on_single_images():
    """It has no rows that could be put together."""
    inputs = [tensor("x", ["n", 4]), tensor("k", [6])]
    network = model.load(nets.model([node("Relu", "x", "y")], inputs, ["y"]))
    assert network.mixes == "input 'k' has no axis of its own for the images"


def test_a_batch_that_is_only_said_to_be_free_is_fixed():
    stubborn = nets.model(
        [
            node("Relu", "x", "a"),
            node("Reshape", "a shape", "b"),
            node("Gemm", "b w", "y"),
        ],
        [tensor("x", ["n", 4, 4])],
        [tensor("y", ["n", 3])],
        {"shape": np.array([1, 16]), "w": random(16, 3)},
    )
    network = model.load(stubborn)
    assert network.inputs[0].shape == (1, 4, 4)
    assert network.outputs[0].shape == (1, 3)
    assert_equal_everywhere(network)


# Networks of other kinds


def test_several_inputs_and_outputs_of_several_dtypes():
    network = model.load(
        nets.model(
            [
                node("Cast", "image", "f", to=1),
                node("Mul", "f scale", "g"),
                node("ReduceSum", "g axes", "h", keepdims=0),
                node("Add", "h bias", "score"),
                node("ArgMax", "score", "label", axis=1, keepdims=0),
                node("Greater", "score zero", "positive"),
            ],
            [
                tensor("image", ["n", 4, 5], "uint8"),
                tensor("bias", [5]),
                tensor("unused", ["n", 7], "float64"),
            ],
            ["label", "positive", "score"],
            {
                "scale": np.float32(0.25),
                "axes": np.array([1]),
                "zero": np.float32(3.0),
            },
        )
    )
    assert [spec.dtype for spec in network.outputs] == ["int64", "bool", "float32"]
    assert [spec.name for spec in network.outputs] == ["label", "positive", "score"]
    assert_equal_everywhere(network)
    assert_equal_everywhere(network, batch=2)
    last = network.split([4])[1]
    assert "score" in last.inputs
    assert "score" in last.carried
    assert "unused" not in last.inputs


def test_an_output_that_is_an_input_passes_by():
    network = model.load(
        nets.model(
            [node("Relu", "x", "a"), node("Neg", "a", "y"), node("Identity", "x", "same")],
            [tensor("x", [1, 4])],
            ["y", "same"],
        )
    )
    assert_equal_everywhere(network)
    feeds = network.probe()
    np.testing.assert_array_equal(network.run(feeds)["same"], feeds["x"])


def test_an_output_under_the_name_of_an_input_is_carried():
    network = model.load(
        nets.model(
            [node("Relu", "x", "a"), node("Neg", "a", "y")], [tensor("x", [1, 4])], ["y", "x"]
        )
    )
    first, second = network.split([1])
    assert first.carried == second.carried == ("x",)
    assert_equal_everywhere(network)


def test_an_output_that_is_constant_is_made_by_a_part():
    network = model.load(
        nets.model(
            [node("Relu", "x", "a"), node("Neg", "a", "y"), node("Abs", "w", "z")],
            [tensor("x", [1, 4])],
            ["y", "w", "z"],
            {"w": random(3)},
        )
    )
    assert_equal_everywhere(network)
    np.testing.assert_array_equal(network.run(network.probe())["w"], random(3))


def test_weights_that_are_inputs_too_keep_their_values():
    weight = random(4, 3)
    network = model.load(
        nets.model(
            [node("MatMul", "x w", "a"), node("Relu", "a", "y")],
            [tensor("x", [1, 4]), tensor("w", [4, 3])],
            ["y"],
            {"w": weight},
            ir=3,
            opset=9,
        )
    )
    assert [spec.name for spec in network.inputs] == ["x"]
    assert_equal_everywhere(network)


def test_nodes_without_names_and_out_of_order():
    network = model.load(
        nets.model(
            [node("Neg", "b", "y"), node("Abs", "a", "b"), node("Relu", "x", "a")],
            [tensor("x", [4])],
            ["y"],
        )
    )
    assert [node.op for node in network.nodes] == ["Relu", "Abs", "Neg"]
    assert network.inputs[0].shape == (4,)
    assert_equal_everywhere(network)


def test_a_scalar_network_and_half_floats():
    network = model.load(
        nets.model(
            [node("Add", "x w", "a"), node("Sqrt", "a", "b"), node("Cast", "b", "y", to=10)],
            [tensor("x", [], "float16")],
            ["y"],
            {"w": np.float16(4.0)},
        )
    )
    assert network.inputs[0].shape == ()
    assert_equal_everywhere(network)


def test_a_free_shape_that_is_computed_is_folded_away():
    """What old exporters write for ``x.view(x.size(0), -1)``."""
    network = model.load(
        nets.model(
            [
                node("Relu", "x", "a"),
                node("Shape", "a", "s"),
                node("Gather", "s zero", "n", axis=0),
                node("Unsqueeze", "n axes", "nn"),
                node("Concat", "nn rest", "shape", axis=0),
                node("Reshape", "a shape", "flat"),
                node("Gemm", "flat w", "y"),
            ],
            [tensor("x", ["n", 4, 3])],
            ["y"],
            {
                "zero": np.array(0),
                "axes": np.array([0]),
                "rest": np.array([-1]),
                "w": random(12, 2),
            },
        )
    )
    assert [node.op for node in network.nodes] == ["Relu", "Reshape", "Gemm"]
    assert_equal_everywhere(network, batch=2)


def test_a_batch_that_is_folded_into_another_dimension_is_measured():
    network = model.load(
        nets.model(
            [
                node("Relu", "x", "a"),
                node("Reshape", "a merge", "b"),
                node("Neg", "b", "c"),
                node("Reshape", "c apart", "y"),
            ],
            [tensor("x", ["n", 6, 4])],
            ["y"],
            {"merge": np.array([-1, 4]), "apart": np.array([-1, 6, 4])},
        )
    )
    (merged,) = network.cuts[1].tensors
    assert merged.shape == (None, 4)
    assert network.cuts[1].bytes == 6 * 4 * 4
    assert [part.stacks for part in network.split([2])] == [False, False]
    assert_equal_everywhere(network, batch=3)


def test_where_a_shape_depends_on_values_there_is_no_cut():
    network = model.load(
        nets.model(
            [
                node("Relu", "x", "a"),
                node("NonZero", "a", "where"),
                node("Transpose", "where", "turned"),
                node("Cast", "turned", "real", to=1),
                node("ReduceMean", "real", "y", keepdims=0),
            ],
            [tensor("x", [6, 6])],
            [tensor("y", [])],
        )
    )
    assert [cut.at for cut in network.cuts] == [1]
    assert_equal_everywhere(network)


def test_where_a_sequence_crosses_there_is_no_cut():
    network = model.load(
        nets.model(
            [
                node("Relu", "x", "a"),
                node("SplitToSequence", "a", "pieces", axis=1),
                node("ConcatFromSequence", "pieces", "b", axis=1),
                node("Neg", "b", "y"),
            ],
            [tensor("x", ["n", 4])],
            ["y"],
        )
    )
    assert [cut.at for cut in network.cuts] == [1, 3]
    assert_equal_everywhere(network)


def test_numbers_for_measurements_meet_no_name_of_the_file():
    """Weights and nodes that are called as Shoal numbers tensors and nodes."""
    names = ["x0", "t0_0", "t1_0", "w0", "v0_0"]
    weights = {name: random(1, 4, seed=seed) for seed, name in enumerate(names)}
    weights |= {"w1": np.eye(4, dtype=np.int8), "x1": np.float32(0.5), "t2_0": np.int8(0)}
    nodes = [node("DequantizeLinear", "w1 x1 t2_0", "t3_0")]
    nodes += [
        node("Add", f"{['x', 'a0', 'a1', 'a2', 'a3'][k]} {name}", f"a{k}")
        for k, name in enumerate(names)
    ]
    nodes.append(node("MatMul", "a4 t3_0", "y"))
    nodes[0].name, nodes[1].name = "n1_", "n0_"
    network = model.load(nets.model(nodes, [tensor("x", ["n", 4])], ["y"], weights))
    part, feeds = network.numbered(), network.probe()
    found = Engine().load(part.graph, part.blobs).run({"x0": feeds["x"]})
    np.testing.assert_allclose(next(iter(found.values())), network.run(feeds)["y"], rtol=1e-5)
    graph = onnx.ModelProto.FromString(part.graph).graph
    last = len(network.nodes) - 1
    assert [n.name for n in graph.node if n.op_type == "MatMul"] == [f"n{last}_"]
    assert all(name.startswith("n") for name in (n.name for n in graph.node if n.op_type == "Add"))
    assert [n.name[0] for n in graph.node if n.op_type == "DequantizeLinear"] == ["c"]


def test_operators_of_the_engine_itself_are_run():
    network = model.load(
        nets.model(
            [node("Relu", "x", "a"), node("Gelu", "a", "y", domain="com.microsoft")],
            [tensor("x", ["n", 4])],
            ["y"],
            domains={"com.microsoft": 1},
        )
    )
    assert network.outputs[0].shape == (None, 4)
    assert_equal_everywhere(network)


class Calibration(CalibrationDataReader):
    def __init__(self, network):
        self.feeds = iter([network.probe(seed) for seed in range(3)])

    def get_next(self):
        return next(self.feeds, None)


@pytest.mark.parametrize("form", list(QuantFormat), ids=lambda form: form.name)
def test_quantised_networks_are_cut_and_send_bytes(tmp_path, form, residual):
    path, quantised = tmp_path / "float.onnx", tmp_path / "quantised.onnx"
    path.write_bytes(nets.residual(batch=1))
    network = model.load(path)
    quantize_static(path, quantised, Calibration(network), quant_format=form, per_channel=True)
    cut = model.load(quantised)
    assert_equal_everywhere(cut)
    assert cut.weight_bytes < network.weight_bytes / 3
    assert {"int8"} <= {tensor.dtype for cut in cut.cuts for tensor in cut.tensors}
    feeds = cut.probe()
    assert proof.difference(network.run(feeds)["y"], cut.run(feeds)["y"]) < 0.2


def test_functions_of_the_model_are_inlined():
    twice = nets.helper.make_function(
        "mine", "Twice", ["v"], ["w"], [node("Add", "v v", "w")], [nets.helper.make_opsetid("", 17)]
    )
    network = model.load(
        nets.model(
            [node("Relu", "x", "a"), node("Twice", "a", "y", domain="mine")],
            [tensor("x", ["n", 4])],
            ["y"],
            domains={"mine": 1},
            functions=[twice],
        )
    )
    assert [node.op for node in network.nodes] == ["Relu", "Add"]
    assert_equal_everywhere(network)


def test_a_network_that_computes_nothing_is_refused():
    with pytest.raises(UnsupportedModelError, match="computes nothing"):
        model.load(nets.model([node("Relu", "x", "a")], [tensor("x", [4])], ["x"]))

import json

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from tests.model import exit_nets, nets

import shoal
from shoal.errors import ModelFileError, ProofError, UsageError
from shoal.model.confidence import confidences, softmax
from shoal.model.evidence import Evidence
from shoal.model.exits import KEY, Exits, tell, told
from shoal.model.network import Network
from shoal.model.staged import staged


@pytest.fixture(scope="module")
def network() -> Network:
    return shoal.load(exit_nets.with_exits())


def reference(images: np.ndarray) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of the file."""
    session = onnxruntime.InferenceSession(exit_nets.with_exits())
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": images}), strict=True))


def test_as_a_network_it_is_the_plain_one(network: Network) -> None:
    images = nets.random(2, 3, 8, 8, seed=3)
    assert [spec.name for spec in network.outputs] == ["y"]
    assert network.exits == exit_nets.exits()
    found = network.run({"x": images})
    assert found.keys() == {"y"}
    np.testing.assert_allclose(found["y"], reference(images)["y"], rtol=1e-4, atol=1e-4)
    kept = {weight.dims for weight in network.graph.weights.values()}
    assert (8, exit_nets.CLASSES) not in kept  # the heads are not there


def test_a_network_without_exits_says_so() -> None:
    assert shoal.load(exit_nets.plain()).exits is None


@pytest.mark.parametrize("count", [1, 3])
def test_stages_give_the_logits_of_the_file(network: Network, count: int) -> None:
    images = nets.random(count, 3, 8, 8, seed=4)
    parts = staged(network, exit_nets.exits())
    assert [part.inputs for part in parts] == [("x",), ("b",), ("e",)]
    assert [part.outputs for part in parts] == [("b", "early"), ("e", "late"), ("y",)]
    assert [part.range for part in parts] == [(0, 2), (2, 4), (4, len(network.nodes))]
    assert all(part.stacks for part in parts)
    tensors = {"x": images}
    for part in parts:
        tensors |= part.run({name: tensors[name] for name in part.inputs})
    for name, expected in reference(images).items():
        np.testing.assert_allclose(tensors[name], expected, rtol=1e-4, atol=1e-4)


def test_what_an_exit_said_crosses_beside_the_tensor_where_the_next_one_reads_it() -> None:
    network = shoal.load(exit_nets.agreeing())
    assert network.hash == shoal.load(exit_nets.with_exits()).hash
    parts = staged(network, Exits(exit_nets.AGREEING, exit_nets.TABLE))
    assert [part.inputs for part in parts] == [("x",), ("b", "first"), ("e",)]
    assert [part.outputs for part in parts] == [("b", "first"), ("e", "second"), ("y",)]
    assert all(part.stacks for part in parts)
    tensors = {"x": nets.random(3, 3, 8, 8, seed=5)}
    for part in parts:
        tensors |= part.run({name: tensors[name] for name in part.inputs})
    logits = reference(tensors["x"])
    early, late = (softmax(logits[name].astype(float)) for name in ("early", "late"))
    sure = confidences(tensors["first"], "agreement", 1.0)
    np.testing.assert_allclose(sure, early.max(axis=1), rtol=1e-4)
    sure = confidences(tensors["second"], "agreement", 1.0)
    np.testing.assert_allclose(sure, np.minimum(early, late).max(axis=1), rtol=1e-4)
    np.testing.assert_allclose(softmax(tensors["second"].astype(float)), late, rtol=1e-3)


def test_an_exit_may_be_left_out_that_the_next_one_reads() -> None:
    network = shoal.load(exit_nets.agreeing())
    some = Exits(exit_nets.AGREEING[1:], exit_nets.TABLE[1:])
    parts = staged(network, some)
    assert [part.inputs for part in parts] == [("x",), ("e",)]
    assert [part.outputs for part in parts] == [("e", "second"), ("y",)]


def test_exits_of_a_network_whose_batch_cannot_vary() -> None:
    """Its free batch is fixed to one image when it is loaded; so are its stages."""
    model = exit_nets.bare()
    (flat,) = (node for node in model.graph.node if node.output[0] == "h")
    flat.op_type = "Reshape"
    flat.input.append("one")
    one = onnx.numpy_helper.from_array(np.array([1, 12], np.int64), "one")
    model.graph.initializer.append(one)
    tell(model, exit_nets.exits())
    made = shoal.load(model.SerializeToString())
    assert made.inputs[0].shape[0] == 1
    parts = staged(made, exit_nets.exits())
    assert [part.outputs for part in parts] == [("b", "early"), ("e", "late"), ("y",)]


def test_some_of_the_exits_may_be_used(network: Network) -> None:
    some = Exits(exit_nets.HEADS[1:], exit_nets.TABLE[1:])
    parts = staged(network, some)
    assert [part.outputs for part in parts] == [("e", "late"), ("y",)]


def test_exits_of_another_network_are_refused(network: Network) -> None:
    other = msgspec.structs.replace(exit_nets.HEADS[0], tensor="other")
    with pytest.raises(UsageError, match="no such exits"):
        staged(network, Exits((other,), exit_nets.TABLE[1:]))
    with pytest.raises(UsageError, match="no such exits"):
        staged(shoal.load(exit_nets.plain()), exit_nets.exits())


def test_stages_that_give_other_logits_are_not_handed_out(network: Network) -> None:
    """The proof looks at the logits: a part with another head does not pass."""
    parts = staged(network, exit_nets.exits())
    part = parts[0]
    session = part.session()

    def wrong(_, feeds):
        made = session.run(feeds)
        return {**made, "early": made["early"][:, ::-1].copy()}

    part.run_on = wrong  # type: ignore[method-assign]
    evidence: Evidence = network.with_exits.evidence
    with pytest.raises(ProofError, match="early"):
        evidence.check(parts, "it")
    evidence.check(parts, "it", {"early"})


def damaged(**changes: object) -> bytes:
    """The file with other metadata."""
    model = exit_nets.bare()
    content = {**msgspec.to_builtins(exit_nets.exits()), **changes}
    model.metadata_props.add(key=KEY, value=json.dumps(content))
    return model.SerializeToString()


def heads(place: int, **changes: object) -> list[dict[str, object]]:
    made = [msgspec.to_builtins(head) for head in exit_nets.HEADS]
    made[place] |= changes
    return made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"more": 1}, "damaged"),
        ({"heads": 5}, "damaged"),
        ({"heads": []}, "0 exits"),
        ({"heads": heads(0, tensor="nowhere")}, "no output of its graph"),
        ({"heads": heads(0, tensor="late")}, "name the same tensor"),
        ({"heads": heads(0, output="late")}, "no output of the network"),
        ({"heads": heads(0, output="z")}, "no output of the network"),
        ({"heads": heads(0, criterion="luck")}, "no criterion 'luck'"),
        ({"heads": heads(0, temperature=0.0)}, "no temperature"),
        ({"heads": heads(0, temperature=1e7)}, "no temperature"),
        ({"heads": heads(0, after="")}, "empty or too long"),
        ({"heads": heads(0, after="nowhere")}, "no tensor inside it"),
        ({"heads": heads(0, after="x")}, "no tensor inside it"),
        ({"heads": heads(0, after="y")}, "no tensor inside it"),
        ({"heads": heads(0, after="c0")}, "crosses a cut of the network alone"),
        ({"heads": heads(0, after="early_g")}, "crosses a cut of the network alone"),
        ({"heads": heads(0)[::-1]}, "not in the order"),
        ({"table": [[1], [1]]}, "a column for each exit"),
        ({"table": [[1], [1], [1, 1]]}, "a column for each exit"),
        ({"table": [[], [], []]}, "of 0 images"),
        ({"table": [[1] * 2001] * 3}, "of 2001 images"),
        ({"table": [[1], [0], [1]]}, "no permille"),
        ({"table": [[1], [1001], [1]]}, "no permille"),
        ({"table": [[1], [0.5], [1]]}, "damaged"),
        ({"against": "luck"}, "against 'luck'"),
        ({"against": "network"}, "not wrong against its own"),
    ],
)
def test_metadata_that_is_wrong_is_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        shoal.load(damaged(**changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 1}', "[" * 5000, "\x00"])
def test_metadata_that_is_no_message_is_told(text: str) -> None:
    model = exit_nets.bare()
    model.metadata_props.add(key=KEY, value=text)
    with pytest.raises(ModelFileError, match="damaged or not Shoal's"):
        shoal.load(model.SerializeToString())


def test_a_network_that_was_trained_on_may_be_wrong_against_what_it_was() -> None:
    model = exit_nets.bare()
    wrong = (*exit_nets.TABLE[:-1], tuple(-abs(sure) for sure in exit_nets.TABLE[-1]))
    exits = Exits(exit_nets.HEADS, wrong, "original")
    tell(model, exits)
    assert told(model, "it") == exits
    assert exits.truth == "the answers of the network that it was trained from"
    with pytest.raises(ModelFileError, match="not wrong against its own"):
        tell(model, Exits(exit_nets.HEADS, wrong, "network"))


def test_metadata_is_bounded_and_there_once() -> None:
    model = exit_nets.bare()
    tell(model, exit_nets.exits())
    entry = model.metadata_props[0]
    model.metadata_props.add(key=KEY, value=entry.value)
    with pytest.raises(ModelFileError, match="twice"):
        told(model, "it")
    del model.metadata_props[1]
    entry.value += " " * (1 << 20)
    with pytest.raises(ModelFileError, match="longer"):
        told(model, "it")


def test_exits_are_told_in_the_place_of_others_and_beside_what_is_there() -> None:
    model = exit_nets.bare()
    model.metadata_props.add(key="mine", value="1")
    tell(model, exit_nets.exits())
    other = Exits(exit_nets.HEADS[:1], exit_nets.TABLE[:2], "labels")
    tell(model, other)
    assert told(model, "it") == other
    assert [entry.key for entry in model.metadata_props] == ["mine", KEY]
    with pytest.raises(ModelFileError, match="0 exits"):
        tell(model, Exits((), ()))


def test_a_head_that_reads_around_its_cut_is_refused() -> None:
    """The logits of the later exit come of ``b``, which its part is not given."""
    model = exit_nets.bare(late="x")
    weights = {weight.name: weight for weight in model.graph.initializer}
    shape = nets.random(3, exit_nets.CLASSES)
    weights["late_w"].CopyFrom(onnx.numpy_helper.from_array(shape, "late_w"))
    tell(model, exit_nets.exits())
    made = shoal.load(model.SerializeToString())
    with pytest.raises(ModelFileError, match="'late' needs more than the tensor 'b'"):
        staged(made, exit_nets.exits())


def test_logits_of_other_classes_are_refused() -> None:
    model = exit_nets.bare()
    weights = {weight.name: weight for weight in model.graph.initializer}
    weights["early_w"].CopyFrom(onnx.numpy_helper.from_array(nets.random(8, 4), "early_w"))
    tell(model, exit_nets.exits())
    made = shoal.load(model.SerializeToString())
    with pytest.raises(ModelFileError, match="'early' is no tensor of the type and shape"):
        staged(made, exit_nets.exits())


def test_accuracies_are_those_of_the_table() -> None:
    assert exit_nets.exits().accuracies == (2 / 3, 2 / 3, 2 / 3)
    assert exit_nets.exits().images == 3

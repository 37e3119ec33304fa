"""Where shapes and weights decide an ``If``, the network is what the branch that is taken does."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import ModelError, ModelFileError, ProofError, UnsupportedModelError
from shoal.model import branches

X = tensor("x", ["n", 4])


def body(nodes, outputs=("r",), weights=None) -> onnx.GraphProto:
    """A graph inside an ``If``."""
    given = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    return helper.make_graph(
        nodes, "inside", [], [onnx.ValueInfoProto(name=name) for name in outputs], given
    )


PLUS = body([node("Add", "x w", "r")], weights={"w": np.float32([1, 2, 3, 4])})
TIMES = body([node("Mul", "x w", "r")], weights={"w": np.float32([5, 6, 7, 8])})


def choice(condition: list[onnx.NodeProto], then=PLUS, other=TIMES, inputs=(X,), **weights):
    chosen = node("If", "c", "y", then_branch=then, else_branch=other)
    return nets.model([*condition, chosen], inputs, ["y"], weights)


WIDE = [node("Shape", "x", "s"), node("Gather", "s at", "side"), node("Greater", "side least", "c")]


def equal(data: bytes, network: model.Network, **feeds: np.ndarray) -> None:
    """What the engine gives for the whole file is given at every cut."""
    wanted = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    for cuts in ([], *([cut] for cut in network.cuts)):
        tensors = {spec.name: feeds[spec.name] for spec in network.inputs}
        for part in network.split(cuts):
            tensors |= part.run({name: tensors[name] for name in part.inputs})
        for spec, value in zip(network.outputs, wanted, strict=True):
            np.testing.assert_allclose(tensors[spec.name], value, rtol=1e-5)


@pytest.mark.parametrize(("least", "op"), [(3, "Add"), (4, "Mul")])
def test_a_shape_decides(least: int, op: str) -> None:
    data = choice(WIDE, at=np.array(1), least=np.array(least))
    network = model.load(data)
    assert [each.op for each in network.nodes] == [op]
    assert network.inputs[0].shape == (None, 4), "how many images there are does not matter"
    equal(data, network, x=random(1, 4))
    equal(data, network, x=random(3, 4))


def test_names_in_an_inner_branch_are_not_taken_for_others() -> None:
    """What the outer one gives is called like something inside the inner one."""
    inner = [node("Add", "x r", "y"), node("Mul", "y y", "t")]
    deep = node(
        "If", "no", "z", then_branch=body([node("Neg", "x", "q")], ("q",)),
        else_branch=body(inner, ("t",)),
    )  # fmt: skip
    outer = body([node("Relu", "x", "r"), deep, node("Sub", "r z", "end")], ("end",))
    data = choice([node("Not", "no", "c")], then=outer, other=outer, no=np.array(False))
    equal(data, model.load(data), x=random(2, 4))


def test_what_a_weight_decides_leaves_the_batch_free() -> None:
    for value, op in ((True, "Add"), (False, "Mul")):
        data = choice([node("Not", "no", "c")], no=np.array(not value))
        network = model.load(data)
        assert [each.op for each in network.nodes] == [op]
        assert network.inputs[0].shape == (None, 4)
        equal(data, network, x=random(3, 4))


def test_what_the_number_of_images_decides_fixes_it_to_one() -> None:
    data = choice(WIDE, at=np.array(0), least=np.array(1))
    network = model.load(data)
    assert network.inputs[0].shape == (1, 4)
    assert [each.op for each in network.nodes] == ["Mul"]
    equal(data, network, x=random(1, 4))


SWITCHED = choice(
    [node("Equal", "rate usual", "c")],
    inputs=(X, tensor("rate", [], "int64")),
    usual=np.array(16000),
)


def test_what_an_input_decides_is_refused_unless_it_has_a_value_for_good() -> None:
    with pytest.raises(UnsupportedModelError, match=r"control flow cannot be cut.*--fix"):
        model.load(SWITCHED)
    for rate, op in ((16000, "Add"), (8000, "Mul")):
        network = model.load(SWITCHED, values={"rate": rate})
        assert [each.op for each in network.nodes] == [op]
        equal(SWITCHED, network, x=random(1, 4), rate=np.array(rate))


def test_one_inside_another_and_one_after_another() -> None:
    inner = node("If", "c", "r", then_branch=PLUS, else_branch=TIMES)
    deep = body([inner])
    nodes = [
        *WIDE,
        node("If", "c", "y1", then_branch=deep, else_branch=TIMES),
        node("Relu", "y1", "x2"),
        node("Shape", "x2", "s2"),
        node("Gather", "s2 at", "side2"),
        node("Less", "side2 least", "c2"),
        node("If", "c2", "y", then_branch=deep, else_branch=body([node("Sub", "x2 x", "r")])),
    ]
    data = nets.model(nodes, [X], ["y"], {"at": np.array(1), "least": np.array(3)})
    network = model.load(data)
    assert [each.op for each in network.nodes] == ["Add", "Relu", "Sub"]
    equal(data, network, x=random(1, 4))


def test_names_inside_may_be_those_of_others() -> None:
    """Both branches call theirs the same, and like what the graph has elsewhere."""
    clash = [node("Add", "x w", "t"), node("Relu", "t", "r")]
    weights = {"w": np.float32([1, 2, 3, 4])}
    nodes = [
        node("If", "yes", "a", then_branch=body(clash, weights=weights), else_branch=TIMES),
        node("If", "yes", "b", then_branch=body(clash, weights=weights), else_branch=TIMES),
        node("Mul", "x x", "t_0"),
        node("Sum", "a b t_0", "y"),
    ]
    data = nets.model(nodes, [X], ["y"], {"yes": np.array(True)})
    equal(data, model.load(data), x=random(2, 4))


def test_a_branch_may_hand_on_a_weight() -> None:
    nodes = [
        node(
            "If",
            "yes",
            "a b",
            then_branch=body([node("Relu", "x", "r")], ("r", "w"), {"w": np.float32([1, 2, 3, 4])}),
            else_branch=body([node("Relu", "x", "r")], ("w", "r"), {"w": np.float32([1, 2, 3, 4])}),
        ),
        node("Sum", "a b", "y"),
    ]
    for yes in (True, False):
        data = nets.model(nodes, [X], ["y", "b"], {"yes": np.array(yes)})
        equal(data, model.load(data), x=random(2, 4))


def test_constants_inside_and_large_weights_outside() -> None:
    table = random(4, 600)
    constant = node("Constant", "", "k", value=numpy_helper.from_array(np.float32([2.0])))
    inside = body([constant, node("MatMul", "x table", "m"), node("Mul", "m k", "r")])
    data = choice(WIDE, then=inside, other=inside, at=np.array(1), least=np.array(3), table=table)
    network = model.load(data)
    equal(data, network, x=random(1, 4))


def test_the_proof_sees_when_the_wrong_branch_was_taken(monkeypatch) -> None:
    monkeypatch.setattr(branches, "_holds", lambda graph, node: False)
    with pytest.raises(ProofError):
        model.load(choice(WIDE, at=np.array(1), least=np.array(3)))


def test_what_only_the_branch_not_taken_has_does_not_matter() -> None:
    noise = body([node("RandomNormalLike", "x", "r")])
    network = model.load(choice(WIDE, other=noise, at=np.array(1), least=np.array(3)))
    assert [each.op for each in network.nodes] == ["Add"]
    with pytest.raises(UnsupportedModelError, match="random"):
        model.load(choice(WIDE, other=noise, at=np.array(1), least=np.array(4)))


def test_loops_are_refused() -> None:
    loop = node("Loop", "n yes x", "y", body=body([node("Relu", "x", "r")]))
    data = nets.model([loop], [X], ["y"], {"n": np.array(3), "yes": np.array(True)})
    with pytest.raises(UnsupportedModelError, match="sub-graph"):
        model.load(data)
    inside = body([loop], ("y",))
    data = choice(WIDE, then=inside, other=inside, at=np.array(1), least=np.array(3))
    with pytest.raises(ModelError):
        model.load(data)


def damaged(change) -> bytes:
    proto = onnx.ModelProto.FromString(choice(WIDE, at=np.array(1), least=np.array(3)))
    change(proto.graph.node[-1])
    return proto.SerializeToString()


@pytest.mark.parametrize(
    "change",
    [
        lambda each: each.attribute.pop(),
        lambda each: each.attribute[0].g.output.add(name="x"),
        lambda each: each.input.append("x"),
        lambda each: each.attribute.append(each.attribute[0]),
        lambda each: each.attribute[0].g.input.add(name="z"),
        lambda each: each.attribute[0].g.node[0].input.append("nowhere"),
    ],
)
def test_a_damaged_one_is_refused(change) -> None:
    with pytest.raises(ModelError):
        model.load(damaged(change))


def test_weights_of_a_branch_lie_in_no_other_file() -> None:
    def outside(each: onnx.NodeProto) -> None:
        weight = each.attribute[0].g.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="/etc/passwd")

    with pytest.raises((ModelFileError, UnsupportedModelError), match="another file"):
        model.load(damaged(outside))


def test_nodes_inside_count_as_well(monkeypatch) -> None:
    monkeypatch.setattr(model.limits, "NODES", 5)
    with pytest.raises(ModelFileError, match="more than 5 nodes"):
        model.load(choice(WIDE, at=np.array(1), least=np.array(3)))


def test_depth_costs_nothing_more_than_its_nodes() -> None:
    """Who looks at each graph inside twice looks 2**26 times."""
    inside = PLUS
    for _ in range(26):
        inside = body([node("If", "c", "r", then_branch=inside, else_branch=TIMES)])
    data = choice(WIDE, then=inside, at=np.array(1), least=np.array(3))
    assert [each.op for each in model.load(data).nodes] == ["Add"]


def test_a_condition_is_computed_once_however_many_read_it(monkeypatch) -> None:
    asked = []
    holds = branches._holds
    monkeypatch.setattr(branches, "_holds", lambda *args: asked.append(1) or holds(*args))
    chain = [
        node(
            "If", "c", f"h{k + 1}", then_branch=body([node("Relu", f"h{k}", "r")]), else_branch=PLUS
        )
        for k in range(20)
    ]
    nodes = [*WIDE, node("Neg", "x", "h0"), *chain, node("Neg", "h20", "y")]
    data = nets.model(nodes, [X], ["y"], {"at": np.array(1), "least": np.array(3)})
    equal(data, model.load(data), x=random(1, 4))
    assert len(asked) < 3  # once for a free number of images, once for one

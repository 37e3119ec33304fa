"""Which shapes follow from the number of images; what is measured, and what is not believed."""

import numpy as np
import onnx
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import UnsupportedModelError
from shoal.model import resolved
from shoal.model.accept import accept
from shoal.model.network import Network
from shoal.model.resolved import by_images, resolve

MS = {"com.microsoft": 1}


@pytest.mark.parametrize(
    ("each", "shape"),
    [
        ([(1, 5), (2, 5), (3, 5)], (None, 5)),
        ([(4, 1), (8, 1), (12, 1)], (None, 1)),
        ([(), (), ()], ()),
        ([(0, 2), (0, 2), (0, 2)], (0, 2)),
        ([(7,)], (7,)),
        ([(0, 5), (1, 5), (2, 5)], None),
        ([(0,), (1,), (1,)], None),
        ([(5,), (1, 5), (1, 5)], None),
        ([(1, 5), (2, 5), (2, 5)], None),
        ([(2, 5), (2, 6), (2, 7)], None),
    ],
)
def test_a_shape_grows_with_the_images_or_stays(each, shape):
    assert by_images(each) == shape


def of(nodes, inputs, outputs, weights=None, **more):
    data = nets.model(nodes, inputs, outputs, weights, **more)
    return resolve(accept(onnx.load_from_string(data), None, {}))


X = tensor("x", ["n", 4])

DATA = {
    "nonzero": ([node("NonZero", "x", "y")], {}),
    "unique": ([node("Unique", "x", "y")], {}),
    "compress": ([node("Cast", "x", "b", to=9), node("Reshape", "b l", "c"),
                  node("Compress", "x c", "y")], {"l": np.array([-1])}),
    "slice": ([node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "i", to=7),
               node("Reshape", "i l", "e"), node("Slice", "x z e o", "y")],
              {"l": np.array([-1]), "z": np.array([0]), "o": np.array([1])}),
    "range": ([node("ReduceMax", "x", "m", keepdims=0), node("Range", "z m o", "y")],
              {"z": np.float32(0), "o": np.float32(1)}),
    "topk": ([node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "i", to=7),
              node("Reshape", "i l", "k"), node("TopK", "x k", "y j")], {"l": np.array([1])}),
    "expand": ([node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "i", to=7),
                node("Reshape", "i l", "k"), node("Expand", "o k", "y")],
               {"l": np.array([1]), "o": np.float32(1)}),
    "reshape by a counted find": ([
        node("NonZero", "x", "f"), node("Shape", "f", "s"),
        node("Expand", "o s", "y")], {"o": np.float32(1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_a_shape_that_depends_on_what_is_in_the_images_is_found_in_the_graph(name):
    nodes, weights = DATA[name]
    found = of([*nodes, node("Abs", "y", "after")], [X], ["after"], weights)
    for tensor_name in ("y", "after"):
        assert tensor_name not in found.tensors
        assert tensor_name not in found.extents
        assert found.odd[tensor_name].of_content
        assert "depends on what is in the images" in found.odd[tensor_name].why
        assert all(dim is None for dim in found.loose[tensor_name].shape if dim not in (2,))


COUNT = {
    "one fewer": [node("Slice", "x one end zero", "y")],
    "half": [node("Shape", "x", "s"), node("Slice", "s zero one", "n"), node("Div", "n two", "h"),
             node("Slice", "x zero h zero", "y")],
    "left out when alone": [node("Unsqueeze", "x one", "u"), node("Squeeze", "u", "y")],
    "at most two": [node("Shape", "x", "s"), node("Slice", "s zero one", "n"),
                    node("Min", "n two", "h"), node("Slice", "x zero h zero", "y")],
    # With one, two and three images these look as if they grew, or as if they did not.
    "the first three": [node("Slice", "x zero three zero", "y")],
    "behind the third": [node("Slice", "x three end zero", "y")],
    "every fourth": [node("Slice", "x zero end zero four", "y")],
    "pooled": [node("Transpose", "x", "t", perm=[1, 0]), node("Unsqueeze", "t zero", "u"),
               node("MaxPool", "u", "y", kernel_shape=[1], strides=[4])],
    "shrunk": [node("Resize", "x _ tenth", "y", mode="nearest")],
}  # fmt: skip


@pytest.mark.parametrize("name", COUNT)
def test_a_shape_that_does_not_grow_with_the_images_is_found(name):
    weights = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "three": np.array([3]),
        "four": np.array([4]),
        "end": np.array([2**62]),
        "tenth": np.array([0.1, 1], np.float32),
    }
    found = of([*COUNT[name], node("Abs", "y", "z")], [X], ["z"], weights)
    for made in ("y", "z"):
        assert made not in found.tensors
        assert not found.odd[made].of_content


def test_a_network_that_drops_images_behind_the_third_takes_one_at_a_time():
    nodes = [node("Abs", "x", "a"), node("Slice", "a zero three zero", "b"), node("Neg", "b", "y")]
    weights = {"zero": np.array([0]), "three": np.array([3])}
    network = model.load(nets.model(nodes, [X], ["y"], weights))
    assert network.inputs[0].shape == (1, 4)
    assert len(network.cuts) == 2


@pytest.mark.parametrize("equation", ["qx", "xq"])
def test_one_query_for_all_images_is_repeated_for_each(equation):
    """Inference takes the one row of the query for all that come of them."""
    first, second = equation
    terms = {"q": "bqd", "x": "bkd"}
    nodes = [
        node("Einsum", f"{first} {second}", "s", equation=f"{terms[first]},{terms[second]}->bqk"),
        node("Softmax", "s", "p", axis=-1),
        node("Einsum", "p x", "y", equation="bqk,bkd->bqd"),
    ]
    data = nets.model(nodes, [tensor("x", ["n", 5, 4])], ["y"], {"q": random(1, 3, 4)})
    network = model.load(data)
    assert [cut.names for cut in network.cuts] == [("x", "s"), ("x", "p")]
    assert network.cuts[0].tensors[1].shape == (None, 3, 5)
    assert network.stacks
    network.split([1, 2])


def test_no_run_is_needed_where_inference_knows_once_the_number_is_fixed(monkeypatch):
    """Images times heads, by a shape that is computed: inference alone does not follow that."""
    monkeypatch.setattr(
        resolved,
        "shapes_of",
        lambda graph, names, *more: dict.fromkeys(names, 1 / 0) if names else {},
    )
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero one", "n"),
        node("Mul", "n two", "twice"),
        node("Concat", "twice two", "to", axis=0),
        node("Reshape", "x to", "y"),
    ]
    weights = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    found = of(nodes, [X], ["y"], weights)
    assert found.tensors["y"].spec.shape == (None, 2)
    assert found.tensors["y"].bytes == 16


def test_what_inference_never_knows_is_measured_with_one_two_and_three_images(monkeypatch):
    asked = []
    really = resolved.shapes_of

    def shapes_of(graph, names, counts, feeds):
        asked.append((tuple(names), tuple(counts)))
        return really(graph, names, counts, feeds)

    monkeypatch.setattr(resolved, "shapes_of", shapes_of)
    found = of(
        [node("CDist", "x w", "y", domain="com.microsoft", metric="euclidean")],
        [X],
        ["y"],
        {"w": random(3, 4)},
        domains=MS,
    )
    assert asked == [(("y",), (1, 2, 3))]
    assert found.tensors["y"].spec.shape == (None, 3)
    assert found.tensors["y"].spec.dtype == "float32"


def test_of_what_nobody_has_looked_at_no_shape_is_believed():
    """Whatever it was in three runs."""
    data = nets.model(
        [
            node("Relu", "x", "a"),
            node("NGramRepeatBlock", "i a", "b", domain="com.microsoft", ngram_size=2),
            node("Neg", "b", "y"),
        ],
        [X, tensor("i", ["n", 3], "int64")],
        ["y"],
        domains=MS,
    )
    network = model.load(data)
    assert [cut.at for cut in network.cuts] == [1]
    assert network.outputs[0].shape == (None, None)


DETECTOR = [
    node("Relu", "x", "a"),
    node("Mul", "a two", "b"),
    node("Greater", "b limit", "over"),
    node("NonZero", "over", "where"),
    node("Transpose", "where", "found"),
    node("ReduceMax", "b", "score", keepdims=0),
]
LIMITS = {"two": np.float32(2), "limit": np.float32(1e6)}


def detector(outputs=("found", "score")) -> Network:
    """Finds nothing in made-up images."""
    return model.load(nets.model(DETECTOR, [tensor("x", [1, 6])], outputs, LIMITS))


def test_a_network_whose_output_depends_on_what_is_found_is_cut_before_and_served_whole():
    network = detector()
    assert network.outputs[0].shape == (None, 2)
    assert network.outputs[1].shape == ()
    assert [cut.at for cut in network.cuts] == [1, 2, 3]
    feeds = {"x": np.array([[1, 1e6, 3, 4e6, 5, 6]], np.float32)}
    np.testing.assert_array_equal(network.run(feeds)["found"], [[0, 1], [0, 3]])
    for cut in network.cuts:
        tensors = feeds
        for part in network.split([cut]):
            tensors = part.run({name: tensors[name] for name in part.inputs})
        np.testing.assert_array_equal(tensors["found"], [[0, 1], [0, 3]])


def test_behind_what_depends_on_content_there_are_cuts_again_where_a_shape_is_known():
    nodes = [
        *DETECTOR[:5],
        node("Cast", "found", "f", to=1),
        node("ReduceSum", "f", "sum", keepdims=0),
        node("Neg", "sum", "y"),
    ]
    network = model.load(nets.model(nodes, [tensor("x", [1, 6])], ["y"], LIMITS))
    assert [cut.names for cut in network.cuts] == [("a",), ("b",), ("over",), ("sum",)]


def test_an_output_that_is_of_another_shape_for_one_image_ends_the_free_batch():
    """Squeezed without saying which axes: with one image there is one axis fewer."""
    data = nets.model(
        [node("Relu", "x", "a"), node("Squeeze", "a", "y")],
        [tensor("x", ["n", 1, 4])],
        ["y"],
    )
    network = model.load(data)
    assert network.inputs[0].shape == (1, 1, 4)
    assert network.outputs[0].shape == (4,)


def test_an_output_whose_shape_cannot_be_stated_is_refused_in_words():
    nodes = [
        node("SequenceConstruct", "x x", "y"),
    ]
    with pytest.raises(UnsupportedModelError, match="Output 'y' is no tensor"):
        model.load(nets.model(nodes, [tensor("x", [1, 4])], ["y"]))


def test_an_output_that_is_half_the_images_is_said_to_be_so():
    found = resolve(
        accept(
            onnx.load_from_string(
                nets.model(
                    COUNT["half"],
                    [X],
                    ["y"],
                    {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])},
                )
            ),
            None,
            {},
        )
    )
    with pytest.raises(UnsupportedModelError, match=r"'y'.*does not grow with the number"):
        resolved.output_specs(("y",), found)


def test_folding_for_a_number_of_images_ends():
    """A shape that is asked for and used for nothing was folded for ever."""
    found = of(
        [node("Shape", "x", "s"), node("CDist", "x w", "y", domain="com.microsoft")],
        [X],
        ["y", "s"],
        {"w": random(3, 4)},
        domains=MS,
    )
    assert found.tensors["s"].spec.shape == (2,)

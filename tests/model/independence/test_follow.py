"""Images followed through whole graphs: what is told of each tensor is so for any number."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.model import nets
from tests.model.independence.test_rules import image
from tests.model.nets import node, tensor

import shoal.model as model
from shoal.model.accept import accept
from shoal.model.engine import Engine
from shoal.model.graph import Graph, makes, whole
from shoal.model.independence import STACKED, Along, Common, Extent, Follower, Mixed, Size, entering
from shoal.model.probe import probe
from shoal.model.resolved import resolve
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight
from shoal_benchmarks.trust.generated import apart, mixing


def graph_of(data: bytes) -> Graph:
    return accept(onnx.load_from_string(data), None, {})


def layouts_of(graph: Graph) -> dict:
    found = Follower(graph.opsets, graph.weights, resolve(graph).extents)
    return found.follow(graph.nodes, entering(graph.inputs))


def check(graph: Graph, counts=(1, 2, 3, 5)) -> dict:
    """Hold what is told of each tensor against what the engine makes for some numbers of images;
    what is told."""
    told = layouts_of(graph)
    names = [name for each in graph.nodes for name in makes(each)]
    session = Engine().load(*whole(graph, names), optimise=False)
    for count in counts:
        feeds = probe(graph.inputs, seed=count, batch=count)
        together = session.run(feeds)
        each = [session.run({n: a[[k]] for n, a in feeds.items()}) for k in range(count)]
        for name in names:
            layout, array = told[name], together[name]
            if isinstance(layout, Along):
                for number in range(count):
                    np.testing.assert_allclose(
                        image(array, layout, number),
                        each[number][name],
                        rtol=1e-3,
                        atol=1e-4,
                        err_msg=name,
                    )
            elif isinstance(layout, Common):
                if layout.values is not None:
                    for size, element in zip(layout.values, array.reshape(-1), strict=True):
                        if size is not None:
                            assert element == size.each * count + size.fixed, name
                if not layout.counted:
                    for alone in each:
                        np.testing.assert_array_equal(array, alone[name], err_msg=name)
            elif layout.form is not None:
                shape = list(each[0][name].shape)
                shape[layout.form.axis] *= count
                assert array.shape == tuple(shape), name
    return told


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000))
def test_of_generated_networks_what_is_told_is_so(seed):
    told = check(graph_of(apart(seed).model), counts=(1, 3))
    assert any(isinstance(layout, Along) for layout in told.values())
    check(graph_of(mixing(seed).model), counts=(1, 3))


def sizes_graph(*nodes, opset=17) -> Graph:
    """A graph of nodes that compute from ``count``, the number of images, a list of one."""
    weights = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "four": np.array([4]),
        "three": np.array([3]),
        "minus": np.array([-1]),
        "end": np.array([2**62]),
        "back": np.array([-(2**62)]),
        "z0": np.array(0),
        "o1": np.array(1),
        "column": np.array([-1, 1, 1]),
        "token": np.ones((1, 1, 4), np.float32),
        "ones": np.ones((5, 1), np.float32),
        "rows": np.arange(8, dtype=np.float32).reshape(2, 4),
        "w": np.arange(20, dtype=np.uint8).reshape(4, 5),
    }
    return graph_of(
        nets.model(
            [
                node("Shape", "x", "shape"),
                node("Slice", "shape zero one", "count"),
                node("Slice", "shape one two", "length"),
                *nodes,
            ],
            [tensor("x", ["n", 6, 4])],
            ["y"],
            weights,
            opset=opset,
        )
    )


@pytest.mark.parametrize(
    ("nodes", "values", "counted"),
    [
        ([node("Identity", "shape", "y")], (Size(1, 0), Size(0, 6), Size(0, 4)), True),
        ([node("Size", "x", "y")], (Size(24, 0),), True),
        ([node("Gather", "shape one", "y")], (Size(0, 6),), False),
        ([node("Mul", "count two", "y")], (Size(2, 0),), True),
        ([node("Add", "count two", "y")], (Size(1, 2),), True),
        ([node("Sub", "count one", "y")], (Size(1, -1),), True),
        ([node("Div", "count two", "y")], (None,), True),
        ([node("Mul", "count count", "y")], (None,), True),
        ([node("Div", "count count", "y")], (Size(0, 1),), False),
        ([node("Div", "length four", "y")], (Size(0, 1),), False),
        ([node("Min", "count four", "y")], (None,), True),
        ([node("Min", "count one", "y")], (Size(0, 1),), False),
        ([node("Max", "count one", "y")], (Size(1, 0),), True),
        ([node("Max", "count one four", "y")], None, True),
        ([node("Neg", "count", "y")], (Size(-1, 0),), True),
        ([node("Equal", "count minus", "y")], (Size(0, 0),), False),
        ([node("Equal", "count two", "y")], (None,), True),
        ([node("Less", "count one", "y")], (Size(0, 0),), False),
        ([node("LessOrEqual", "one count", "y")], (Size(0, 1),), False),
        ([node("Greater", "count zero", "y")], (Size(0, 1),), False),
        ([node("GreaterOrEqual", "count two", "y")], (None,), True),
        ([node("Concat", "count length", "y", axis=0)], (Size(1, 0), Size(0, 6)), True),
        ([node("ReduceProd", "shape", "y", keepdims=0)], (Size(24, 0),), True),
        ([node("Cast", "count", "y", to=6)], (Size(1, 0),), True),
        ([node("Cast", "count", "y", to=9)], (Size(0, 1),), False),
        ([node("Unsqueeze", "length zero", "z"), node("Squeeze", "z zero", "y")], None, False),
        (
            [node("Equal", "shape minus", "is"), node("Where", "is two shape", "y")],
            (Size(1, 0), Size(0, 6), Size(0, 4)),
            True,
        ),
        (
            [
                node("Equal", "count minus", "is"),
                node("Not", "is", "not"),
                node("Where", "not length count", "y"),
            ],
            (Size(0, 6),),
            False,
        ),
        ([node("ConstantOfShape", "two", "y")], None, False),
        ([node("Div", "count two", "h"), node("Add", "h one", "y")], (None,), True),
        ([node("Equal", "count two", "is"), node("Where", "is one two", "y")], (None,), True),
        ([node("Equal", "count two", "is"), node("Not", "is", "y")], (None,), True),
        ([node("Slice", "shape minus back zero minus", "y")], None, True),
        ([node("Cast", "count", "f", to=1), node("Cast", "f", "y", to=7)], None, True),
        ([node("Add", "shape one", "y")], (Size(1, 1), Size(0, 7), Size(0, 5)), True),
        ([node("Slice", "shape minus four", "y")], (Size(0, 4),), False),
    ],
    ids=lambda value: (
        " ".join(n.op_type for n in value)
        if isinstance(value, list) and value and hasattr(value[0], "op_type")
        else None
    ),
)
def test_what_is_computed_from_the_number_of_images_is_known_exactly_or_not_at_all(
    nodes, values, counted
):
    told = check(sizes_graph(*nodes))["y"]
    assert isinstance(told, Common)
    assert (told.values, told.counted) == (values, counted)


@pytest.mark.parametrize(
    ("nodes", "layout"),
    [
        # What PyTorch writes for a state of zeros, a token in front, a merged axis.
        (
            [
                node("Concat", "two count four", "to", axis=0),
                node("ConstantOfShape", "to", "y"),
            ],
            Along(1),
        ),
        (
            [node("Concat", "count one four", "to", axis=0), node("Expand", "token to", "y")],
            STACKED,
        ),
        (
            [node("Concat", "count one one", "to", axis=0), node("Tile", "token to", "y")],
            STACKED,
        ),
        (
            [
                node("Mul", "count two", "twice"),
                node("Concat", "twice minus", "to", axis=0),
                node("Reshape", "x to", "y"),
            ],
            Along(0, 1, 2),
        ),
        (
            [
                node("Concat", "x x", "both", axis=0),
                node("Slice", "both count end zero", "y"),
            ],
            STACKED,
        ),
        (
            [node("Mul", "count two", "t"), node("ConstantOfShape", "t", "y")],
            Along(0, 1, 2),
        ),
        (
            [node("Concat", "count one", "to", axis=0), node("Tile", "rows to", "y")],
            Along(0, 1, 2),
        ),
        (
            [node("Concat", "count one", "to", axis=0), node("Expand", "ones to", "y")],
            None,
        ),
        # Many of the number of images are more where there are more.
        ([node("Concat", "count one", "to", axis=0), node("Expand", "count to", "y")], None),
        ([node("Tile", "count count", "y")], None),
    ],
)
def test_shapes_with_the_number_of_images_in_them_make_rows_of_images(nodes, layout):
    graph = sizes_graph(*nodes)
    if layout is None:
        told = layouts_of(graph)["y"]
        assert told == Common(counted=True) or isinstance(told, Mixed)
    else:
        assert check(graph)["y"] == layout


@pytest.mark.parametrize(
    "nodes",
    [
        # Places, and their number, change what is in an image.
        [node("Cast", "count", "f", to=1), node("Div", "x f", "y")],
        [
            node("Squeeze", "count", "s"),
            node("Range", "z0 s o1", "places"),
            node("Cast", "places", "f", to=1),
            node("Reshape", "f column", "c"),
            node("Add", "x c", "y"),
        ],
        [node("Div", "count two", "half"), node("Slice", "x zero half zero", "y")],
        [node("Min", "count two", "few"), node("Slice", "x zero few zero", "y")],
        [node("Slice", "x zero count one", "y")],
        [node("Slice", "x count count zero", "y")],
        [node("Tile", "x shape", "y")],
        [
            node("Div", "count two", "half"),
            node("Concat", "half minus four", "to", axis=0),
            node("Reshape", "x to", "y"),
        ],
        [
            node("ReduceMax", "x", "m", axes=[1, 2]),
            node("Concat", "count count one", "to", axis=0),
            node("Expand", "m to", "y"),
        ],
        [
            node("Concat", "count count four", "to", axis=0),
            node("Resize", "x _ _ to", "y"),
        ],
    ],
)
def test_what_depends_on_the_number_of_images_is_mixed(nodes):
    graph = sizes_graph(*nodes)
    assert isinstance(layouts_of(graph)["y"], Mixed)


def test_an_operator_that_nobody_has_looked_at_ends_it():
    graph = graph_of(
        nets.model(
            [
                node("CDist", "x w", "far", domain="com.microsoft", metric="euclidean"),
                node("Neg", "far", "y"),
            ],
            [tensor("x", ["n", 4])],
            ["y"],
            {"w": nets.random(3, 4)},
            domains={"com.microsoft": 1},
        )
    )
    told = layouts_of(graph)
    assert told["far"] == told["y"]
    assert "CDist 'far' is not known to treat images one by one" in told["y"].why


def test_what_mixes_says_where_and_goes_on():
    graph = graph_of(
        nets.model(
            [
                node("Relu", "x", "a"),
                node("ReduceMax", "a", "most"),
                node("Sub", "a most", "b"),
                node("Softmax", "b", "y", axis=-1),
            ],
            [tensor("x", ["n", 4])],
            ["y"],
        )
    )
    told = check(graph)
    assert told["a"] == STACKED
    assert told["y"] == Mixed("ReduceMax 'most' takes all images together", STACKED)


def test_of_what_is_mixed_it_is_still_told_how_it_grows():
    """So that shapes behind it are known: heads of a network with dynamic int8, say."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z", "p"),
        node("Cast", "p", "f", to=1),
        node("Mul", "f s", "g"),
        node("Shape", "g", "shape2"),
        node("Slice", "shape2 zero one", "count2"),
        node("Mul", "count2 two", "twice"),
        node("Concat", "twice minus", "to", axis=0),
        node("Reshape", "g to", "h"),
        node("Softmax", "h", "i", axis=0),
        node("ReduceMax", "i", "y", axes=[1], keepdims=0),
    ]
    told = check(sizes_graph(*nodes))
    assert [told[name].form for name in "qpgiy"] == [
        STACKED,
        STACKED,
        STACKED,
        Along(0, 1, 2),
        Along(0, 1, 2),
    ]
    assert told["s"].form is None
    assert told["to"].values == (Size(2, 0), Size(0, -1))


def test_what_is_said_is_held_against_the_shape():
    """Two axes that grow: whatever a rule says, images lie along one."""
    grows = Extent((1, 1), (Size(1, 0), Size(1, 0)))
    shapes = {"x": Extent.of((None, 1)), "y": grows}
    told = Follower([("", 17)], {}, shapes).follow([node("Relu", "x", "y")], {"x": STACKED})
    assert "a shape that was not expected" in told["y"].why
    told = Follower([("", 17)], {}, {"x": Extent.of((None, 1))}).follow(
        [node("Relu", "x", "y")], {"x": STACKED}
    )
    assert "whose shape is not known" in told["y"].why


def test_the_shape_of_what_is_the_same_for_all_is_known_however_it_was_found():
    shapes = {"c": Extent.measured((5, 4)), "y": Extent.of((2,))}
    told = Follower([("", 17)], {}, shapes).follow([node("Shape", "c", "y")], {"c": Common()})
    assert told["y"] == Common(values=(Size(0, 5), Size(0, 4)))


def test_images_lie_along_the_first_axis_of_an_input_and_nowhere_else():
    told = entering(
        [
            TensorSpec("rows", "float32", (None, 3)),
            TensorSpec("one", "float32", (1, 3)),
            TensorSpec("two", "float32", (None, None)),
            TensorSpec("none", "float32", ()),
        ]
    )
    assert told["rows"] == STACKED
    assert all(isinstance(told[name], Mixed) for name in ("one", "two", "none"))


def test_an_input_without_an_axis_for_images_is_that_of_the_whole_request():
    graph = graph_of(
        nets.model(
            [node("Mul", "x gain", "y")],
            [tensor("x", ["n", 4]), tensor("gain", [1])],
            ["y"],
        )
    )
    assert "input 'gain' has no axis" in layouts_of(graph)["y"].why


@pytest.mark.parametrize(
    "damaged",
    [
        node("Transpose", "x", "y", perm=[2, 1]),
        node("Concat", "x", "y", axis=9),
        node("Reshape", "x", "y"),
        node("Softmax", "x", "y", axis=-7),
        node("Split", "x", "y z", axis=1, split=[2**40]),
        node("LSTM", "x", "a b c d y"),
        node("Einsum", "x", "y", equation="b->"),
    ],
    ids=lambda damaged: damaged.op_type,
)
def test_damaged_nodes_raise_nothing(damaged):
    """The engine refuses them; nothing may be made of them before."""
    shapes = {"x": Extent.of((None, 2, 4)), "y": Extent.of((None, 2, 4))}
    told = Follower([("", 17)], {}, shapes).follow([damaged], {"x": STACKED})
    assert isinstance(told["y"], Mixed) or damaged.op_type == "Split"


@pytest.mark.parametrize(
    "odd",
    [
        node("ConstantOfShape", "none", "y"),
        node("Gather", "three far", "y"),
        node("Add", "none column", "y"),
        node("Slice", "three none none", "y"),
        node("Tile", "token none", "y"),
    ],
    ids=lambda odd: odd.op_type,
)
def test_odd_nodes_of_constants_raise_nothing_either(odd):
    weights = {
        "none": np.zeros(0, np.int64),
        "three": np.array([1, 2, 3]),
        "far": np.array(9),
        "column": np.array([1, 2]),
        "token": np.ones((1, 4)),
    }
    held = {name: Weight.of(value) for name, value in weights.items()}
    told = Follower([("", 17)], held, {"y": Extent.of(())}).follow([odd], {})
    assert isinstance(told["y"], Common)


def test_the_size_of_a_grid_may_hold_the_number_of_images():
    nodes = [
        node("Slice", "x zero two one", "pair"),
        node("Slice", "pair zero three two", "theta"),
        node("Concat", "count two four four", "size", axis=0),
        node("AffineGrid", "theta size", "y"),
    ]
    graph = sizes_graph(*nodes, opset=20)
    assert check(graph)["y"] == STACKED


def test_what_grows_no_more_does_not_pass_for_what_it_is_made_of():
    """One row is left of all images: its size is no number of images to cut others by."""
    nodes = [
        node("Softmax", "x", "mixed", axis=0),
        node("TopK", "mixed one", "best place", axis=0),
        node("Shape", "best", "size"),
        node("Slice", "size zero one", "left"),
        node("Slice", "x zero left zero", "y"),
    ]
    told = check(sizes_graph(*nodes))
    assert told["mixed"].form == STACKED
    assert told["best"].form is None
    assert isinstance(told["y"], Mixed)


def test_networks_that_are_loaded_say_why_they_mix():
    network = model.load(mixing(2).model)
    assert not network.stacks
    assert "DynamicQuantizeLinear" in network.mixes
    assert model.load(apart(2).model).mixes is None

"""What a user may say of a network's inputs: sizes of what is free, and values for good."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import InputError, ModelFileError, UnsupportedModelError

OPEN = nets.model([node("Relu", "x", "y")], [tensor("x", ["n", 3, "h", "w"])], ["y"])
"""Free height and width."""
SEVERAL = nets.model(
    [node("Add", "a b", "s"), node("Mul", "s c", "y")],
    [tensor("a", ["n", "t"]), tensor("b", ["n", "t"]), tensor("c", [])],
    ["y"],
)
HALVED = nets.model(
    [
        node("MaxPool", "x", "half", kernel_shape=[2, 2], strides=[2, 2]),
        node("Upsample", "half scales", "back"),
        node("Add", "x back", "y"),
    ],
    [tensor("x", ["n", 1, "h", "w"])],
    ["y"],
    {"scales": np.array([1, 1, 2, 2], np.float32)},
    opset=9,
)
"""Takes even sides."""


def shape_of(data: bytes, **said: object) -> list[tuple[int | None, ...]]:
    return [spec.shape for spec in model.load(data, **said).inputs]


def test_what_is_free_has_the_size_that_is_said_and_the_batch_stays_free() -> None:
    for shapes in ((1, 3, 6, 5), {"x": (1, 3, 6, 5)}, (None, None, 6, 5)):
        assert shape_of(OPEN, shapes=shapes) == [(None, 3, 6, 5)]


def test_more_than_one_image_is_meant() -> None:
    assert shape_of(OPEN, shapes=(4, 3, 6, 5)) == [(4, 3, 6, 5)]


def test_sizes_and_an_example_may_both_be_given() -> None:
    assert shape_of(OPEN, shapes=(1, 3, 6, 5), example=random(2, 3, 6, 5)) == [(None, 3, 6, 5)]
    with pytest.raises(InputError, match="example does not fit"):
        model.load(OPEN, shapes=(1, 3, 6, 5), example=random(2, 3, 6, 6))


def test_sizes_of_some_inputs_and_an_example_of_the_others() -> None:
    found = shape_of(SEVERAL, shapes={"a": (1, 4)}, example={"b": random(1, 4)})
    assert found == [(None, 4), (None, 4), ()]


def test_all_that_is_open_is_told_at_once_with_what_to_write() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        model.load(SEVERAL)
    text = str(caught.value)
    assert "'a' is [n, t]. 'b' is [n, t]." in text
    assert "--input a=1x? --input b=1x? " in text
    assert "shapes={'a': (1, ?), 'b': (1, ?)}" in text
    assert "'c'" not in text


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"x": (1, 4, 6, 5)}, r"4 along axis 1, the network takes \[n, 3, h, w\]"),
        ({"x": (3, 6, 5)}, "are 3, the network takes 4"),
        ({"x": (1, 3, 0, 5)}, r"are \[1, 3, 0, 5\]: 0 is no size"),
        ({"x": (1, 3, -6, 5)}, "-6 is no size"),
        ({"z": (1, 3, 6, 5), "w": (1,)}, "sizes of 'z', 'w', and the network's inputs are 'x'"),
    ],
)
def test_sizes_that_contradict_the_network_are_refused(shapes, reason) -> None:
    with pytest.raises(InputError, match=reason):
        model.load(OPEN, shapes=shapes)


def test_all_that_contradicts_is_told_at_once() -> None:
    data = nets.model([node("Add", "a b", "y")], [tensor(n, ["n", 3]) for n in "ab"], ["y"])
    with pytest.raises(InputError, match=r"'a' have 4 along axis 1.*'b' have 5 along axis 1"):
        model.load(data, shapes={"a": (1, 4), "b": (1, 5)})


def test_sizes_without_a_name_are_for_one_input() -> None:
    with pytest.raises(InputError, match=r"one input; this has 'a', 'b', 'c'"):
        model.load(SEVERAL, shapes=(1, 4))


def test_sizes_too_large_are_refused_before_the_engine_sees_them() -> None:
    with pytest.raises(UnsupportedModelError, match="the most that Shoal runs"):
        model.load(OPEN, shapes=(1, 3, 2**40, 2**20))


def test_sizes_that_the_network_cannot_take_are_told_with_others_that_it_takes() -> None:
    assert shape_of(HALVED, shapes=(1, 1, 6, 4)) == [(None, 1, 6, 4)]
    with pytest.raises(UnsupportedModelError, match=r"It takes x=1x1x6x4 \(multiples of 2\)"):
        model.load(HALVED, shapes=(1, 1, 5, 4))


def test_what_is_wrong_for_another_reason_is_not_laid_to_the_sizes() -> None:
    text = nets.model(
        [node("Relu", "x", "y"), node("RandomNormalLike", "y", "z"), node("Add", "y z", "w")],
        [tensor("x", ["n", 3, "h", "w"])],
        ["w"],
    )
    with pytest.raises(UnsupportedModelError) as caught:
        model.load(text, shapes=(1, 3, 5, 5))
    assert "It takes" not in str(caught.value)


def test_an_input_with_a_value_for_good_is_none_any_more() -> None:
    network = model.load(SEVERAL, shapes={"a": (1, 4), "b": (1, 4)}, values={"c": np.array(3.0)})
    assert [spec.name for spec in network.inputs] == ["a", "b"]
    a, b = random(2, 4), random(2, 4, seed=1)
    np.testing.assert_allclose(network.run({"a": a, "b": b})["y"], 3 * (a + b), rtol=1e-6)
    plain = model.load(SEVERAL, shapes={"a": (1, 4), "b": (1, 4)})
    assert network.hash != plain.hash


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"c": np.zeros(2)}, r"has the shape \[2\], the network takes \[\]|are 1, the network"),
        ({"z": np.zeros(())}, "values of 'z'"),
        ({"c": np.array(1 + 1j)}, "no numbers"),
        ({"c": "many"}, "no numbers"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, reason) -> None:
    with pytest.raises(InputError, match=reason):
        model.load(SEVERAL, shapes={"a": (1, 4), "b": (1, 4)}, values=values)


def test_a_bundle_has_its_sizes() -> None:
    from shoal import zoo

    with pytest.raises(InputError, match="bundle"):
        model.load(zoo.path("mnist-fluid"), shapes=(1, 1, 28, 28))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=2), st.sampled_from([None, 1, 2, 3]))
@settings(deadline=None, max_examples=15)
def test_any_sizes_give_what_the_engine_gives(sides: list[int], batch: int | None) -> None:
    network = model.load(OPEN, shapes=(batch, 3, *sides))
    assert network.inputs[0].shape == (batch if batch and batch > 1 else None, 3, *sides)
    x = random(batch or 2, 3, *sides)
    np.testing.assert_array_equal(network.run({"x": x})["y"], np.maximum(x, 0))


SPREAD = nets.model(
    [
        node("Expand", "x size", "wide"),
        node("Reshape", "wide flat", "row"),
        node("Neg", "row", "y"),
    ],
    [tensor("x", [5, 7]), tensor("size", [3], "int64")],
    ["y"],
    {"flat": np.array([70], np.int64)},
)
"""Takes sizes as an input, and no others than these."""
SIZES = np.array([2, 5, 7], np.int64)


def test_what_made_up_inputs_do_not_do_for_is_refused_with_what_to_give_and_taken_with_that() -> (
    None
):
    with pytest.raises(
        UnsupportedModelError, match=r"on made-up inputs.* --input FILE.npz .*example="
    ):
        model.load(SPREAD)
    feeds = {"x": random(5, 7), "size": SIZES}
    network = model.load(SPREAD, example=feeds)
    assert not network.strength().weak  # the numbers are turned, the sizes are not
    assert network.strength().inputs == "the example, its whole numbers as they are"
    assert [cut.at for cut in network.cuts] == [2]  # who knows the size of what lies before
    for part in network.split([2]):
        feeds = part.run(feeds)
    np.testing.assert_array_equal(feeds["y"], -np.tile(random(35), 2))


def test_where_no_second_image_is_known_the_example_alone_is_a_weak_proof() -> None:
    data = nets.model(
        [node("Resize", "x _ scales", "y", mode="linear")],
        [tensor("x", [1, 1, 4, 4]), tensor("scales", [4])],
        ["y"],
    )
    feeds = {"x": random(1, 1, 4, 4), "scales": np.array([1, 1, 2, 3], np.float32)}
    network = model.load(data, example=feeds)
    assert network.run(feeds)["y"].shape == (1, 1, 8, 12)
    assert network.strength().weak
    assert network.strength().inputs == "the example alone"


def test_nan_and_infinity_are_taken_where_the_example_has_some_beside_numbers() -> None:
    data = nets.model([node("IsNaN", "x", "y")], [tensor("x", ["n", 3])], ["y"])
    gaps = np.array([[1, np.nan, -np.inf]], np.float32)
    with pytest.raises(InputError, match=r"NaN or infinity. If they are meant .* an example"):
        model.load(data).run({"x": gaps})
    network = model.load(data, example=gaps)
    assert network.run({"x": gaps})["y"].tolist() == [[False, True, False]]
    with pytest.raises(InputError, match="NaN or infinity"):
        model.load(data, example=np.full((1, 3), np.nan, np.float32))


def test_an_input_of_nothing_is_taken_where_the_file_says_0_and_the_example_has_none() -> None:
    data = nets.model(
        [node("ReduceSum", "x axes", "sum", keepdims=0), node("Neg", "sum", "y")],
        [tensor("x", ["n", 2, 3]), tensor("axes", [0], "int64")],
        ["y"],
        opset=13,
    )
    feeds = {"x": np.ones((1, 2, 3), np.float32), "axes": np.zeros(0, np.int64)}
    network = model.load(data, example=feeds)
    assert network.inputs[1].shape == (0,)
    assert network.run(feeds)["y"] == -6
    with pytest.raises(InputError, match=r"shape \[1\], the network takes \[0\]"):
        network.run({**feeds, "axes": np.zeros(1, np.int64)})
    with pytest.raises(InputError, match="0 is no size"):
        model.load(OPEN, example=random(1, 3, 0, 5))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            onnx.TensorProto.STRING,
            "is text, and only numbers are sent: begin the network where there are numbers.$",
        ),
        (onnx.TensorProto.BFLOAT16, "begin the network .* with a Cast of one of float32"),
    ],
)
def test_types_that_cannot_be_sent_are_told_with_what_to_do(kind: int, reason: str) -> None:
    info = onnx.helper.make_tensor_value_info("x", kind, [1])
    with pytest.raises(UnsupportedModelError, match=reason):
        model.load(nets.model([node("Identity", "x", "y")], [info], ["y"]))


@pytest.mark.parametrize(
    "shapes",
    [5, "1x3x6x5", {"x": 5}, {"x": "1x3"}, (1, 3, True, 5), (1, 3, 6.5, 5), ("1", 3, 6, 5)],
)
def test_what_is_no_size_is_refused(shapes) -> None:
    with pytest.raises(InputError, match="are no sizes: give whole numbers"):
        model.load(OPEN, shapes=shapes)
    assert shape_of(OPEN, shapes=np.array([1, 3, 6, 5])) == [(None, 3, 6, 5)]


def test_names_that_are_no_text_are_told() -> None:
    with pytest.raises(InputError, match="sizes of '5'"):
        model.load(OPEN, shapes={5: (1, 3, 6, 5)})


def test_an_input_without_a_shape_of_which_some_sizes_are_said() -> None:
    proto = onnx.ModelProto.FromString(OPEN)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedModelError, match=r"without a shape.*--input x=1x3x\?x5"):
        model.load(proto.SerializeToString(), shapes=(1, 3, None, 5))


def test_a_fixed_state_with_a_free_axis_is_written_as_the_network_has_it() -> None:
    data = nets.model([node("Relu", "x", "y")], [tensor("x", [2, "n", 8])], ["y"])
    with pytest.raises(UnsupportedModelError, match=r"--input x=2x\?x8 "):
        model.load(data)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array(np.nan), "The value of the input 'c' holds NaN"),
        (np.array(1e300), "The value of the input 'c' holds NaN, or more than float32 can"),
        (np.array(2 + 1j), "holds no numbers"),
    ],
)
def test_values_that_no_network_computes_with_are_refused(value, reason) -> None:
    with pytest.raises(InputError, match=reason):
        model.load(SEVERAL, shapes={"a": (1, 4), "b": (1, 4)}, values={"c": value})


def sparse(path: Path, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """An array in a file that takes no room on the disk."""
    return np.lib.format.open_memmap(path, "w+", np.float32, shape)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="the most that Shoal runs"):
        model.load(SEVERAL, values={"a": sparse(tmp_path / "a.npy", (1, 2**28))})
    with pytest.raises(InputError, match="give fewer"):
        model.load(OPEN, example=sparse(tmp_path / "x.npy", (2**20, 3, 32, 32)))


def test_a_path_that_is_none() -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        model.load("a\0b.onnx")

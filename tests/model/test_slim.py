"""Models parsed without the data of their weights, which stays in the file's bytes."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import ModelFileError
from shoal.model import limits, weights
from shoal.model.slim import slim
from shoal.model.source import read

BIG = random(64, 80)
SMALL = random(3)


def with_weights(*protos, nodes=()):
    graph = helper.make_graph(
        [*nodes, node("Relu", "x", "y")], "g", [tensor("x", ["n", 4])], [tensor("y", None)], protos
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def held(data):
    """The weights of a model as read from its bytes, and how large it is without them."""
    source = read(data)
    found = weights.read_weights(source.model, source.beside)
    return {name: weight.array() for name, weight in found.items()}, source.model.ByteSize()


def typed(array, field):
    proto = onnx.TensorProto(name="w", dims=array.shape)
    proto.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    getattr(proto, field).extend(array.reshape(-1).tolist())
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        numpy_helper.from_array(BIG, "w"),
        numpy_helper.from_array(BIG.astype(np.int8), "w"),
        numpy_helper.from_array(BIG.astype(np.float16), "w"),
        typed(BIG, "float_data"),
        typed(BIG.astype(np.float64), "double_data"),
    ],
    ids=["float32", "int8", "float16", "float_data", "double_data"],
)
def test_large_weights_are_views_of_the_file(proto):
    plain = with_weights(proto, numpy_helper.from_array(SMALL, "small"))
    found, size = held(plain.SerializeToString())
    np.testing.assert_array_equal(found["w"], numpy_helper.to_array(proto))
    np.testing.assert_array_equal(found["small"], SMALL)
    assert found["w"].dtype == numpy_helper.to_array(proto).dtype
    assert size < 500


def test_numbers_of_variable_length_are_read_too():
    found, _ = held(with_weights(typed(np.arange(5000), "int64_data")).SerializeToString())
    np.testing.assert_array_equal(found["w"], np.arange(5000))


def test_what_constants_hold_is_a_view_as_well():
    data = nets.model(
        [node("Constant", "", "w", value=numpy_helper.from_array(BIG)), node("MatMul", "x w", "y")],
        [tensor("x", ["n", 64])],
        ["y"],
    )
    assert read(data).model.ByteSize() < 500
    network = model.load(data)
    feeds = network.probe()
    np.testing.assert_allclose(network.run(feeds)["y"], feeds["x"] @ BIG, rtol=1e-4, atol=1e-5)


def test_a_weight_whose_shape_does_not_fit_its_data_stays_for_the_reader_to_refuse():
    proto = numpy_helper.from_array(BIG, "w")
    proto.dims[0] += 1
    with pytest.raises(ModelFileError, match=r"its shape .* needs"):
        held(with_weights(proto).SerializeToString())


def test_a_weight_with_more_dimensions_than_any_stays_for_the_reader_to_refuse():
    """Their product could take hours, and memory for all of its digits."""
    proto = numpy_helper.from_array(BIG, "w")
    proto.dims[:] = [1] * limits.RANK + [BIG.size]
    data = with_weights(proto).SerializeToString()
    assert slim(data, "name") == data
    with pytest.raises(ModelFileError, match=f"more than {limits.RANK} dimensions"):
        held(data)


def test_a_file_cannot_name_a_place_in_itself():
    """The name of that place is drawn anew each time."""
    proto = numpy_helper.from_array(BIG, "w")
    data = with_weights(proto).SerializeToString()
    named = onnx.ModelProto.FromString(slim(data, "name"))
    with pytest.raises(ModelFileError, match="load the model from its file"):
        held(named.SerializeToString())


@given(st.binary(max_size=200), st.integers(0, 9000), st.integers(0, 9000))
def test_damaged_bytes_mean_what_they_meant(noise, at, cut):
    """Either slimming leaves them alone, or the same graph comes out but for the weights."""
    whole = with_weights(
        numpy_helper.from_array(BIG, "w"), nodes=[node("Constant", "", "c", value_int=3)]
    ).SerializeToString()
    at %= len(whole)
    data = whole[:at] + noise + whole[at + cut :]
    slimmed = slim(data, "name")
    before, after = onnx.ModelProto(), onnx.ModelProto()
    try:
        before.ParseFromString(data)
    except Exception:
        with pytest.raises(Exception, match=r".*"):
            after.ParseFromString(slimmed)
        return
    after.ParseFromString(slimmed)
    for proto in after.graph.initializer:
        if [entry.value for entry in proto.external_data][:1] == ["name"]:
            _, offset, length = (entry.value for entry in proto.external_data)
            proto.raw_data = data[int(offset) : int(offset) + int(length)]
            proto.ClearField("external_data")
            proto.ClearField("data_location")
    assert before == after

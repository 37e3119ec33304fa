"""What is read from the raw bytes of a part, and what is refused there."""

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests.model import nets
from tests.model.nets import node, tensor

import shoal.model as model
from shoal.errors import ModelFileError
from shoal.model import limits
from shoal.model.wire import adding_model, encoded, externals, is_hash, numbers_in

PART = model.load(nets.residual()).split([4])[0]


def changed(change) -> bytes:
    proto = onnx.ModelProto.FromString(PART.graph)
    change(proto)
    return proto.SerializeToString()


def first_external(proto):
    return next(w for w in proto.graph.initializer if w.external_data)


def test_the_blobs_of_a_part_are_found_with_names_types_and_shapes():
    proto = onnx.ModelProto.FromString(PART.graph)
    expected = {
        weight.name: (weight.data_type, tuple(weight.dims), weight.external_data[0].value)
        for weight in proto.graph.initializer
        if weight.external_data
    }
    found = {w.name: (w.data_type, w.dims, w.blob) for w in externals(PART.graph)}
    assert found == expected
    assert {w.blob for w in externals(PART.graph)} == set(PART.blobs)
    assert all(w.nbytes == len(PART.blobs[w.blob]) for w in externals(PART.graph))


def elsewhere(location):
    def change(proto):
        first_external(proto).external_data[0].value = location

    return change


def offset(proto):
    first_external(proto).external_data.add(key="offset", value="8")


def nameless(proto):
    first_external(proto).name = ""


def huge(proto):
    first_external(proto).dims[0] = 2**39


def negative(proto):
    first_external(proto).dims[0] = -1


def of_text(proto):
    first_external(proto).data_type = onnx.TensorProto.STRING


def of_many_dimensions(proto):
    first_external(proto).dims.extend([1] * 20)


def with_control_flow(proto):
    body = helper.make_graph([node("Relu", "x", "r")], "b", [], [tensor("r", [1])])
    proto.graph.node.append(node("If", "c", "z", then_branch=body, else_branch=body))


def with_a_function(proto):
    opset = [helper.make_opsetid("", 17)]
    proto.functions.append(
        helper.make_function("d", "F", ["v"], ["w"], [node("Relu", "v", "w")], opset)
    )


def with_a_sparse_weight(proto):
    proto.graph.sparse_initializer.add()


def with_an_external_attribute(proto):
    value = onnx.TensorProto(name="v", data_type=1, dims=[4], data_location=1)
    value.external_data.add(key="location", value="/etc/passwd")
    proto.graph.node.append(node("Constant", "", "c", value=value))


@pytest.mark.parametrize(
    "change",
    [
        *map(elsewhere, ["/etc/passwd", "../secret", "", "A" * 64, "0" * 63, "g" * 64]),
        offset,
        nameless,
        huge,
        negative,
        of_text,
        of_many_dimensions,
        with_control_flow,
        with_a_function,
        with_a_sparse_weight,
        with_an_external_attribute,
    ],
)
def test_what_no_part_may_hold_is_refused(change):
    with pytest.raises(ModelFileError):
        externals(changed(change))


def test_many_weights_that_share_a_blob_may_not_fill_the_memory():
    def change(proto):
        weight = first_external(proto)
        weight.dims[:] = [2**28]
        for index in range(10):
            proto.graph.initializer.add().CopyFrom(weight)
            proto.graph.initializer[-1].name = f"copy{index}"

    with pytest.raises(ModelFileError, match="bytes of weights"):
        externals(changed(change))


def test_a_graph_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "GRAPH_BYTES", len(PART.graph) - 1)
    with pytest.raises(ModelFileError, match="at most"):
        externals(PART.graph)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(ModelFileError):
        externals(data)


@settings(max_examples=300)
@given(st.integers(0, len(PART.graph)), st.integers(0, len(PART.graph) - 1), st.integers(0, 255))
def test_damaged_graphs_are_read_or_refused(length, place, value):
    data = bytearray(PART.graph)
    data[place] = value
    with contextlib.suppress(ModelFileError):
        externals(bytes(data[:length]))


@given(st.text(max_size=70))
def test_only_sha256_in_small_digits_is_a_hash(text):
    expected = len(text) == 64 and set(text) <= set("0123456789abcdef")
    assert is_hash(text) == expected
    assert is_hash("0123456789abcdef" * 4)


def test_the_smallest_model_is_one():
    proto = onnx.ModelProto.FromString(adding_model(300))
    onnx.checker.check_model(_inline(proto))
    (weight,) = externals(adding_model(300))
    assert (weight.name, weight.dims, weight.nbytes) == ("w", (300,), 1200)


def _inline(proto):
    weight = proto.graph.initializer[0]
    weight.ClearField("external_data")
    weight.ClearField("data_location")
    weight.raw_data = np.zeros(300, np.float32).tobytes()
    return proto


@pytest.mark.parametrize(
    "unknown",
    [
        b"\xa1\x06" + bytes(range(8)),  # field 100 of 64 bits
        b"\xa5\x06" + bytes(range(4)),  # of 32 bits
        b"\xa2\x06\x03abc",
        b"\xa0\x06\x96\x01",
    ],
)
def test_what_a_later_version_of_the_format_may_add_is_passed_over(unknown):
    assert externals(PART.graph + unknown) == externals(PART.graph)
    assert externals(unknown + PART.graph + unknown) == externals(PART.graph)
    with pytest.raises(ModelFileError):
        externals(PART.graph + unknown[:-1])


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
        ((1 << 64) - 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_number_is_written_as_short_as_it_can_be_and_read_again(number, written):
    assert encoded(1, number) == b"\x08" + written
    assert numbers_in(memoryview(written * 2)) == [number] * 2
    with pytest.raises(ModelFileError, match="damaged"):
        numbers_in(memoryview(b"\x01" + b"\x80"))


def test_a_number_that_never_ends_is_refused():
    with pytest.raises(ModelFileError, match="damaged"):
        numbers_in(memoryview(b"\x80" * 11))
    assert len(numbers_in(memoryview(b"\xff" * 9 + b"\x7f"))) == 1


def test_bytes_are_written_with_their_length():
    assert encoded(2, b"") == b"\x12\x00"
    assert encoded(16, b"x" * 128) == b"\x82\x01" + b"\x80\x01" + b"x" * 128


def test_a_graph_of_just_the_limit_is_read(monkeypatch):
    monkeypatch.setattr(limits, "GRAPH_BYTES", len(PART.graph))
    assert externals(PART.graph)

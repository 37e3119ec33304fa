"""Tensors of one stage with codecs of their own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.codec import named
from shoal.codec.frame import pack, unpack
from shoal.errors import PlanError, UsageError
from shoal.plan.playbook_check import _check_codec
from shoal.runtime.body import Body

codecs = st.sampled_from(["raw", "quant:4,clip:0:1,lz4", "half:none", "jpeg:90"])


@given(st.dictionaries(st.text(max_size=8), codecs, max_size=4), codecs)
def test_every_tensor_has_the_codec_that_was_written_whatever_its_name(given_codecs, others):
    text = named.write(given_codecs, others)
    named.check(text)
    for name, codec in given_codecs.items():
        assert named.codec_of(text, name) == codec
    assert named.codec_of(text, "none of them, which is longer") == others


def test_one_codec_for_all_is_written_as_itself():
    assert named.write({"a": "half"}, "half") == "half"
    assert named.codec_of("half", "a") == "half"


def test_tensors_that_nothing_is_said_of_are_raw():
    assert named.codec_of("a=half", "b") == "raw"


@pytest.mark.parametrize(
    "text", ["half;quant:4", "a=half;a=raw", "a=half;a=half", ";" * 300, "x" * 40_000 + "=raw"]
)
def test_what_contradicts_itself_is_refused(text):
    with pytest.raises(UsageError):
        named.codec_of(text, "a")


def test_a_codec_that_there_is_not_is_found_before_anything_is_sent():
    with pytest.raises(UsageError, match="zip"):
        named.check("raw;a=zip:3")


def test_a_playbook_may_name_a_codec_for_each_tensor():
    text = named.write({"a": "quant:4", "b;=%": "half"}, "lossless")
    _check_codec("stage 1", text)
    with pytest.raises(PlanError, match="zip"):
        _check_codec("stage 1", text + ";c=zip")


def test_a_frame_packs_each_tensor_with_its_own():
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 256)
    text = named.write({"a=b": "quant:4,none"}, "half:none")
    frame = pack({"a=b": values, "c": values}, text)
    assert [tensor.codec for tensor in frame.head.tensors] == ["quant:4,none", "half:none"]
    assert [tensor.size for tensor in frame.head.tensors] == [8 + 256, 512]
    back = unpack(frame)
    assert np.abs(back["a=b"] - values).max() <= 1 / 30 + 1e-6
    assert np.abs(back["c"] - values).max() <= 2**-11


def test_a_body_passes_on_the_frame_that_it_came_in_when_the_codecs_are_the_same():
    text = named.write({"a": "quant:8"}, "raw")
    frame = pack({"a": np.ones((1, 99), np.float32), "b": np.ones(3)}, text)
    assert Body(frame=frame).frame(text) is frame
    assert Body(frame=frame).frame("raw") is not frame


def test_each_of_as_many_tensors_as_a_frame_holds_may_have_a_codec_of_its_own():
    text = named.write({f"t{k}": "half:none" for k in range(256)}, "quant:8")
    named.check(text)
    assert named.codec_of(text, "t255") == "half:none"
    assert named.codec_of(text, "t256") == "quant:8"
    with pytest.raises(UsageError, match="258 codecs are given"):
        named.codec_of(text + ";more=raw", "a")
    name = "x" * ((1 << 15) - len("=half"))
    assert named.codec_of(f"{name}=half", name) == "half"
    with pytest.raises(UsageError, match="32768 is the limit"):
        named.codec_of(f"{name}=halff", name)

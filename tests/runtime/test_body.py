"""A body is packed once and unpacked once, and only where that is needed."""

import numpy as np
import pytest

from shoal.codec.frame import Frame, FrameHead, pack
from shoal.codec.slices import Home
from shoal.errors import FrameError
from shoal.runtime import body as module
from shoal.runtime.body import Body

ARRAYS = {"x": np.arange(6, dtype=np.float32), "y": np.ones((2, 2), np.int8)}


@pytest.fixture
def counted(monkeypatch):
    """How often packing and unpacking was done."""
    counts = {"pack": 0, "unpack": 0}

    def count(name, really):
        def do(*what):
            counts[name] += 1
            return really(*what)

        return do

    for name in counts:
        monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    return counts


def test_what_stays_here_is_never_packed(counted):
    body = Body(ARRAYS)
    assert body.arrays()["x"] is ARRAYS["x"]
    assert body.size == 24 + 4
    assert counted == {"pack": 0, "unpack": 0}


def test_it_is_packed_once_however_often_it_is_sent(counted):
    body = Body(ARRAYS)
    assert body.frame("raw") is body.frame("raw")
    assert counted == {"pack": 1, "unpack": 0}


def test_what_came_as_a_frame_goes_on_as_it_came(counted):
    frame = pack(ARRAYS)
    body = Body(frame=frame)
    assert body.frame("raw") is frame
    assert body.size == 28
    assert counted == {"pack": 0, "unpack": 0}


def test_it_is_unpacked_once(counted):
    body = Body(frame=pack(ARRAYS))
    np.testing.assert_array_equal(body.arrays()["x"], ARRAYS["x"])
    body.arrays()
    assert counted["unpack"] == 1


def test_damage_shows_when_it_is_unpacked_not_when_it_goes_on():
    frame = pack(ARRAYS)
    damaged = Body(frame=Frame(frame.head, (bytes(28),)))
    assert damaged.frame("raw").head == frame.head
    with pytest.raises(FrameError):
        damaged.arrays()


def test_a_body_of_nothing():
    assert Body().arrays() == {}
    assert Body().size == 0


def test_a_frame_without_tensors_is_judged_by_its_head_alone():
    """Its payload may be damaged: that is found out where it is unpacked."""
    body = Body(frame=Frame(FrameHead((), 0), (b"what is this?",)))
    assert body.is_swift("raw", 10)
    with pytest.raises(FrameError):
        body.arrays()


def test_what_came_stays_what_came_however_it_is_packed_again() -> None:
    array = np.linspace(0, 1, 500, dtype=np.float32).reshape(2, 250)
    body = Body(frame=pack({"x": array}, "raw"))
    assert body.frame("quant:2").head.tensors[0].codec == "quant:2"
    assert body.as_it_came().head.tensors[0].codec == "raw"
    np.testing.assert_array_equal(body.arrays()["x"], array)
    assert body.alike("quant:2") is body


def test_what_was_packed_here_goes_whole_to_another_process() -> None:
    array = np.linspace(0, 1, 500, dtype=np.float32).reshape(2, 250)
    body = Body({"x": array}, home=Home("x", 1, 100))
    assert body.frame("lossless").head.tensors[0].shape == (2, 150)
    assert body.as_it_came().head.tensors[0].shape == (2, 250)

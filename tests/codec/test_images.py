"""Images as JPEG and PNG."""

import contextlib
import io
import sys

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.codec.codecs import find_codec
from shoal.codec.frame import Frame, FrameHead, Packed, pack, unpack
from shoal.codec.images import images_in
from shoal.codec.parcel import AS_IT_LIES, STORED
from shoal.errors import FrameError, MissingExtraError

Image = pytest.importorskip("PIL.Image")


def picture(shape=(1, 3, 48, 64)):
    """Smooth, as photos are, whichever axes are rows and columns."""
    grid = np.indices(shape).sum(axis=0)
    return (127 + 120 * np.sin(grid / 9)).astype(np.uint8)


def there_and_back(array, name):
    frame = pack({"a": array}, name)
    return unpack(Frame(frame.head, (bytes(frame.whole),)))["a"]


SHAPES = [
    (2, 3, 20, 24),
    (2, 20, 24, 3),
    (1, 1, 30, 9),
    (3, 30, 9, 1),
    (3, 40, 9),
    (40, 9, 3),
    (40, 9),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_png_is_exact_in_all_shapes_of_images(shape):
    array = picture(shape)
    frame = pack({"a": array}, "png")
    assert frame.head.tensors[0].meta == bytes([STORED])
    np.testing.assert_array_equal(unpack(frame)["a"], array)


@pytest.mark.parametrize("shape", SHAPES)
def test_jpeg_looks_alike(shape):
    array = picture(shape)
    back = there_and_back(array, "jpeg:90")
    assert np.abs(back.astype(int) - array).mean() < 8


def test_a_jpeg_of_lower_quality_is_smaller():
    array = picture((1, 3, 96, 96))
    sizes = [pack({"a": array}, f"jpeg:{quality}").head.size for quality in (95, 90, 30)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < array.nbytes / 5


def test_a_jpeg_of_full_colour_is_nearer_and_larger():
    rows, columns = np.indices((96, 96))
    stripes = np.where(columns % 4 < 2, 200, 60)  # red and blue change, brightness hardly does
    array = np.stack([stripes, 128 + rows, 260 - stripes])[None].astype(np.uint8)
    sizes, errors = [], []
    for name in ("jpeg:97,full", "jpeg:97"):
        sizes.append(pack({"a": array}, name).head.size)
        errors.append(np.abs(there_and_back(array, name).astype(int) - array).mean())
    assert sizes[0] > sizes[1]
    assert errors[0] < errors[1] / 2


def test_full_colour_is_no_matter_for_grey():
    array = picture((1, 1, 48, 64))
    sizes = {pack({"a": array}, name).head.size for name in ("jpeg:90", "jpeg:90,full")}
    assert len(sizes) == 1


def test_a_file_larger_than_its_pixels_is_not_sent():
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 20, 20)).astype(np.uint8)
    frame = pack({"a": noise}, "jpeg:95")
    assert frame.head.size == noise.nbytes
    np.testing.assert_array_equal(unpack(frame)["a"], noise)


def test_channels_come_first_where_both_readings_are_possible():
    assert images_in((1, 3, 40, 3)).first
    assert images_in((1, 3, 40, 3)).height == 40
    assert not images_in((1, 4, 40, 3)).first


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(0, 1, 300, dtype=np.float32),
        np.arange(120, dtype=np.uint8),
        np.zeros((1, 4, 30, 30), np.uint8),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((0, 3, 30, 30), np.uint8),
        np.zeros((1, 3, 1, 70_000), np.uint8),
    ],
    ids=["floats", "one axis", "four channels", "tiny", "empty", "too long"],
)
@pytest.mark.parametrize("name", ["jpeg:90", "png"])
def test_what_is_no_image_is_sent_as_it_is(array, name):
    frame = pack({"a": array}, name)
    assert frame.head.tensors[0].meta[0] & AS_IT_LIES
    np.testing.assert_array_equal(unpack(frame)["a"], array)


def decode(data, meta=bytes([STORED]), shape=(1, 3, 48, 64), name="png"):
    return find_codec(name).decode(memoryview(data), meta, np.dtype("uint8"), shape)


def file_of(mode, size, file_format="PNG"):
    file = io.BytesIO()
    Image.new(mode, size).save(file, file_format)
    return len(file.getvalue()).to_bytes(4, "little") + file.getvalue()


LIES = {
    "another size": file_of("RGB", (63, 48)),
    "a bomb": file_of("L", (9000, 9000)),
    "grey": file_of("L", (64, 48)),
    "with a palette": file_of("P", (64, 48)),
    "another format": file_of("RGB", (64, 48), "BMP"),
    "nothing": b"",
    "a length and nothing": b"\xff\0\0\0",
    "an empty image": bytes(4),
    "cut off": (len(file_of("RGB", (64, 48))) - 40).to_bytes(4, "little")
    + file_of("RGB", (64, 48))[4:-36],
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES.keys())
def test_a_file_that_is_not_what_it_should_be_is_refused(data):
    with pytest.raises(FrameError):
        decode(data)


def test_compressed_images_and_images_of_floats_are_lies():
    honest = bytes(pack({"a": picture()}, "png").whole)
    with pytest.raises(FrameError):
        decode(honest, meta=b"\0")
    with pytest.raises(FrameError):
        decode(honest, shape=(48 * 64 * 3,))


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["jpeg:90", "png"]),
    st.integers(0, 2000),
    st.integers(0, 255),
    st.integers(0, 60),
    st.integers(0, 3),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=64),
    st.booleans(),
)
def test_damaged_files_are_read_or_refused(name, at, value, dropped, flags, shape, honest_shape):
    data = bytearray(pack({"a": picture()}, name).whole)
    data[at % len(data)] = value
    del data[len(data) - dropped :]
    shape = picture().shape if honest_shape else shape
    packed = Packed("a", "uint8", shape, name, len(data), bytes([flags]))
    frame = Frame(FrameHead((packed,), xxhash.xxh3_64_intdigest(bytes(data))), (bytes(data),))
    with contextlib.suppress(FrameError):
        assert unpack(frame)["a"].shape == shape


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"shoal\[images\]"):
        pack({"a": picture()}, "jpeg:90")

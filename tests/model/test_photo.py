"""From photos to inputs, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shoal.errors import PlanError
from shoal.model.photo import prepared
from shoal.model.preprocessing import Preprocessing
from shoal.model.spec import TensorSpec


def spec(shape: tuple[int | None, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec("x", dtype, shape)


def photo(height: int, width: int) -> Image.Image:
    """Each pixel another colour: its row, its column, 200."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([rows, columns, np.full_like(rows, 200)], 2).astype(np.uint8))


def test_a_photo_of_the_right_size_is_taken_as_it_is() -> None:
    got = prepared(photo(4, 6), spec((None, 3, 4, 6), "uint8"))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[0], np.asarray(photo(4, 6)).transpose(2, 0, 1))


def test_channels_last_and_the_other_way_round() -> None:
    pixels = np.asarray(photo(4, 6))
    last = prepared(photo(4, 6), spec((1, 4, 6, 3), "uint8"))
    np.testing.assert_array_equal(last[0], pixels)
    bgr = prepared(photo(4, 6), spec((1, 3, 4, 6), "uint8"), Preprocessing(colour="bgr"))
    np.testing.assert_array_equal(bgr[0], pixels[:, :, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(None, 3, 4, 6), (None, 4, 6, 3)])
def test_floats_are_scaled_by_channel(shape: tuple[int | None, ...]) -> None:
    how = Preprocessing(scale=2.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    got = prepared(photo(4, 6), spec(shape), how)[0]
    wanted = (np.asarray(photo(4, 6)) / 2 - [1, 2, 3]) / [2, 4, 8]
    last = got.transpose(1, 2, 0) if shape[1] == 3 else got
    assert got.dtype == np.float32
    np.testing.assert_allclose(last, wanted, rtol=1e-6)


def test_without_a_word_floats_are_from_0_to_1() -> None:
    got = prepared(Image.new("RGB", (9, 9), "white"), spec((None, 3, 4, 6), "float16"))
    assert got.dtype == np.float16
    assert (got == 1).all()


def test_grey_pictures() -> None:
    got = prepared(Image.new("RGB", (9, 9), (100, 100, 100)), spec((None, 1, 4, 6), "uint8"))
    assert got.shape == (1, 1, 4, 6)
    assert (got == 100).all()


def test_a_letterbox_keeps_the_shape_and_fills_the_rest() -> None:
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    for place, rows in (("centre", range(2, 6)), ("corner", range(4))):
        how = Preprocessing(fit="letterbox", fill=9, place=place)  # type: ignore[arg-type]
        got = prepared(wide, spec((None, 3, 8, 8), "uint8"), how)[0]
        for row in range(8):
            wanted = [255, 0, 0] if row in rows else [9, 9, 9]
            assert (wanted == got[:, row].T).all(), (place, row)


def test_a_crop_is_the_middle_in_the_shape_of_the_input() -> None:
    how = Preprocessing(crop=1.0, resample="nearest")
    got = prepared(photo(8, 20), spec((None, 3, 4, 6), "uint8"), how)[0]
    assert (got[0].min(), got[0].max()) == (1, 7), "all rows"
    assert (got[1].min(), got[1].max()) == (5, 15), "12 of 20 columns, from the fourth on"


def test_a_stretched_photo_is_there_whole() -> None:
    how = Preprocessing(fit="stretch", resample="nearest")
    got = prepared(photo(8, 12), spec((None, 3, 4, 6), "uint8"), how)[0]
    assert got[0][:, 0].tolist() == [1, 3, 5, 7]
    assert got[1][0].tolist() == [1, 3, 5, 7, 9, 11]


def test_files_are_read_too(tmp_path: Path) -> None:
    photo(8, 12).save(tmp_path / "a.png")
    wanted = prepared(photo(8, 12), spec((None, 3, 4, 6)))
    np.testing.assert_array_equal(prepared(tmp_path / "a.png", spec((None, 3, 4, 6))), wanted)


def test_what_is_no_input_for_photos_is_refused() -> None:
    with pytest.raises(PlanError, match="none for photos"):
        prepared(photo(8, 12), spec((None, 7)))


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["crop", "stretch", "letterbox"]),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
    st.sampled_from([(None, 3, 5, 9), (None, 9, 5, 3), (1, 1, 7, 7)]),
)
@settings(deadline=None, max_examples=60)
def test_photos_of_any_size_become_inputs(height, width, fit, resample, shape) -> None:
    how = Preprocessing(fit=fit, resample=resample)
    got = prepared(photo(height, width), spec(shape, "uint8"), how)
    assert got.shape == (1, *shape[1:])
    assert got.flags.c_contiguous

"""How a photo becomes an input of EfficientNet-Lite."""

import sys
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import InputError, MissingExtraError
from shoal.model.photo import prepared
from shoal.model.spec import TensorSpec

SPEC = TensorSpec("image", "uint8", (None, 3, 224, 224))
Image = pytest.importorskip("PIL.Image", reason="photos need Pillow (extra images)")


def test_pixels_are_bytes_per_channel() -> None:
    got = prepared(Image.new("RGB", (300, 400), (0, 127, 255)), SPEC)
    assert got.shape == (1, 3, 224, 224)
    assert got.dtype == np.uint8
    for channel, value in enumerate((0, 127, 255)):
        np.testing.assert_array_equal(got[0, channel], value)


def test_the_centre_is_kept_and_the_edges_are_cut() -> None:
    pixels = np.full((256, 512, 3), 255, np.uint8)
    pixels[16:240, 144:368] = 127  # the central square of 224/256 of the short side
    np.testing.assert_array_equal(prepared(Image.fromarray(pixels), SPEC), 127)
    pixels[16, 144] = 255
    assert prepared(Image.fromarray(pixels), SPEC)[0, 0, 0, 0] == 255


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16"])
def test_other_modes_become_rgb(mode: str) -> None:
    assert prepared(Image.new(mode, (50, 40)), SPEC).shape == (1, 3, 224, 224)


def test_what_is_behind_transparent_pixels_is_not_guessed() -> None:
    assert prepared(Image.new("RGBA", (50, 40), (9, 9, 9, 255)), SPEC).max() == 9
    with pytest.raises(InputError, match="transparent"):
        prepared(Image.new("RGBA", (50, 40)), SPEC)


def test_a_photo_is_seen_upright(tmp_path: Path) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:128] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is stored first was at the right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    seen = prepared(tmp_path / "a.jpg", SPEC)[0, 0]
    assert seen[:, 150:].min() > 250
    assert seen[:, :74].max() < 5


def test_the_smallest_image_is_enough() -> None:
    assert prepared(Image.new("RGB", (1, 1)), SPEC).shape == (1, 3, 224, 224)


def test_files_are_read_and_bad_ones_refused(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (127, 127, 127)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(prepared(tmp_path / "a.png", SPEC), 127)
    for name, content in (("b.png", b"no image"), ("c.png", b"\x89PNG\r\n\x1a\n"), ("d", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            prepared(str(tmp_path / name), SPEC)


def test_without_pillow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shoal\[images\]'"):
        prepared("photo.jpg", SPEC)

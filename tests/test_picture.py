"""A file of each kind that cameras and programs write, and what is seen in it."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import InputError
from shoal.picture import Head, central, developed, files_in, read, read_head

Image = pytest.importorskip("PIL.Image", reason="image files need Pillow (extra images)")

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
"""Every shade of grey once, in 8 bits."""
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)


def pixels(file: Path, mode: str = "L") -> np.ndarray:
    return np.asarray(read(file, mode))


# -- bits


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2"])
def test_sixteen_bits_are_as_bright_as_eight(tmp_path, name):
    Image.fromarray(RAMP * 257).save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), RAMP)
    np.testing.assert_array_equal(pixels(tmp_path / name, "RGB")[..., 1], RAMP)
    assert read_head(tmp_path / name).grey


def test_sixteen_bits_of_the_other_order(tmp_path):
    Image.fromarray((RAMP * 257).astype(">u2")).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), RAMP)


def test_sixteen_bits_in_which_white_is_zero(tmp_path):
    Image.fromarray(RAMP * 257).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entry = data.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[entry + 8] = 0
    (tmp_path / "a.tif").write_bytes(data)
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), 255 - RAMP)


def test_twelve_bits_in_sixteen(tmp_path):
    """As a scanner packs them: two values in three bytes."""
    values = RAMP.reshape(-1, 2).astype(int) * 16
    packed = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in values.tolist())
    entries = [
        (256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 16), (279, 4, 1, len(packed)),
    ]  # fmt: skip
    head = b"II*\0" + (8 + len(packed)).to_bytes(4, "little")
    table = len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        table += b"".join(n.to_bytes(w, "little") for n, w in zip((tag, kind), (2, 2), strict=True))
        table += count.to_bytes(4, "little") + value.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(head + packed + table + bytes(4))
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), RAMP)


def test_sixteen_bits_of_colour(tmp_path):
    """Pillow does not write them."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = COLOURS.shape
    rows = (COLOURS.astype(">u2") * 257).astype(">u2").reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png", "RGB"), COLOURS)


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(RAMP > 127).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.where(RAMP > 127, 255, 0))


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (RAMP.astype(np.int32) * 1000, "whole numbers of 32 bits"),
        (RAMP.astype(np.float32) / 255, "floats of 32 bits"),
    ],
)
def test_numbers_without_a_known_range_are_refused(tmp_path, array, what):
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=rf"a\.tif holds {what}.*black and white"):
        read(tmp_path / "a.tif", "L")


# -- colours


def test_a_palette_is_looked_up(tmp_path):
    few = COLOURS[:4, :4]
    Image.fromarray(few).convert("P", palette=1, colors=256).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(pixels(tmp_path / "a.png", "RGB"), few)


def test_cmyk_is_converted_by_the_plain_formula(tmp_path):
    ink = np.zeros((2, 2, 4), np.uint8)
    ink[0, 0], ink[0, 1], ink[1, 0] = (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif", "RGB").tolist() == [
        [[0, 255, 255], [255, 0, 0]],
        [[0, 0, 0], [255, 255, 255]],
    ]
    assert pixels(tmp_path / "a.tif").shape == (2, 2)


def test_colours_become_grey_and_grey_becomes_rgb(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2
    assert np.abs(pixels(tmp_path / "a.png") - COLOURS @ weights).max() < 1
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(pixels(tmp_path / "b.png", "RGB"), RAMP[..., None].repeat(3, 2))
    assert (read_head(tmp_path / "a.png").grey, read_head(tmp_path / "b.png").grey) == (False, True)


# -- transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_hides_nothing_is_dropped(tmp_path, mode):
    bands = [RAMP.astype(np.uint8)] * (len(mode) - 1)
    Image.fromarray(np.dstack([*bands, np.full_like(bands[0], 255)]), mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), RAMP)
    Image.fromarray(np.dstack([*bands, bands[0]]), mode).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png has transparent pixels"):
        read(tmp_path / "b.png", "RGB")


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_that_is_used_is_refused(tmp_path, mode):
    image = Image.fromarray(COLOURS[:4, :4]).convert(mode)
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    with pytest.raises(InputError, match="transparent pixels"):
        read(tmp_path / "a.png", "RGB")


def test_a_transparent_shade_of_sixteen_bits_is_refused(tmp_path):
    Image.fromarray(RAMP * 257).save(tmp_path / "a.png", transparency=257)
    with pytest.raises(InputError, match="transparent shade"):
        read(tmp_path / "a.png", "L")


# -- which way up


def turned(orientation: int, upright: np.ndarray) -> np.ndarray:
    """What a camera stores that is held so (EXIF 2.3, tag 0x0112): the first row and the first
    column of the file are at that side of what was seen."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.jpg"])
def test_a_photo_is_upright_however_the_camera_was_held(tmp_path, name, orientation):
    upright = np.zeros((24, 16, 3), np.uint8)
    upright[:8, :8] = 200  # at the top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(turned(orientation, upright)))
    image.save(tmp_path / name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    found = pixels(tmp_path / name, "RGB")
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 3  # JPEG is not exact
    assert read_head(tmp_path / name) == Head(16, 24, False)


def test_an_image_that_is_open_already_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(developed(image, "RGB"), np.rot90(COLOURS, -1))


# -- several, damaged, large


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_of_several_pictures_none_is_guessed(tmp_path, name):
    first, *others = [Image.new("L", (8, 8), shade) for shade in (0, 100, 200)]
    first.save(tmp_path / name, save_all=True, append_images=others)
    with pytest.raises(InputError, match=rf"{name} holds 3 pictures"):
        read(tmp_path / name, "L")


def test_the_small_copy_behind_a_photo_is_not_meant(tmp_path):
    photo, copy = Image.new("RGB", (64, 48), "white"), Image.new("RGB", (16, 12), "black")
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[copy])
    assert pixels(tmp_path / "a.jpg").shape == (48, 64)
    assert pixels(tmp_path / "a.jpg").min() == 255


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.bmp", "a.gif"])
def test_what_is_damaged_is_refused_by_name(tmp_path, name):
    random = np.random.default_rng(1)
    Image.fromarray(COLOURS).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=name):
        read(tmp_path / name, "RGB")
    for _ in range(50):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(InputError):  # it may still be a picture
            assert read(tmp_path / name, "RGB").mode == "RGB"


def test_what_is_too_large_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (16_385, 1)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="16385x1; the limit is 16384"):
        read(tmp_path / "a.png", "L")


# -- folders


def test_what_is_left_out_in_a_folder_is_said(tmp_path, caplog):
    for name in ("b.PNG", "a.jpg", "c.heic", "notes.txt", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "more.png").mkdir()
    assert [path.name for path in files_in(tmp_path)] == ["a.jpg", "b.PNG"]
    assert "3 of 5 entries are not read (c.heic, more.png, notes.txt)" in caplog.text


def test_a_folder_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        files_in(tmp_path / "nowhere")


def test_the_central_square():
    picture = np.zeros((256, 512), np.uint8)
    picture[16:240, 144:368] = 255
    np.testing.assert_array_equal(central(Image.fromarray(picture), 224, 224, 224 / 256), 255)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(InputError, match="there is nothing in it"):
        developed(Image.new("RGB", (0, 5)), "RGB")

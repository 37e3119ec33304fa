"""Image files: the one place that reads them, so that a photo is the same picture everywhere.

A picture is upright (as its EXIF orientation says), has 8 bits for each value, and is RGB or grey.
What cannot be brought into that form without a guess is refused in words:

======================================  =======================================================
16 bits a value                         the upper 8, in colour as in grey
palettes, 1 bit, CMYK, YCbCr, Lab       converted; CMYK by the plain formula, without profiles
an alpha channel that hides nothing     dropped
transparent pixels                      refused: what lies behind them is not known
whole numbers of 32 bits, floats        refused: which of them are black and white is not known
several pictures (animations, pages)    refused: which one is meant is not known
======================================  =======================================================

Needs Pillow (extra ``images``).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from shoal.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

Mode: TypeAlias = Literal["RGB", "L"]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""How the names of image files end that are looked for in folders."""
MAX_SIDE = 16_384
"""Pixels; what is larger is refused before it is decoded."""
SIXTEEN_BITS = frozenset({"PNG", "PPM", "JPEG2000"})
"""Formats whose whole numbers (mode ``I``) are of 16 bits."""
TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations in which width and height change places."""
ORIENTATION = 0x0112

log = logging.getLogger("shoal")


class Head(NamedTuple):
    """What is known of a picture before it is decoded. ``grey``: it has no colours."""

    width: int
    height: int
    grey: bool


def need_pillow() -> None:
    """MissingExtraError where image files cannot be read."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "reading image files needs Pillow: pip install 'shoal[images]'"
        ) from error


def read(file: Path | str, mode: Mode) -> Image.Image:
    """The picture in a file. InputError when it is damaged, too large, or cannot be converted
    without a guess."""
    with _opened(file) as image:
        return developed(image, mode, str(file))


def read_head(file: Path | str) -> Head:
    """What the head of a file says of its picture. InputError when it cannot be read."""
    with _opened(file) as image:
        sideways = image.format != "TIFF" and image.getexif().get(ORIENTATION) in SIDEWAYS
        width, height = image.size[::-1] if sideways else image.size
        return Head(width, height, image.mode in ("1", "L", "LA") or image.mode[:1] == "I")


def developed(image: Image.Image, mode: Mode, name: str = "the image") -> Image.Image:
    """A picture of an image of Pillow's, which is called ``name`` in errors. InputError as for
    :func:`read`."""
    from PIL import ImageOps

    if not min(image.size):
        raise InputError(f"{name} is {image.width}x{image.height}: there is nothing in it")
    if max(image.size) > MAX_SIDE:
        raise InputError(f"{name} is {image.width}x{image.height}; the limit is {MAX_SIDE} a side")
    # Cameras put a small copy for their display behind the photo, and call that MPO.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise InputError(
            f"{name} holds {getattr(image, 'n_frames', 'several')} pictures; save the one that is "
            "meant in a file of its own"
        )
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        upright = _eight_bits(upright, image, name)
    elif image.mode == "F":
        raise _unbounded(name, "floats")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        if upright.getextrema()[3][0] < 255:
            raise InputError(
                f"{name} has transparent pixels, and what lies behind them is not known; save it "
                "on a background, without an alpha channel"
            )
    if mode == "L" and upright.mode in ("1", "L"):
        return upright.convert("L")
    return upright.convert("RGB").convert(mode)


def central(picture: Image.Image, width: int, height: int, share: float) -> Image.Image:
    """The central part of a picture with sides as ``width`` to ``height``: so large a ``share`` of
    the largest that there is, along each side."""
    scale = share * min(picture.width / width, picture.height / height)
    wide, high = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (picture.width - wide) // 2, (picture.height - high) // 2
    return picture.crop((left, top, left + wide, top + high))


def files_in(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """The files in a folder whose names end so, sorted. What else lies there, but for hidden
    files, is left out, which is logged. InputError when the folder cannot be read."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from None
    found = [path for path in entries if path.suffix.lower() in suffixes and path.is_file()]
    others = [path.name for path in sorted(set(entries) - set(found))]
    if found and others:
        shown = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        log.warning(
            "%s: %d of %d entries are not read (%s); read is what ends in %s",
            folder, len(others), len(entries), shown, ", ".join(sorted(suffixes)),
        )  # fmt: skip
    return found


def _eight_bits(upright: Image.Image, image: Image.Image, name: str) -> Image.Image:
    """The upper 8 bits of whole numbers of 16, as of 16-bit colours: to Pillow all above 255 is
    white."""
    import numpy as np
    from PIL import Image

    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and image.format not in SIXTEEN_BITS:
        raise _unbounded(name, "whole numbers")
    if "transparency" in image.info:
        raise InputError(f"{name} has a transparent shade of grey; save it without")
    (bits, *_) = tags.get(TIFF_BITS, (16,))
    grey = np.asarray(upright).astype(np.int32) >> (bits - 8)
    if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def _unbounded(name: str, what: str) -> InputError:
    return InputError(
        f"{name} holds {what} of 32 bits, and which of them are black and white is not known; save "
        "it with 8 or 16 bits a value, or give an array"
    )


@contextmanager
def _opened(file: Path | str) -> Iterator[Any]:
    """An image file, open; whatever Pillow raises for it is an InputError that names it."""
    need_pillow()
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Of sizes, which have a limit here, and of details in heads that do not matter here.
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                yield image
    except InputError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise InputError(f"cannot read the image {file}: {error}") from error

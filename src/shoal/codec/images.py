"""The codecs ``jpeg`` and ``png``: images as the files that they would be.

For uint8 tensors of shape (N, C, H, W), (N, H, W, C), (C, H, W), (H, W, C) or (H, W) with one or
three channels; where both readings are possible channels come first. All else travels as it lies,
compressed with Zstandard. The payload holds the length of each image (4 bytes, little-endian), and
the images.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shoal.codec.codecs import Array, Buffer, Codec
from shoal.codec.compress import QUICK, compressor
from shoal.codec.parcel import SMALL, STORED, Parcel
from shoal.codec.settings import Settings
from shoal.errors import FrameError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

LONGEST_SIDE = 65500
"""Of a JPEG."""
_LENGTH = np.dtype("<u4")
_REST = compressor("zstd", QUICK)
QUALITIES = range(1, 101)


def make_jpeg(settings: str) -> Codec:
    """The codec of ``jpeg:QUALITY[,full]``. Without ``full`` colour has half the rows and columns
    of brightness, as in most JPEGs."""
    given = Settings("jpeg", settings)
    quality = given.first_number("QUALITY", QUALITIES, default=90)
    colour = "4:4:4" if given.flag("full") else "4:2:0"
    given.end()
    return Images(_REST, "JPEG", {"quality": quality, "subsampling": colour})


def make_png(settings: str) -> Codec:
    """The codec ``png``, which is exact; UsageError for settings, which it does not take."""
    Settings("png", settings).end()
    return Images(_REST, "PNG", {})


class Shape(NamedTuple):
    """The images in a tensor; ``first`` tells that channels come before rows."""

    images: int
    channels: int
    height: int
    width: int
    first: bool


def images_in(shape: tuple[int, ...]) -> Shape | None:
    """The images in a tensor of this shape; None where it holds none."""
    if not 2 <= len(shape) <= 4 or math.prod(shape) < SMALL:
        return None
    count = shape[0] if len(shape) == 4 else 1
    sides = shape[-3:] if len(shape) > 2 else (1, *shape)
    if sides[0] in (1, 3):
        found = Shape(count, sides[0], sides[1], sides[2], first=True)
    elif sides[2] in (1, 3):
        found = Shape(count, sides[2], sides[0], sides[1], first=False)
    else:
        return None
    return found if max(found.height, found.width) <= LONGEST_SIDE else None


@dataclass(frozen=True)
class Images(Parcel):
    """Writes each image of a tensor as a file of one format, with Pillow's ``options``."""

    file_format: str
    options: dict[str, Any]

    def pack(self, array: Array) -> tuple[Buffer, int] | None:
        shape = images_in(array.shape) if array.dtype == np.uint8 else None
        if shape is None:
            return None
        image = _pillow()
        files = []
        for pixels in _in_rows(array, shape):
            file = io.BytesIO()
            image.fromarray(pixels).save(file, self.file_format, **self.options)
            files.append(file.getvalue())
        lengths = np.array([len(file) for file in files], _LENGTH)
        if lengths.nbytes + int(lengths.sum()) >= array.nbytes:
            return None
        return b"".join((lengths.tobytes(), *files)), STORED

    def unpack(
        self, data: memoryview, flags: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        sides = images_in(shape) if dtype == np.uint8 else None
        if sides is None or flags != STORED:
            raise FrameError(f"a tensor of {dtype} {list(shape)[:8]} came as {self.file_format}")
        start = sides.images * _LENGTH.itemsize
        if len(data) < start:
            raise FrameError(f"{sides.images} images came in {len(data)} bytes")
        lengths = np.frombuffer(data[:start], _LENGTH).tolist()
        if start + sum(lengths) != len(data):
            raise FrameError("the lengths of images do not add up to what came")
        made = np.empty(shape, np.uint8)
        for pixels, length in zip(_in_rows(made, sides), lengths, strict=True):
            pixels[...] = self._read(data[start : start + length], sides)
            start += length
        return made

    def _read(self, file: memoryview, sides: Shape) -> Array:
        """The pixels of one file, which may be anything; they are unpacked only if it is as large
        as it should be."""
        image = _pillow()
        try:
            with image.open(io.BytesIO(file), formats=(self.file_format,)) as opened:
                mode = "RGB" if sides.channels == 3 else "L"
                if opened.size != (sides.width, sides.height) or opened.mode != mode:
                    raise FrameError(
                        f"an image of {opened.mode} {opened.size} came in place of {mode} "
                        f"{(sides.width, sides.height)}"
                    )
                pixels: Array = np.asarray(opened)
        except (
            *(OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error, zlib.error),
            image.DecompressionBombError,
        ) as error:
            raise FrameError(f"a {self.file_format} image cannot be read: {error}") from None
        return pixels


def _in_rows(array: Array, shape: Shape) -> list[Array]:
    """A view of each image: (height, width), or (height, width, 3)."""
    axes = (shape.images, shape.channels, shape.height, shape.width)
    if shape.first:
        images = array.reshape(axes).transpose(0, 2, 3, 1)
    else:
        images = array.reshape(shape.images, shape.height, shape.width, shape.channels)
    return [image[:, :, 0] if shape.channels == 1 else image for image in images]


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "images are packed with Pillow, which is not installed: pip install 'shoal[images]'"
        ) from error
    module: ModuleType = Image
    return module

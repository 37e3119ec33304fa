"""From a photo to the input of a network, as its preprocessing says. Needs Pillow (extra
``images``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shoal import picture
from shoal.model.preprocessing import Canvas, Preprocessing, canvas
from shoal.model.spec import TensorSpec

if TYPE_CHECKING:
    from PIL import Image


def prepared(
    photo: Image.Image | Path | str, spec: TensorSpec, how: Preprocessing | None = None
) -> npt.NDArray[Any]:
    """The input for a photo, given as an image of Pillow's or as a file: an array of one image.
    ``how`` None: as ImageNet's networks take theirs, and floats from 0 to 1.

    Raises InputError for a photo that cannot be read (see :mod:`shoal.picture`), PlanError where
    the input is none for photos, MissingExtraError without Pillow.
    """
    how = Preprocessing() if how is None else how
    place = canvas(spec, how)
    mode: picture.Mode = "L" if place.channels == 1 else "RGB"
    if isinstance(photo, Path | str):
        read = picture.read(photo, mode)
    else:
        read = picture.developed(photo, mode)
    pixels = np.asarray(_fitted(read, place, how), np.uint8)
    pixels = pixels.reshape(place.height, place.width, place.channels)
    if how.colour == "bgr":
        pixels = pixels[:, :, ::-1]
    if place.layout == "chw":
        pixels = pixels.transpose(2, 0, 1)
    kind = np.dtype(spec.dtype)
    if kind == np.uint8:
        return np.ascontiguousarray(pixels[np.newaxis])
    values = pixels / np.float32(how.scale)
    if any(how.mean) or set(how.std) != {1.0}:
        sides = (-1, 1, 1) if place.layout == "chw" else (-1,)
        mean, std = (np.array(each, np.float32).reshape(sides) for each in (how.mean, how.std))
        values = (values - mean) / std
    return np.ascontiguousarray(values[np.newaxis].astype(kind))


def _fitted(photo: Image.Image, place: Canvas, how: Preprocessing) -> Image.Image:
    """The photo in the size of the input."""
    from PIL import Image

    ways = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
    }
    way, size = ways[how.resample], (place.width, place.height)
    if photo.size == size:
        return photo
    match how.fit:
        case "stretch":
            return photo.resize(size, way)
        case "crop":
            return picture.central(photo, *size, how.crop).resize(size, way)
        case "letterbox":
            scale = min(place.width / photo.width, place.height / photo.height)
            width, height = (max(1, round(scale * side)) for side in photo.size)
            ground = (how.fill,) * len(photo.getbands())
            whole = Image.new(photo.mode, size, ground if len(ground) > 1 else ground[0])
            centred = how.place == "centre"
            left = (place.width - width) // 2 if centred else 0
            top = (place.height - height) // 2 if centred else 0
            whole.paste(photo.resize((width, height), way), (left, top))
            return whole

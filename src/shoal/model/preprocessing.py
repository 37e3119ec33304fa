"""How a photo becomes an input of a network: what its authors did with theirs. Data only."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from shoal.errors import DataError, PlanError
from shoal.model.spec import TensorSpec

ENDING = ".shoal.yaml"
"""``model.shoal.yaml`` tells of ``model.onnx`` beside it."""
MAX_LABELS = 100_000
MAX_LABEL = 200
"""Characters of the name of a class."""
CROP = 224 / 256
"""The side of the central square, as a share of the short side: how ImageNet's networks are
tested."""

Fit: TypeAlias = Literal["crop", "stretch", "letterbox"]
Resample: TypeAlias = Literal["nearest", "bilinear", "bicubic"]


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done with a photo, in this order.

    ``fit``: the central part of the shape of the input is cut out (``crop``: so much of what would
    fit) and scaled; or the photo is stretched; or scaled as it is, and what is left of the input is
    filled with ``fill`` (0 to 255; ``place``: the photo is in its centre, or in the upper left
    corner). ``resample`` is how it is scaled. ``colour`` is the order of the channels, ``layout``
    their place (None: as the input's shape has it). An input of bytes takes the pixels as they are;
    one of floats takes ``(pixel / scale - mean) / std``, ``mean`` and ``std`` by channel, or one
    for all. ``labels`` are what the classes are called.
    """

    fit: Fit = "crop"
    crop: float = CROP
    place: Literal["centre", "corner"] = "centre"
    fill: int = 114
    resample: Resample = "bicubic"
    colour: Literal["rgb", "bgr", "grey"] | None = None
    layout: Literal["chw", "hwc"] | None = None
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop: {self.crop:g} is no share; write more than 0, up to 1")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill: {self.fill} is no value of a pixel; write 0 to 255")
        numbers = (self.scale, *self.mean, *self.std)
        if not all(map(math.isfinite, numbers)) or not all((self.scale, *self.std)):
            raise ValueError("scale, mean, std: write numbers, and no 0 to divide by")
        if not {len(self.mean), len(self.std)} <= {1, 3}:
            raise ValueError("mean, std: write one number, or one for each of three channels")
        if len(self.labels) > MAX_LABELS or any(len(each) > MAX_LABEL for each in self.labels):
            raise ValueError(
                f"labels: at most {MAX_LABELS}, of {MAX_LABEL} characters each, are read"
            )


class Canvas(msgspec.Struct, frozen=True):
    """The place of a photo in an input: its pixels, and the order of its axes."""

    channels: int
    height: int
    width: int
    layout: Literal["chw", "hwc"]


def canvas(spec: TensorSpec, how: Preprocessing) -> Canvas:
    """Where a photo goes in this input. PlanError where it is none for photos, or ``how`` does not
    fit it."""
    shape = spec.shape
    wrong = ""
    sides = tuple(shape[1:])
    channels = {"chw": sides[0], "hwc": sides[-1]} if len(sides) == 3 else {}
    fits = [layout for layout, count in channels.items() if count in (1, 3)]
    if not fits or None in sides or not _taken(spec.dtype):
        wrong = "is none for photos (bytes or floats [batch, channels, height, width])"
    elif shape[0] not in (None, 1):
        wrong = "takes several images at a time, and photos are fed one by one"
    elif how.layout is not None and how.layout not in fits:
        wrong = f"is not laid out as {how.layout}"
    if wrong:
        shown = ["batch" if size is None else size for size in shape]
        raise PlanError(f"the input {spec.name!r} of {spec.dtype} {shown} {wrong}")
    layout: Literal["chw", "hwc"] = how.layout or ("chw" if "chw" in fits else "hwc")
    first, second, third = (size or 1 for size in sides)
    count, height, width = (first, second, third) if layout == "chw" else (third, first, second)
    if (how.colour == "grey") != (count == 1) and how.colour is not None:
        raise PlanError(f"the input {spec.name!r} has {count} channels, and colour: {how.colour}")
    if count == 1 and 3 in (len(how.mean), len(how.std)):
        raise PlanError(f"the input {spec.name!r} has one channel; mean, std: write one number")
    plain = Preprocessing()
    if spec.dtype == "uint8" and (how.scale, how.mean, how.std) != (
        plain.scale,
        plain.mean,
        plain.std,
    ):
        raise PlanError(
            f"the input {spec.name!r} takes bytes, which are not scaled: leave out scale, mean, std"
        )
    _check_values(spec, how)
    return Canvas(count, height, width, layout)


def _check_values(spec: TensorSpec, how: Preprocessing) -> None:
    """PlanError where a pixel would be more than the input can hold."""
    if not spec.dtype.startswith("float"):
        return
    import numpy as np  # what decides loads this module, and never asks

    kind = np.dtype(spec.dtype)
    with np.errstate(all="ignore"):
        mean, std = (np.array(each, np.float32) for each in (how.mean, how.std))
        pixels = np.array([[0], [255]], np.float32) / np.float32(how.scale)
        values = ((pixels - mean) / std).astype(kind)
    if not np.isfinite(values).all():
        raise PlanError(
            f"scale, mean, std: pixels would be larger than {spec.dtype} holds, which the input "
            f"{spec.name!r} takes"
        )


def _taken(dtype: str) -> bool:
    return dtype == "uint8" or dtype.startswith("float")


def check(how: Preprocessing, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """PlanError where it is not for a network of these tensors."""
    if len(inputs) != 1:
        raise PlanError(f"the network takes {len(inputs)} inputs, and photos are for one")
    canvas(inputs[0], how)
    shapes = [spec.shape for spec in outputs]
    classes = shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 else None
    if how.labels and classes is not None and len(how.labels) != classes:
        raise PlanError(f"labels: {len(how.labels)} names, and the network tells {classes} classes")


def beside(model: Path) -> Preprocessing | None:
    """What the file beside a model says; None where there is none. DataError for what is wrong."""
    path = model.parent / (model.stem + ENDING)
    if os.path.lexists(path):
        return read(path)
    for name in (model.name + ENDING, model.stem + ENDING.replace("yaml", "yml")):
        if os.path.lexists(model.parent / name):
            raise DataError(f"{model.parent / name} is not read: call it {path.name}")
    return None


def tell(model: Path, how: Preprocessing | None) -> None:
    """Say it in the file beside a model that is written; where nothing is known, there is none.
    StoreError where it cannot be written."""
    from shoal.model.store import write_file

    if how is not None:
        content = msgspec.yaml.encode(how)
        write_file(model.parent / (model.stem + ENDING), content)


def read(path: Path) -> Preprocessing:
    """What a file (YAML) says. DataError where it makes no sense."""
    from shoal import safe_yaml  # workers read none of these

    raw = safe_yaml.parse(_text(path), str(path), DataError)
    if not isinstance(raw, dict):
        raise DataError(f"{path}: must be a mapping (key: value); see docs/preprocessing.md")
    for name in ("mean", "std"):
        if isinstance(raw.get(name), int | float):
            raw[name] = [raw[name]]
    if "labels" in raw:
        raw["labels"] = _labels(raw["labels"], path)
    found: Preprocessing = safe_yaml.convert(raw, Preprocessing, str(path), DataError)
    return found


def _labels(given: Any, path: Path) -> list[str]:
    """The names of classes: a list, a mapping from their numbers, or a file with one a line."""
    if isinstance(given, str):
        from shoal.model.weights import Folders

        named = path.parent / given
        file = Folders(path.parent, path.resolve().parent).inside(named) if given else None
        if file is None:
            raise DataError(
                f"{path}: labels: {given[:200]!r} is no file in the folder of this one or below it"
            )
        return [line.strip() for line in _text(file).rstrip().split("\n")]
    if isinstance(given, dict):
        whole = all(type(number) is int for number in given)
        if not whole or set(given) != set(range(len(given))):
            raise DataError(f"{path}: labels: classes are numbered from 0 without a gap")
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list):
        raise DataError(f"{path}: labels: write a list, numbers with names, or the name of a file")
    for each in given:
        if type(each) not in (str, int):  # to YAML yes and no are true and false, 1.0 a number
            raise DataError(f"{path}: labels: {str(each)[:60]!r} is no text; write it in quotes")
    return [str(each) for each in given]


def _text(path: Path) -> str:
    """The text of a file, without the mark that some editors put before it."""
    from shoal import safe_yaml

    try:
        there = path.is_file()  # opening a pipe waits for whoever writes to it
    except OSError:  # the name is too long
        there = False
    if not there:
        raise DataError(f"{path}: cannot be read: there is no such file")
    return safe_yaml.read_text(path, DataError).removeprefix("\ufeff")

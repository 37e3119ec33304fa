"""From PyTorch to ONNX, held against PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from shoal.errors import MissingExtraError, ProofError, StoreError, UnsupportedModelError

OPSET = 18
CHECKED_BATCHES = (1, 2, 5)
TOLERANCE = 1e-4
"""Largest difference from PyTorch, relative to the largest output (single precision, another
order of sums: 1e-6 to 1e-5 is usual)."""


@dataclass(frozen=True)
class Export:
    """An ONNX file and how well it agrees with the module it came from."""

    path: Path
    bytes: int
    difference: float
    """The largest over the checked inputs, relative to the largest output."""


def export(
    module: nn.Module, example: Tensor, path: Path, *, input_name: str, output_name: str
) -> Export:
    """Write ``module`` as ONNX to ``path``, with the first dimension free.

    ``example`` is an input ``(batch, ...)``; random inputs like it, in several batch sizes, are
    run through ONNX Runtime and PyTorch. The file appears only when both agree.

    Raises ``UnsupportedModelError`` if PyTorch cannot export it, ``ProofError`` if the two
    differ, ``StoreError`` if the file cannot be written.
    """
    module = module.to(memory_format=torch.contiguous_format).eval()
    model = _to_onnx(module, example, input_name, output_name)
    content = model.SerializeToString(deterministic=True)
    difference = _largest_difference(module, example, content, input_name)
    if not difference <= TOLERANCE:
        raise ProofError(
            f"the exported network differs from PyTorch by {difference:.1e} of its largest output "
            f"({TOLERANCE:.0e} is allowed): try another version of torch and onnxscript"
        )
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return Export(path, len(content), difference)


def _to_onnx(
    module: nn.Module, example: Tensor, input_name: str, output_name: str
) -> onnx.ModelProto:
    # Two images: a batch of one would be taken for a fixed size.
    inputs = example[:1].repeat(2, *[1] * (example.ndim - 1))
    try:
        with _quietly():
            program = torch.onnx.export(
                module,
                (inputs,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"exporting needs the package {error.name}: pip install 'shoal[train]'"
        ) from error
    except Exception as error:  # the exporter raises whatever its passes raise
        raise UnsupportedModelError(f"PyTorch cannot export this network: {error}") from error
    if program is None:
        raise UnsupportedModelError("PyTorch gave no ONNX program for this network")
    model: onnx.ModelProto = program.model_proto
    _forget_origin(model)
    return model


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source lines and folders of this machine."""
    for item in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
        model,
        *model.graph.initializer,
    ):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    model.graph.name = "network"


def _largest_difference(
    module: nn.Module, example: Tensor, content: bytes, input_name: str
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    chance = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in CHECKED_BATCHES:
        x = torch.rand((batch, *example.shape[1:]), generator=chance) * example.abs().max()
        with torch.inference_mode():
            expected = module(x).numpy()
        (got,) = session.run(None, {input_name: x.numpy()})
        if got.shape != expected.shape:
            raise ProofError(
                f"the exported network gives {got.shape} where PyTorch gives {expected.shape}"
            )
        size = max(float(np.abs(expected).max()), 1e-6)
        largest = max(largest, float(np.abs(got - expected).max()) / size)
    return largest


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporter prints, logs and warns about its own inner life; nobody can act on it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""From PyTorch to an ONNX file, held against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shoal.errors import InputError, ProofError, StoreError, UnsupportedModelError
from shoal.model.engine import Engine
from shoal.model.graph import Names
from shoal.model.source import read

CHECKED_BATCHES = (1, 2, 5)
TOLERANCE = 1e-4
"""Largest difference from PyTorch, relative to the largest output (single precision and another
order of sums: 1e-7 to 1e-5 is usual)."""


@dataclass(frozen=True)
class Export:
    """An ONNX file and how well it agrees with the module it came from."""

    path: Path
    difference: float
    """The largest over the checked inputs, relative to the largest output."""


def export(
    module: nn.Module, example: Tensor, path: Path, *, input_name: str, output_name: str
) -> Export:
    """Write ``module`` (one input, one output) as ONNX to ``path``, with the batch free.

    ``example`` is an input ``(batch, ...)``; random inputs of its size and range, in several
    batch sizes, are run through the file and through PyTorch. It appears only when both agree.

    Raises ``UnsupportedModelError`` if it cannot be exported or its batch is not free,
    ``ProofError`` if the two differ, ``StoreError`` if the file cannot be written.
    """
    module = module.to(memory_format=torch.contiguous_format).eval()
    model = read(module, example).model
    _forget_origin(model)
    _rename(model, input_name, output_name)
    content = model.SerializeToString(deterministic=True)
    largest = _largest_difference(module, example, content, input_name, output_name)
    if not largest <= TOLERANCE:
        raise ProofError(
            f"the exported network differs from PyTorch by {largest:.1e} of its largest output "
            f"({TOLERANCE:.0e} is allowed): try another version of torch and onnxscript"
        )
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return Export(path, largest)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source lines and folders of this machine."""
    graph = model.graph
    # The shapes of inner tensors name the batch in the exporter's way; they can be inferred.
    del graph.value_info[:]
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    graph.name = "network"


def _rename(model: onnx.ModelProto, input_name: str, output_name: str) -> None:
    """Give the input, the output and the free dimension their names."""
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise UnsupportedModelError(
            f"the module has {len(graph.input)} inputs and {len(graph.output)} outputs; one of "
            "each is exported here"
        )
    names = {graph.input[0].name: input_name, graph.output[0].name: output_name}
    inside = {name for node in graph.node for name in node.output}
    inside |= {weight.name for weight in graph.initializer}
    others = Names((*inside, *names, *names.values()))
    names |= {name: others.fresh(name) for name in (inside - names.keys()) & {*names.values()}}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _largest_difference(
    module: nn.Module, example: Tensor, content: bytes, input_name: str, output_name: str
) -> float:
    session = Engine().load(content, {})
    chance = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in CHECKED_BATCHES:
        x = torch.rand((batch, *example.shape[1:]), generator=chance) * example.abs().max()
        x = x.to(example.dtype)
        with torch.inference_mode():
            expected = module(x).numpy()
        try:
            got = session.run({input_name: x.numpy()})[output_name]
        except InputError as error:
            raise UnsupportedModelError(
                f"the exported network has a fixed batch: {error}"
            ) from error
        if got.shape != expected.shape:
            raise ProofError(
                f"the exported network gives {got.shape} where PyTorch gives {expected.shape}"
            )
        largest = max(largest, difference(got, expected))
    return largest


def difference(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, relative to the largest value expected."""
    size = max(float(np.abs(expected).max()), 1e-6)
    return float(np.abs(got - expected).max()) / size

"""Where a network comes from: an ONNX file, bytes, or a PyTorch module.

What comes from outside is bounded before it is read.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from shoal.errors import MissingExtraError, ModelFileError, UnsupportedModelError, UsageError
from shoal.model import limits

if TYPE_CHECKING:
    import torch


def read(
    source: str | Path | bytes | torch.nn.Module, example: object = None
) -> tuple[onnx.ModelProto, Path | None]:
    """The model, and the folder that holds its external data (None: it may have none)."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _parse(bytes(source), "These bytes"), None
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    return _export(source, example), None


def _read_file(path: Path) -> tuple[onnx.ModelProto, Path]:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelFileError(f"{path} is not a file: name the .onnx file.")
        if size > limits.FILE_BYTES:
            raise ModelFileError(
                f"{path} has {size} bytes; at most {limits.FILE_BYTES} are read. "
                "Save it with its weights as external data."
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    return _parse(data, str(path)), path.parent


def _parse(data: bytes, what: str) -> onnx.ModelProto:
    if len(data) > limits.FILE_BYTES:
        raise ModelFileError(f"{what}: more than {limits.FILE_BYTES} bytes.")
    if not data:
        raise ModelFileError(f"{what}: empty, so neither an ONNX model nor a bundle.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        raise ModelFileError(
            f"{what}: neither an ONNX model nor a bundle, or damaged ({str(error).strip()[:200]})."
        ) from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelFileError(f"{what}: no ONNX graph with nodes in it.")
    if not _is_text(model):
        raise ModelFileError(f"{what}: names in it are no text, so the file is damaged.")
    return model


def _is_text(value: Any) -> bool:
    """Whether all strings in a protobuf message are text; the parser does not check."""
    if isinstance(value, str | bytes):
        return isinstance(value, str)
    if not hasattr(value, "ListFields"):
        return all(map(_is_text, value))
    return all(
        _is_text(inner)
        for field, inner in value.ListFields()
        if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE)
    )


def _export(module: Any, example: object) -> onnx.ModelProto:
    if not any(kind.__module__.startswith("torch.nn") for kind in type(module).__mro__):
        raise UsageError(
            "A network is loaded from a path, bytes or a torch.nn.Module, "
            f"not from {type(module).__name__}."
        )
    try:
        import onnxscript  # noqa: F401  (what torch.onnx.export stands on)
        import torch
    except ImportError as error:
        raise MissingExtraError(
            f"Loading a PyTorch module needs {error.name}: pip install 'shoal[train]'."
        ) from None
    if example is None:
        raise UsageError(
            "A PyTorch module needs an example of its inputs: "
            "shoal.load(module, example=torch.zeros(1, 3, 224, 224))."
        )
    args = tuple(
        torch.as_tensor(value)
        for value in (example if isinstance(example, list | tuple) else (example,))
    )
    modes = {part: part.training for part in module.modules()}
    # It logs which operators of packages that are not installed it leaves out.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    module.eval()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _export_free(torch, module, args)
    finally:
        logger.setLevel(level)
        for part, training in modes.items():
            part.training = training


def _export_free(torch: Any, module: Any, args: tuple[Any, ...]) -> onnx.ModelProto:
    """Export with a free batch where the module allows it, else with the example's."""
    batched = {arg.shape[0] for arg in args if arg.dim()}
    attempts: list[tuple[tuple[Any, ...], Any]] = [(args, None)]
    if len(batched) == 1 and all(arg.dim() for arg in args):
        # PyTorch takes a dimension of 1 for fixed, so the batch is exported as 2.
        twice = tuple(torch.cat([arg, arg]) if arg.shape[0] == 1 else arg for arg in args)
        attempts.insert(0, (twice, tuple({0: torch.export.Dim.DYNAMIC} for _ in args)))
    failure: Exception | None = None
    for given, free in attempts:
        try:
            with torch.no_grad():
                program = torch.onnx.export(
                    module, given, dynamo=True, dynamic_shapes=free, verbose=False
                )
            return program.model_proto
        except Exception as error:
            failure = error
    raise UnsupportedModelError(
        f"PyTorch cannot export this module: {str(failure).strip()[:300]}"
    ) from None

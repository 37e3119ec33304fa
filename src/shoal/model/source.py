"""Where a network comes from: an ONNX file, bytes, or a PyTorch module.

What comes from outside is bounded before it is read.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from shoal.errors import (
    InputError,
    MissingExtraError,
    ModelFileError,
    UnsupportedModelError,
    UsageError,
)
from shoal.model import limits
from shoal.model.dtypes import Array
from shoal.model.example import array_of, by_name, each_of
from shoal.model.slim import slim
from shoal.model.weights import Beside, Folders

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Source:
    """A model as it came, what holds its external data (None: it may have none), and the user's
    example by input."""

    model: onnx.ModelProto
    beside: Beside | None
    example: Mapping[str, Array]


def read(source: str | Path | bytes | torch.nn.Module, example: object = None) -> Source:
    """What ``source`` holds. ``example`` may have any form of :func:`~.example.by_name`; a module
    needs one."""
    if isinstance(source, bytes | bytearray | memoryview):
        model, beside = _parse(bytes(source), "These bytes", None)
    elif isinstance(source, str | Path):
        path = Path(source)
        folders = Folders(path.parent, _real(path).parent)
        model, beside = _parse(_content(path), str(path), folders)
    else:
        return _export(source, example)
    weights = {weight.name for weight in model.graph.initializer}
    names = [info.name for info in model.graph.input if info.name not in weights]
    return Source(model, beside, by_name(example, names))


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelFileError(f"{path} is not a file: name the .onnx file.")
        if size > limits.FILE_BYTES:
            raise ModelFileError(
                f"{path} has {size} bytes; at most {limits.FILE_BYTES} are read. "
                "Save it with its weights as external data."
            )
        with path.open("rb") as file:
            return file.read(limits.FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # no path at all: with a zero byte, say
        raise ModelFileError(f"{str(path)!r} cannot be read: {error}.") from None


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle; no path at all
        return path


def _parse(data: bytes, what: str, folders: Folders | None) -> tuple[onnx.ModelProto, Beside]:
    """The model without the data of its weights, and what gives it."""
    if len(data) > limits.FILE_BYTES:
        raise ModelFileError(f"{what}: more than {limits.FILE_BYTES} bytes.")
    if not data:
        raise ModelFileError(f"{what}: empty, so neither an ONNX model nor a bundle.")
    own = secrets.token_hex(16)  # which no file can name
    model = parsed(slim(data, own), f"{what}: neither an ONNX model nor a bundle, or damaged")
    if not model.HasField("graph") or not model.graph.node:
        raise ModelFileError(f"{what}: no ONNX graph with nodes in it.")
    if not _is_text(model):
        raise ModelFileError(f"{what}: names in it are no text, so the file is damaged.")

    def beside(location: str) -> memoryview:
        if location == own:
            return memoryview(data)
        if folders is None:
            raise ModelFileError(
                f"Weights lie in another file ({location[:200]!r}), which bytes cannot name: load "
                "the model from its file."
            )
        return folders(location)

    return model, beside


def parsed(data: bytes, complaint: str) -> onnx.ModelProto:
    """The model in these bytes; ModelFileError with this complaint where there is none."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        raise ModelFileError(f"{complaint} ({str(error).strip()[:200]}).") from None
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


def _export(module: Any, example: object) -> Source:
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
            f"Loading a PyTorch module needs {error.name or 'PyTorch'}: pip install 'shoal[torch]'."
        ) from None
    if example is None:
        raise UsageError(
            "A PyTorch module needs an example of its inputs: "
            "shoal.load(module, example=torch.zeros(1, 3, 224, 224))."
        )
    given = _bound(torch, module, example)
    modes = {part: part.training for part in module.modules()}
    # It logs which operators of packages that are not installed it leaves out.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    module.eval()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _export_free(torch, module, given)
    finally:
        logger.setLevel(level)
        for part, training in modes.items():
            part.training = training
    values = [array_of(value, "the module") for value in (*given.args, *given.kwargs.values())]
    names = [info.name for info in model.graph.input]
    return Source(model, None, by_name(values, names) if len(names) == len(values) else {})


def _bound(torch: Any, module: Any, example: object) -> inspect.BoundArguments:
    """The example as arguments of the module's forward."""

    def tensor(value: object, what: str) -> Any:
        return value if isinstance(value, torch.Tensor) else torch.as_tensor(array_of(value, what))

    signature = inspect.signature(module.forward)
    try:
        if isinstance(example, Mapping):
            named = {str(name): tensor(v, f"the input {name!r}") for name, v in example.items()}
            return signature.bind(**named)
        values = each_of(example)
        return signature.bind(*(tensor(v, f"input {k + 1}") for k, v in enumerate(values)))
    except TypeError as error:
        raise InputError(
            f"The example does not fit {type(module).__name__}.forward{signature}: {error}."
        ) from None


def _export_free(torch: Any, module: Any, given: inspect.BoundArguments) -> onnx.ModelProto:
    """Export with a free batch where the module allows it, else with the example's."""
    values = [*given.args, *given.kwargs.values()]
    attempts: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = [(given.args, given.kwargs, None)]
    if all(value.dim() for value in values) and len({value.shape[0] for value in values}) == 1:
        # PyTorch takes a dimension of 1 for fixed, so the batch is exported as 2.
        def twice(value: Any) -> Any:
            return torch.cat([value, value]) if value.shape[0] == 1 else value

        free: Any = tuple({0: torch.export.Dim.DYNAMIC} for _ in given.args)
        if given.kwargs:
            names = [*itertools.islice(given.signature.parameters, len(given.args)), *given.kwargs]
            free = {name: {0: torch.export.Dim.DYNAMIC} for name in names}
        args = tuple(map(twice, given.args))
        attempts.insert(0, (args, {n: twice(v) for n, v in given.kwargs.items()}, free))
    failure: Exception | None = None
    for args, kwargs, shapes in attempts:
        try:
            with torch.no_grad():
                program = torch.onnx.export(
                    module, args, kwargs=kwargs, dynamo=True, dynamic_shapes=shapes, verbose=False
                )
            return program.model_proto
        except Exception as error:
            failure = error
    try:
        with torch.no_grad():
            module(*given.args, **given.kwargs)
    except Exception as error:
        raise InputError(
            f"{type(module).__name__} does not run on the example: {str(error).strip()[:300]}"
        ) from None
    raise UnsupportedModelError(
        f"PyTorch cannot export this module: {str(failure).strip()[:300]}"
    ) from None

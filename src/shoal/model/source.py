"""Where a network comes from: an ONNX file, bytes, or a PyTorch module.

What comes from outside is bounded before it is read, and data that a file keeps in other files is
taken from the file's own folder only.
"""

from __future__ import annotations

import logging
import mmap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from shoal.errors import MissingExtraError, ModelFileError, UnsupportedModelError, UsageError
from shoal.model import limits
from shoal.model.dtypes import STRING, is_sized, size_bytes
from shoal.model.graph import Weight, read_weight

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
        raise ModelFileError(f"{what}: empty, so not an ONNX model.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        raise ModelFileError(
            f"{what}: not an ONNX model, or damaged ({str(error).strip()[:200]})."
        ) from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelFileError(f"{what}: no ONNX graph with nodes in it.")
    return model


def read_weights(model: onnx.ModelProto, folder: Path | None) -> dict[str, Weight]:
    """The initializers of a model, external ones mapped from files in ``folder``."""
    if len(model.graph.sparse_initializer):
        raise UnsupportedModelError("The network has sparse weights; save them as dense ones.")
    weights: dict[str, Weight] = {}
    maps: dict[Path, memoryview] = {}
    total = 0
    for proto in model.graph.initializer:
        _check_sizes(proto)
        if proto.name in weights:
            raise ModelFileError(f"Two weights are called {proto.name!r}: the file is damaged.")
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            weight = _read_external(proto, folder, maps)
        else:
            try:
                weight = read_weight(proto)
            except Exception as error:
                raise ModelFileError(f"The model is damaged: {error}.") from None
        total += weight.nbytes
        if total > limits.TOTAL_WEIGHT_BYTES:
            raise ModelFileError(f"The weights exceed {limits.TOTAL_WEIGHT_BYTES} bytes.")
        weights[proto.name] = weight
    return weights


def _check_sizes(proto: onnx.TensorProto) -> None:
    if proto.data_type == STRING:
        raise UnsupportedModelError(f"Weight {proto.name!r} holds text; Shoal runs numbers only.")
    if not is_sized(proto.data_type):
        raise ModelFileError(f"Weight {proto.name!r} has the unknown type {proto.data_type}.")
    size = 1
    for dim in proto.dims:
        if dim < 0:
            raise ModelFileError(f"Weight {proto.name!r} has a negative dimension.")
        size *= dim
    if len(proto.dims) > limits.RANK or size_bytes(proto.data_type, size) > limits.WEIGHT_BYTES:
        raise ModelFileError(
            f"Weight {proto.name!r} of shape {list(proto.dims)[:20]} is larger than "
            f"{limits.WEIGHT_BYTES} bytes or has more than {limits.RANK} dimensions."
        )


def _read_external(
    proto: onnx.TensorProto, folder: Path | None, maps: dict[Path, memoryview]
) -> Weight:
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ModelFileError(
            f"Weight {proto.name!r} lies in another file ({location!r}), which bytes cannot name: "
            "load the model from its file."
        )
    dims = tuple(proto.dims)
    size = 1
    for dim in dims:
        size *= dim
    needed = size_bytes(proto.data_type, size)
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or needed)
    except ValueError:
        raise ModelFileError(
            f"Weight {proto.name!r} has a damaged place in {location!r}."
        ) from None
    view = _map(folder, location, maps)
    if length != needed or offset < 0 or offset + length > view.nbytes:
        raise ModelFileError(
            f"Weight {proto.name!r} should have {needed} bytes at {offset} of {location!r}, "
            f"which has {view.nbytes}: the file of weights does not belong to this model."
        )
    return Weight(proto.data_type, dims, view[offset : offset + length])


def _map(folder: Path, location: str, maps: dict[Path, memoryview]) -> memoryview:
    root = folder.resolve()
    try:
        path = (root / location).resolve()
    except (OSError, ValueError):
        path = root
    if not location or "\0" in location or path == root or root not in path.parents:
        raise ModelFileError(
            f"The model keeps weights at {location!r}, outside its own folder: refused. "
            "Put them next to the model and save it again."
        )
    if path not in maps:
        try:
            if not path.is_file():
                raise ModelFileError(f"{path}, which holds weights of the model, is missing.")
            with path.open("rb") as file:
                size = path.stat().st_size
                maps[path] = memoryview(
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
                )
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    return maps[path]


def _export(module: Any, example: object) -> onnx.ModelProto:
    try:
        import torch
    except ImportError:
        raise MissingExtraError(
            "Loading a PyTorch module needs PyTorch: pip install 'shoal[train]'."
        ) from None
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            "A network is loaded from a path, bytes or a torch.nn.Module, "
            f"not from {type(module).__name__}."
        )
    if example is None:
        raise UsageError(
            "A PyTorch module needs an example of its inputs: "
            "shoal.load(module, example=torch.zeros(1, 3, 224, 224))."
        )
    args = tuple(
        torch.as_tensor(value)
        for value in (example if isinstance(example, list | tuple) else (example,))
    )
    training = module.training
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
        module.train(training)


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
        except ImportError as error:
            raise MissingExtraError(
                f"Loading a PyTorch module needs {error.name}: pip install 'shoal[train]'."
            ) from None
        except Exception as error:
            failure = error
    raise UnsupportedModelError(
        f"PyTorch cannot export this module: {str(failure).strip()[:300]}"
    ) from None

"""How many wrong parts a proof catches: each weight of many networks set to zero, one at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal.errors import MissingExtraError
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.trust.mutants import Count, Feeds, count

if TYPE_CHECKING:
    import onnx

    from shoal.model.network import Network


FAMILIES = (
    ("mobilenetv2", "mobilenetv2_w1"),
    ("mobilenetv3", "mobilenetv3_small_w1"),
    ("resnet", "resnet18"),
    ("regnet", "regnetx002"),
    ("shufflenetv2", "shufflenetv2_w1"),
    ("seresnet", "seresnet18"),
    ("igcv3", "igcv3_w1"),
)
"""Modules and functions of the package ``pytorchcv``."""
HALF = "16-bit floats"


def rows(quick: bool) -> Iterator[Row]:
    """A row for each network, and the sum."""
    total = Count()
    for name, load, more in _networks(quick):
        try:
            found = count(load(), more)
        except MissingExtraError as error:
            print(f"no row for {name}: {error}", file=sys.stderr)
            continue
        for kind in ("caught", "missed", "idle"):
            getattr(total, kind).extend(getattr(found, kind))
        yield row(f"weights set to zero that the proof catches, {name}", found.share, "%")
    yield row("weights set to zero that the proof catches", total.share, "%", ">= 95")
    everything = 100 * len(total.caught) / max(1, total.tried)
    yield row("the same, with those that change no bit of any output", everything, "%")
    yield row("weights set to zero", total.tried, "weights")
    yield row("of them, those that change no bit of any output", len(total.idle), "weights")


def _networks(quick: bool) -> Iterator[tuple[str, Callable[[], Network], Sequence[Feeds]]]:
    """Names, loaders, and images of the kind that the network was trained on."""
    from shoal import zoo
    from shoal.model.network import load
    from shoal.zoo.making import make
    from shoal_benchmarks import subjects

    samples = zoo.samples(subjects.FASHION)
    images = [samples.feed(index) for index in range(8)]
    yield from _forms(subjects.FASHION, zoo.path(subjects.FASHION).read_bytes(), images)
    for name in ("mnist-fluid", "fashion-mnist-fluid"):
        digits = zoo.samples(name)
        more = [digits.feed(index) for index in range(8)]
        yield name, partial(load, zoo.path(name), name=name), more
    if quick:
        return
    try:
        lite0 = make("efficientnet-lite0").read_bytes()
    except MissingExtraError as error:
        print(f"no rows for {subjects.LITE0}: {error}", file=sys.stderr)
    else:
        whole = load(lite0, name=subjects.LITE0)
        yield from _forms(subjects.LITE0, lite0, [whole.probe(seed) for seed in range(8)])
    yield subjects.RESNET50, subjects.resnet50, ()
    for module, function in FAMILIES:
        yield function, partial(subjects.of_pytorchcv, module, function), ()


def _forms(
    name: str, model: bytes, images: Sequence[Feeds]
) -> Iterator[tuple[str, Callable[[], Network], Sequence[Feeds]]]:
    """A trained classifier as it is, with 16-bit floats, quantised in three ways; and the same as
    a segmenter."""
    from shoal.model.network import load

    yield name, partial(load, model, name=name), images
    for form, made in variants(model, images).items():
        given = list(map(_halved, images)) if form == HALF else images
        yield f"{name} {form}", partial(load, made, name=f"{name} {form}"), given


def variants(model: bytes, images: Sequence[Feeds]) -> dict[str, bytes]:
    """A float classifier (its last layer a Gemm behind a global pooling) in other forms, by name:
    as quantisers and converters of others make them. ``images`` calibrate."""
    as_labels = segmenter(model)
    return {
        HALF: _half(model),
        "quantised (QDQ)": _quantised(model, images, "QDQ"),
        "quantised (QOperator)": _quantised(model, images, "QOperator"),
        "quantised (dynamic)": _dynamic(model),
        "segmenter": as_labels,
        "segmenter, 16-bit floats": _half(as_labels, keep_io_types=True),
        "segmenter, quantised (QDQ)": _quantised(as_labels, images, "QDQ"),
    }


def _halved(feeds: Feeds) -> Feeds:
    return {
        name: array.astype(np.float16) if array.dtype.kind == "f" else array
        for name, array in feeds.items()
    }


def segmenter(model: bytes) -> bytes:
    """A classifier made to name the class of each place: its last layer at every place of what it
    pools, four times as large, and then the place of the largest score."""
    import onnx
    from onnx import helper, numpy_helper

    made = onnx.ModelProto.FromString(model)
    graph = made.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    pooling = max(
        index for index, node in enumerate(graph.node)
        if node.op_type in ("ReduceMean", "GlobalAveragePool")
    )  # fmt: skip
    dense = next(node for node in graph.node[pooling:] if node.op_type == "Gemm")
    matrix, bias = (numpy_helper.to_array(weights[name]) for name in dense.input[1:])
    if not any(each.name == "transB" and each.i for each in dense.attribute):
        matrix = matrix.T
    features = graph.node[pooling].input[0]
    del graph.node[pooling:]
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), name)
        for name, array in (
            ("place_weight", matrix[:, :, None, None]),
            ("place_bias", bias),
            ("place_scales", np.array([1, 1, 4, 4], np.float32)),
        )
    )
    graph.node.extend(
        [
            helper.make_node("Conv", [features, "place_weight", "place_bias"], ["coarse"]),
            helper.make_node("Resize", ["coarse", "", "place_scales"], ["fine"], "fine",
                             mode="linear"),
            helper.make_node("ArgMax", ["fine"], ["labels"], "labels", axis=1, keepdims=0),
        ]
    )  # fmt: skip
    del graph.output[:], graph.value_info[:]
    graph.output.append(helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, None))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return bytes(made.SerializeToString())


def _half(model: bytes, **options: Any) -> bytes:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.ModelProto.FromString(model), **options)
    return bytes(converted.SerializeToString())


def _quantised(model: bytes, images: Sequence[Feeds], form: str) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    def write(source: Any, target: Any) -> None:
        quantize_static(
            source, target, _Reader(images), quant_format=QuantFormat[form],
            activation_type=QuantType.QUInt8 if form == "QOperator" else QuantType.QInt8,
            per_channel=form == "QDQ",
        )  # fmt: skip

    return _written(onnx.ModelProto.FromString(model), write)


def _dynamic(model: bytes) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def write(source: Any, target: Any) -> None:
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)

    return _written(onnx.ModelProto.FromString(model), write)


def _written(model: onnx.ModelProto, write: Callable[[Any, Any], None]) -> bytes:
    """What ``write`` makes of a model: it wants files, and says on the log that a model might be
    prepared better."""
    import logging
    import tempfile
    from pathlib import Path

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="shoal-bench-") as folder:
            target = Path(folder) / "made.onnx"
            write(model, target)
            return target.read_bytes()
    finally:
        root.setLevel(level)


class _Reader:
    """Images as the quantiser reads them."""

    def __init__(self, images: Sequence[Feeds]) -> None:
        self._images = iter(images)

    def get_next(self) -> Feeds | None:
        return next(self._images, None)

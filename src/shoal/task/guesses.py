"""What a network is for, as far as its graph shows: shapes, the last operators, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from shoal.errors import PlanError
from shoal.model.spec import TensorSpec
from shoal.task.classifier import is_row
from shoal.task.decoders import decoder_of, grid_cells
from shoal.task.segmenter import Segmenter, image_sides
from shoal.task.sequence import is_steps

if TYPE_CHECKING:
    from shoal.model.network import Network, Node


def _operators(names: str) -> frozenset[str]:
    return frozenset(names.split())


MOVING = _operators("Cast Concat Flatten Gather Identity Reshape Slice Squeeze Transpose Unsqueeze")
"""Operators that only move values."""
SOFT = frozenset({"LogSoftmax", "Softmax"})
LINEAR = _operators(
    "Add AveragePool Clip Conv DequantizeLinear FusedConv FusedMatMul Gemm GlobalAveragePool "
    "MatMul MatMulIntegerToFloat QLinearAdd ReduceMean Relu"
)
"""Operators after which a row may be one of scores."""
NORM = "norm"
NORMS = _operators(
    "LayerNormalization LpNormalization SimplifiedLayerNormalization SkipLayerNormalization"
)
CHOOSING = frozenset({"NonMaxSuppression", "TopK"})
DEPTH = 12
"""Nodes that are looked at before an output."""

EMBEDDINGS = ("embed", "feature", "last_hidden_state", "sentence", "pooler")
VALUES = ("age", "angle", "bbox", "box", "coord", "depth", "flow", "gaze", "keypoint", "landmark",
          "offset", "point", "pose", "reg", "value")  # fmt: skip
"""Parts of names of outputs whose numbers are no scores."""
WIDTH = 64
"""Embeddings have a multiple of so many numbers; numbers of classes seldom are one."""
LEAST_CLASSES = 5
"""Fewer numbers than these may be a box, an angle, a colour: only a softmax makes them classes."""


class Guess(NamedTuple):
    """The task that a graph shows (None: it is not clear), and why, in words."""

    name: str | None
    why: str


def guess(network: Network) -> Guess:
    """What a network is for, where its graph shows it."""
    boxes = _boxes(network)
    if boxes is not None:
        return boxes
    found = [_one(network, spec) for spec in network.outputs]
    first = found[0]
    if all(each.name == first.name for each in found):
        return first
    said = "; ".join(
        f"{spec.name!r}: {each.why}" for spec, each in zip(network.outputs, found, strict=True)
    )
    return Guess(None, f"its outputs are of several kinds: {said}")


def _boxes(network: Network) -> Guess | None:
    """Whether there are boxes, in a layout that is known."""
    try:
        layout, _ = decoder_of(network.inputs, network.outputs)
    except PlanError:
        return None
    if layout.startswith("centre"):
        spec = network.outputs[0]
        cells = grid_cells(image_sides(network.inputs)) & set(spec.shape)
        return Guess("detector", f"{max(c or 0 for c in cells)} cells of grids, read as {layout}")
    chosen = {node.op for node in network.nodes} & CHOOSING
    if chosen or len(network.outputs) > 1 or layout.startswith("image"):
        return Guess("detector", f"outputs read as {layout}")
    return None


def _one(network: Network, spec: TensorSpec) -> Guess:
    """What one output shows."""
    shown, name = f"{spec.dtype} {_sides(spec)}", spec.name.lower()
    last = _last(network, spec.name)
    ends = f"after {last[0]}" if last else "as it came in"
    normed = last[:2] == ("Div", NORM) or bool(NORMS & set(last[:1]))
    embedded = any(word in name for word in EMBEDDINGS) or normed
    if is_row(spec):
        count = max(size or 0 for size in spec.shape[1:])
        if last[:1] and last[0] in SOFT:
            return Guess("classifier", f"a row of {count} probabilities, {ends}")
        if embedded:
            return Guess("embedding", f"{count} numbers, by name or after a norm")
        if any(word in name for word in VALUES):
            return Guess(None, f"the name of {spec.name!r} says that its numbers are no scores")
        scores = any(word in name for word in ("logit", "class", "prob"))
        linear = bool(LINEAR & set(last[:1]))
        if linear and count % WIDTH and (count >= LEAST_CLASSES or scores):
            return Guess("classifier", f"a row of {count} scores, {ends}")
        if linear and scores:
            return Guess("classifier", f"a row of {count} scores, by its name")
        return Guess(None, f"a row of {count} numbers, {ends}: scores, an embedding, or values")
    if embedded and spec.dtype.startswith("float"):
        return Guess("embedding", f"{shown}, by name or after a norm")
    return _pixels(network, spec, last) or _steps(spec, shown, ends)


def _pixels(network: Network, spec: TensorSpec, last: Sequence[str]) -> Guess | None:
    sides = image_sides(network.inputs)
    if len(spec.shape) not in (3, 4) or sides is None:
        return None
    try:
        ((_, kind),) = Segmenter.of(network.inputs, [spec]).outputs
    except PlanError:
        return None
    inner = [size for size in spec.shape[1:] if size != 1]
    if kind in ("mask", "map"):
        if _like(inner, sides) and last[:1] == ("Sigmoid",):
            return Guess("segmenter", "a share from 0 to 1 for each pixel, after Sigmoid")
        if _like(inner, sides) and kind == "map" and "ArgMax" in last[:2]:
            return Guess("segmenter", "the number of a class for each pixel, after ArgMax")
        return None
    pixels, classes = (inner[1:], inner[0]) if kind == "first" else (inner[:2], inner[2])
    if last and last[0] in SOFT and _like(pixels, sides):
        return Guess("segmenter", f"probabilities of {classes} classes for each pixel")
    if (classes or 0) >= LEAST_CLASSES and tuple(pixels) == sides:
        return Guess("segmenter", f"scores of {classes} classes for each pixel of the image")
    return None


def _like(pixels: Sequence[int | None], sides: tuple[int, int]) -> bool:
    """Whether there is a value for each pixel of the image, or of one an eighth as large or more,
    of the same form."""
    height, width = (size or 0 for size in pixels)
    return height * sides[1] == width * sides[0] and sides[0] >= height >= sides[0] / 8


def _steps(spec: TensorSpec, shown: str, ends: str) -> Guess:
    if is_steps(spec) and "Softmax" in ends:
        return Guess(
            None,
            f"{shown}, {ends}: a sequence, but not whether it is of CTC and which class is blank",
        )
    return Guess(None, f"{shown}, {ends}")


def _last(network: Network, output: str) -> tuple[str, ...]:
    """The operators before an output, the last one first, without those that only move values or
    add and multiply by weights; NORM behind a division by one."""
    makers = {name: node for node in network.nodes for name in node.makes}
    found: list[str] = []
    name = output
    for _ in range(DEPTH):
        node = makers.get(name)
        if node is None:
            break
        by_weights = node.op in ("Add", "Mul") and len(node.reads) == 1
        if node.op not in MOVING and not by_weights:
            found.append(node.op)
            if node.op == "Div" and len(node.reads) == 2 and _is_norm(makers, node.reads[1]):
                found.append(NORM)
        if not node.reads:
            break
        name = node.reads[0]
    return tuple(found)


def _is_norm(makers: Mapping[str, Node], name: str) -> bool:
    """Whether a tensor is a norm, or follows from one by what changes little of it."""
    for _ in range(DEPTH):
        node = makers.get(name)
        if node is None or not node.reads:
            return False
        if node.op in ("ReduceL2", "Sqrt"):
            return True
        name = node.reads[0]
    return False


def _sides(spec: TensorSpec) -> str:
    return "[" + ", ".join("batch" if size is None else str(size) for size in spec.shape) + "]"

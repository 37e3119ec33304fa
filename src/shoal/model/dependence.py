"""Which shapes follow from the number of images, and which do not: decided from the graph.

A shape that depends on what is in the images (``NonZero``, a ``Reshape`` by a computed target) is
another for every image, and one that depends on their number in odd ways (``n // 2``, an axis that
is left out when it has one row) cannot be stated. What follows from such a tensor has no shape
either, until something is made of it whose shape is known whatever it was.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import onnx

from shoal.model.graph import attribute, operators
from shoal.model.independence import Along, Common, Extent, Layout, Mixed, is_known

_SHAPED_BY: Mapping[str, tuple[int, ...]] = {
    operator: inputs
    for inputs, operators in {
        (0,): "BlackmanWindow ConstantOfShape HammingWindow HannWindow NonZero Unique",
        (0, 1): "Compress MelWeightMatrix",
        (0, 1, 2): "Range",
        (0, 1, 2, 3, 4): "NonMaxSuppression",
        (1,): """
            AffineGrid CenterCropPad Expand ExpandDims OneHot ReduceL1 ReduceL2 ReduceLogSum
            ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
            Reshape SequenceAt SequenceErase Split SplitToSequence Squeeze Tile TopK Unsqueeze
            Upsample
            """,
        (1, 2): "Col2Im DFT",
        (1, 2, 3): "Resize",
        (1, 2, 3, 4): "Slice",
        (1, 3): "Pad STFT",
        (2,): "ConvTransposeWithDynamicPads MaxUnpool SequenceInsert",
    }.items()
    for operator in operators.split()
}
"""The inputs whose values decide the shapes of what an operator makes. Of those that are not here
it follows from the shapes of the inputs alone."""

_TAME = operators(
    """
    AttnLSTM BiasSoftmax CDist CausalConvWithState ComplexMul ComplexMulConj ConcatFromSequence
    DecoderAttention DynamicQuantizeLSTM DynamicQuantizeMatMul GatherBlockQuantized IsAllFinite
    Irfft LinearAttention MaxpoolWithMask MoE MulInteger MurmurHash3 QMoE ReduceSumInteger Rfft
    ScaledSiLU SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
    SequenceLength SkipGroupNorm SplitToSequence TensorScatter WordConvEmbedding
    """
)
"""Further operators whose shapes follow from those of the inputs and from what is said above,
though nothing is known of where images lie in what they make."""

_ROUNDED = operators(
    """
    AveragePool Conv ConvInteger FusedConv LpPool MaxPool NhwcMaxPool QLinearAveragePool
    QLinearConv Resize STFT Slice Split Upsample
    """
)
"""Operators that may cut an axis off at a number, or make a rounded share of its rows. Along one
that grows with the images (the first four, every fourth), a few counts tell nothing of more."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Why a shape does not follow from the number of images, in words; ``of_content``: because it
    depends on what is in them, or may."""

    why: str
    of_content: bool = False


def unsure(
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[str],
    known: Mapping[str, Extent],
    layouts: Mapping[str, Layout],
    *,
    free: bool,
) -> dict[str, Odd]:
    """The tensors whose shape does not follow from the number of images, and why. ``inputs`` hold
    the images, ``known`` are the tensors whose shape was inferred, ``layouts`` those of all;
    ``free``: there may be any number of images."""
    found: dict[str, Odd] = {}
    content = set(inputs)
    for node in nodes:
        why = next((found[name] for name in node.input if name in found), None)
        why = why or _why(node, content, known, layouts)
        why = why or (_rounded(node, known, layouts) if free else None)
        if why is not None:
            found.update((name, why) for name in node.output if name and name not in known)
        if node.domain == "" and node.op_type in ("Shape", "Size"):
            holds = node.input[0] in found and found[node.input[0]].of_content
        else:
            holds = not content.isdisjoint(node.input)
        if holds:
            content.update(name for name in node.output if name)
    return found


def _why(
    node: onnx.NodeProto,
    content: Container[str],
    known: Mapping[str, Extent],
    layouts: Mapping[str, Layout],
) -> Odd | None:
    """Why the shapes of a node's outputs are not known where those of its inputs are."""
    what = f"{node.op_type} {node.name or node.output[0]!r}"
    if not is_known(node.domain, node.op_type) and node.op_type not in _TAME:
        return Odd(f"it is not known of what shape {what} makes it", True)
    if node.op_type == "Squeeze" and not _has_axes(node):
        shape = known.get(node.input[0])
        if shape is None or any(size is None or size.each for size in shape.sizes):
            return Odd(f"{what} makes it of another shape for a single image")
    for index in _SHAPED_BY.get(node.op_type, ()):
        name = node.input[index] if index < len(node.input) else ""
        if name in content:
            return Odd(f"{what} makes it of a shape that depends on what is in the images", True)
        layout = layouts.get(name)
        if not name or layout is None:
            continue
        if not isinstance(layout, Common) or (
            layout.counted and (layout.values is None or None in layout.values)
        ):
            return Odd(f"{what} makes it of a shape that does not grow with the number of images")
    return None


def _rounded(
    node: onnx.NodeProto, known: Mapping[str, Extent], layouts: Mapping[str, Layout]
) -> Odd | None:
    """The same for rows that a node cuts off, or makes a rounded share of, unless it is known how
    what it makes grows, or it is given the same number of rows for any number of images."""
    if node.op_type not in _ROUNDED or _is_steady(known.get(node.input[0])):
        return None
    if all(_grows(layouts.get(name)) for name in node.output if name):
        return None
    what = f"{node.op_type} {node.name or node.output[0]!r}"
    return Odd(f"{what} makes it of a shape that may not grow with the number of images")


def _is_steady(shape: Extent | None) -> bool:
    return shape is not None and all(size is not None and not size.each for size in shape.sizes)


def _grows(layout: Layout | None) -> bool:
    form = layout.form if isinstance(layout, Mixed) else layout
    return isinstance(form, Along) or (isinstance(form, Common) and not form.counted)


def _has_axes(node: onnx.NodeProto) -> bool:
    return any(node.input[1:]) or attribute(node, "axes", None) is not None

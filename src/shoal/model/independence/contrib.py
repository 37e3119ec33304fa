"""Rules of ONNX Runtime's own operators (``com.microsoft``): what its optimiser and its quantiser
write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.model.independence.elementwise import broadcast, first
from shoal.model.independence.layers import quantised
from shoal.model.independence.layout import Along, Common, Layout
from shoal.model.independence.picking import gather_nd
from shoal.model.independence.products import dense, product
from shoal.model.independence.reducing import before
from shoal.model.independence.rows import expand_dims, joined, pad
from shoal.model.independence.view import Mixes, Rule, View, apart, named, over_last, stacked


def two_quantised(view: View) -> Layout:
    """Two 8-bit tensors, each with scale and zero point, broadcast against each other."""
    view.single(1, 2, 4, 5, 6, 7)
    return view.together(0, 3)


def where_quantised(view: View) -> Layout:
    """One or the other of two 8-bit tensors."""
    view.single(2, 3, 5, 6, 7, 8)
    return view.together(0, 1, 4)


def softmax_quantised(view: View) -> Layout:
    """Over one axis; before version 13 of the standard over all behind it too."""
    view.common_from(1)
    axis = view.axis(-1)
    if view.integer("opset", 0) >= 13:
        return apart(view.images(0), axis)
    return before(view.images(0), axis)


def concat_quantised(view: View) -> Layout:
    """One after the other, each with scale and zero point."""
    tensors = range(2, len(view.layouts), 3)
    view.common(0, 1, *(index + 1 for index in tensors), *(index + 2 for index in tensors))
    return joined(view, tensors)


def dense_quantised(view: View) -> Layout:
    """A dense layer of 8-bit numbers."""
    view.single(1, 2, 7, 8)
    view.common(4, 5)
    return dense(view, 0, 3, 6)


def product_to_float(view: View) -> Layout:
    """A product of 8-bit matrices, scaled."""
    view.settings_of(0, 2, 4)
    view.settings_of(1, 3, 5)
    layout = product(view, 0, 1)
    last = max(view.rank(0), view.rank(1)) - 1
    if view.given(6) and (view.rank(6) != 1 or layout.axis == last):
        raise Mixes("has a setting for each row")
    view.common(6)
    return layout


def product_turned(view: View) -> Layout:
    """A product of matrices, each turned first if an attribute says so."""
    if view.integer("transBatchA", 0) or view.integer("transBatchB", 0):
        raise Mixes("moves the images")
    turn_a, turn_b = bool(view.integer("transA", 0)), bool(view.integer("transB", 0))
    return product(view, 0, 1, turn_a=turn_a, turn_b=turn_b)


def skip_norm(view: View) -> Layout:
    """A sum of two, normalised over the last axis."""
    for index in range(2, len(view.layouts)):
        if view.given(index) and view.rank(index) != 1:
            raise Mixes("has a setting for each row")
    view.common(*range(2, len(view.layouts)))
    return before(view.together(0, 1), max(view.rank(0), view.rank(1)) - 1)


def attention(view: View) -> Sequence[Layout]:
    """Of each image to itself, its queries, keys and values made by one matrix."""
    layout = view.alike(0, 3)
    view.common(1, 2)
    view.match(layout.at(1), *filter(view.given, (4,)))
    bias(view, 5, layout)
    alone(view, 6)
    return [layout, layout.at(1)][: len(view.node.output)]


def multi_head(view: View) -> Layout:
    """Of each image to itself or to another tensor of its own."""
    layout = view.alike(0, 1, 2, 4, 6, 7)
    view.common(3)
    bias(view, 5, layout)
    alone(view, 8, 9)
    return layout


def attention_quantised(view: View) -> Sequence[Layout]:
    """The same in 8 bits."""
    layout = view.alike(0, 5)
    view.common(1, 2, 3, 4, 6, 7)
    alone(view, 8)
    return [layout, layout.at(1)][: len(view.node.output)]


def alone(view: View, *indices: int) -> None:
    """Raise unless these inputs, which hold what an earlier run left, are left out."""
    if any(map(view.given, indices)):
        raise Mixes("shares what it remembers")


def bias(view: View, index: int, layout: Along) -> None:
    """Raise unless what is added to the scores is the images' own or the same for all."""
    if not view.given(index):
        return
    if isinstance(view.layouts[index], Common):
        view.common(index)
        if view.rank(index) != 4 or view.one(index)[0] != 1:
            raise Mixes("has a mask for each image")
    else:
        view.match(layout, index)


def embedding(view: View) -> Layout:
    """Words, places and segments, normalised over the last axis."""
    view.common(2, 3, 4, 5, 6)
    layout = view.alike(0, 1, 7)
    if view.given(8) and view.together(0, 8) != layout:
        raise Mixes("meets images along different axes")
    return layout


def rotary(view: View) -> Layout:
    """Positions turned into each image, by its own places or from a common start."""
    view.common(2, 3)
    if view.integer("is_packed_batching", 0):
        raise Mixes("packs images into one row")
    if isinstance(view.layouts[1], Along):
        return view.alike(0, 1)
    view.single(1)
    return view.alike(0)


RULES: Mapping[str, Rule] = {
    **named(broadcast, "BiasGelu FastGelu Gelu QuickGelu"),
    **named(stacked(0), "ConvTransposeWithDynamicPads NhwcMaxPool QLinearConv"),
    **named(stacked(0), "QLinearAveragePool QLinearGlobalAveragePool"),
    **named(first, "QLinearLeakyRelu QLinearSigmoid"),
    **named(over_last(1), "MatMulBnb4 MatMulNBits"),
    **named(product_turned, "FusedMatMul TransposeMatMul"),
    **named(quantised, "DequantizeLinear QuantizeLinear"),
    **named(skip_norm, "SkipLayerNormalization SkipSimplifiedLayerNormalization"),
    **named(two_quantised, "QLinearAdd QLinearMul"),
    "Attention": attention,
    "EmbedLayerNormalization": embedding,
    "ExpandDims": expand_dims,
    "FusedConv": stacked(0, 3),
    "FusedGemm": dense,
    "GatherND": gather_nd,
    "Inverse": over_last(2),
    "MatMulIntegerToFloat": product_to_float,
    "MultiHeadAttention": multi_head,
    "Pad": pad,
    "QAttention": attention_quantised,
    "QGemm": dense_quantised,
    "QLinearConcat": concat_quantised,
    "QLinearSoftmax": softmax_quantised,
    "QLinearWhere": where_quantised,
    "RotaryEmbedding": rotary,
    "Trilu": over_last(2),
}

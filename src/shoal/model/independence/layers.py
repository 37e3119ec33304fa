"""Rules of layers: convolutions, pooling, recurrence, attention, sampling, 8-bit numbers, and the
models of classic machine learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.model.independence.layout import Along, Common, Layout
from shoal.model.independence.size import Size
from shoal.model.independence.view import Mixes, Rule, View, apart, named, stacked


def pooling(view: View) -> Layout:
    """Over places, by channel."""
    layout = view.along(0, 0, 1)
    if any(view.node.output[1:]):
        raise Mixes("counts places through all images")
    return layout


def recurrent(view: View) -> Sequence[Layout]:
    """Over time, which comes first; images second (``layout`` 1: images first)."""
    first = view.integer("layout", 0)
    layout = view.along(0, 0 if first else 1)
    view.common(1, 2, 3, 7)
    view.match(layout.at(0), *filter(view.given, (4,)))
    view.match(layout, *filter(view.given, (5, 6)))
    axes = (0, 0, 0) if first else (2, 1, 1)
    return [layout.at(axis) for axis in axes[: len(view.node.output)]]


def attention(view: View) -> Layout:
    """Of each image to itself; a mask may be common to all."""
    layout = view.alike(0, 1, 2, 4, 5, 6)
    mask(view, 3, layout)
    return layout


def mask(view: View, index: int, layout: Along) -> None:
    """Raise unless a mask, broadcast to images, heads, queries and keys, is the images' own or
    the same for all of them."""
    if not view.given(index):
        return
    if isinstance(view.layouts[index], Common):
        view.common(index)
        if view.rank(index) == 4 and view.one(index)[0] != 1:
            raise Mixes("has a mask for each image")
    elif view.rank(index) != 4 or view.images(index) != layout:
        raise Mixes("meets images along different axes")


def rotary(view: View) -> Layout:
    """Positions turned into each image: by its own angles, or by its own places in a table."""
    if not view.given(3):
        return view.alike(0, 1, 2)
    view.common(1, 2)
    return view.alike(0, 3)


def affine_grid(view: View) -> Layout:
    """Places for each image."""
    layout = view.along(0, 0)
    batch, *rest = view.values(1)
    if batch != Size(layout.rows, 0) or any(size is None or size.each for size in rest):
        raise Mixes("makes more or fewer of the images")
    return layout


def columns(view: View) -> Layout:
    """Columns put back to images (``Col2Im``)."""
    view.numbers(1)
    view.numbers(2)
    return view.along(0, 0)


def quantised(view: View) -> Layout:
    """To 8 bits and back, by scales that are the same for all images."""
    layout = view.images(0)
    view.common(1, 2)
    shape = view.one(1)
    if all(dim == 1 for dim in shape):
        return layout
    if len(shape) != 1 or view.integer("block_size", 0):
        raise Mixes("has a setting for each row")
    return apart(layout, view.axis(1))


def table(view: View) -> Layout:
    """Each row for itself (classic machine learning)."""
    view.common_from(1)
    if view.rank(0) != 2:
        raise Mixes("may take its input for a single row")
    return view.along(0, 0)


ML_RULES: Mapping[str, Rule] = {
    **named(
        table,
        """
        ArrayFeatureExtractor Imputer LinearClassifier LinearRegressor Normalizer OneHotEncoder
        SVMRegressor Scaler TreeEnsembleClassifier TreeEnsembleRegressor
        """,
    ),
    "Binarizer": lambda view: view.images(0),
    "LabelEncoder": lambda view: view.images(0),
}

RULES: Mapping[str, Rule] = {
    **named(stacked(0), "Conv ConvInteger ConvTranspose QLinearConv"),
    **named(pooling, "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool"),
    **named(recurrent, "GRU LSTM RNN"),
    **named(quantised, "DequantizeLinear QuantizeLinear"),
    "AffineGrid": affine_grid,
    "Attention": attention,
    "Col2Im": columns,
    "DeformConv": stacked(0, 2, 4),
    "GridSample": stacked(0, 1),
    "RotaryEmbedding": rotary,
}

"""Rules of operators that take the elements along some axes together, which must not be that of
the images: reductions, sorts, softmax, norms."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.independence.layout import Along, Layout
from shoal.model.independence.view import (
    Mixes,
    Rule,
    View,
    apart,
    named,
    over_axis,
    over_last,
    placed,
    stacked,
)


def reduction(view: View) -> Layout:
    """Over the axes that an attribute or the second input names; over all where neither does."""
    layout = view.images(0)
    axes = view.settings("axes", 1)
    if not axes:
        if view.integer("noop_with_empty_axes", 0):
            return layout
        raise Mixes("takes all images together")
    return without(view, layout, {placed(axis, view.rank(0)) for axis in axes})


def arg(view: View) -> Layout:
    """Where the largest or the smallest along one axis is."""
    return without(view, view.images(0), {view.axis(0)})


def without(view: View, layout: Along, axes: set[int]) -> Along:
    """The layout after these axes were reduced."""
    for axis in axes:
        apart(layout, axis)
    if view.integer("keepdims", 1):
        return layout
    return layout.at(layout.axis - sum(axis < layout.axis for axis in axes))


def softmax(view: View) -> Layout:
    """Over one axis; before version 13 over an axis and all behind it."""
    layout = view.images(0)
    if view.version >= 13:
        return apart(layout, view.axis(-1))
    return before(layout, view.axis(1))


def before(layout: Along, axis: int) -> Along:
    """``layout``, if the images lie along an axis before ``axis``."""
    if layout.axis >= axis:
        raise Mixes("takes the images together")
    return layout


def cumulative(view: View) -> Layout:
    """A running sum or product along the axis that the second input names."""
    layout = view.images(0)
    (axis,) = view.numbers(1)
    return apart(layout, placed(axis, view.rank(0)))


def mean_variance(view: View) -> Layout:
    """By default over all axes but the channels'."""
    layout = view.images(0)
    axes = view.integers("axes") or (0, 2, 3)
    for axis in axes:
        apart(layout, placed(axis, view.rank(0)))
    return layout


def last_axes(view: View) -> Layout:
    """Over the axis and all behind it (``LayerNormalization`` and its like), scaled by settings
    that are the same for all images."""
    layout = before(view.images(0), view.axis(-1))
    for index in range(1, len(view.layouts)):
        if view.given(index):
            view.common(index)
            view.together(0, index)
    return layout


def batch_norm(view: View) -> Layout:
    """By statistics of the training, by channel; in training mode by those of the batch."""
    if view.integer("training_mode", 0) or any(view.node.output[1:]):
        raise Mixes("is in training mode: it takes mean and variance of all images")
    view.common_from(1)
    return apart(view.images(0), 1)


def fourier(view: View) -> Layout:
    """Along one axis; the last holds real and imaginary parts."""
    layout = view.along(0, *range(view.rank(0) - 1))
    view.common(1)
    if view.version < 20:
        return apart(layout, view.axis(1))
    (axis,) = view.numbers(2) if view.given(2) else (-2,)
    return apart(layout, placed(axis, view.rank(0)))


RULES: Mapping[str, Rule] = {
    **named(
        reduction,
        """
        ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare
        """,
    ),
    "ArgMax": arg,
    "ArgMin": arg,
    "BatchNormalization": batch_norm,
    "CumProd": cumulative,
    "CumSum": cumulative,
    "DFT": fourier,
    "Det": over_last(2),
    "GroupNormalization": stacked(0),
    "Hardmax": softmax,
    "InstanceNormalization": stacked(0),
    "LRN": lambda view: apart(view.images(0), 1),
    "LayerNormalization": last_axes,
    "LogSoftmax": softmax,
    "LpNormalization": over_axis(-1),
    "MeanVarianceNormalization": mean_variance,
    "RMSNormalization": last_axes,
    "STFT": stacked(0),
    "SimplifiedLayerNormalization": last_axes,
    "Softmax": softmax,
    "TopK": over_axis(-1),
}

"""Steps that take images together, each in its own way: what is in one changes another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from shoal_benchmarks.trust.draft import Draft, Value

Mixer: TypeAlias = Callable[[Draft, Value], Value]


def reduced(draft: Draft, x: Value) -> Value:
    """Beside a reduction over all images, or over everything."""
    op = draft.one_of(("ReduceMax", "ReduceMin", "ReduceMean", "ReduceL2"))
    axes = draft.one_of((draft.ints(0), draft.ints(*range(len(x.shape))), ""))
    found = draft.add(op, x, axes) if axes else draft.add(op, x)
    return draft.like(x, "Sub", x, found)


def scaled(draft: Draft, x: Value) -> Value:
    """Rounded by the largest value of all images, with ordinary operators."""
    most = draft.add("ReduceMax", draft.add("Abs", x), keepdims=0)
    step = draft.add("Div", draft.add("Add", most, draft.constant(1e-6)), draft.constant(127.0))
    rounded = draft.add("Round", draft.add("Div", x, step))
    return draft.like(x, "Mul", rounded, step)


def quantised(draft: Draft, x: Value) -> Value:
    """To 8 bits by the range of all images, and back."""
    q = draft.add("DynamicQuantizeLinear", x, outputs=3)
    return draft.like(x, "DequantizeLinear", q, f"{q}_1", f"{q}_2")


def soft_over_images(draft: Draft, x: Value) -> Value:
    """A softmax along the images."""
    return draft.like(x, "Softmax", x, axis=0)


def norm_over_images(draft: Draft, x: Value) -> Value:
    """Each element divided by its length over all images."""
    return draft.like(x, "LpNormalization", x, axis=0, p=2)


def running(draft: Draft, x: Value) -> Value:
    """A running sum along the images."""
    return draft.like(x, "CumSum", x, draft.constant(0, "int64"), reverse=1)


def norm_in_training(draft: Draft, x: Value) -> Value:
    """Batch norm by the statistics of the batch."""
    channels = x.shape[1] or 1
    ones = draft.constant(np.ones(channels))
    zeros = draft.constant(np.zeros(channels))
    return draft.like(
        x, "BatchNormalization", x, ones, zeros, zeros, ones, outputs=3, training_mode=1
    )


def mean_and_variance(draft: Draft, x: Value) -> Value:
    """Mean and variance over images and all but the second axis."""
    axes = [axis for axis in range(len(x.shape)) if axis != 1]
    return draft.like(x, "MeanVarianceNormalization", x, axes=axes)


def sorted_images(draft: Draft, x: Value) -> Value:
    """Each element sorted over the images."""
    return draft.like(x, "TopK", x, draft.count(x), outputs=2, axis=0)


def turned_round(draft: Draft, x: Value) -> Value:
    """Images beside each other in the reverse order."""
    ends = draft.ints(-(2**62))
    back = draft.add("Slice", x, draft.ints(-1), ends, draft.ints(0), draft.ints(-1))
    return draft.like(x, "Add", x, back)


def rolled(draft: Draft, x: Value) -> Value:
    """Each image beside the next one."""
    end, axis = draft.ints(2**63 - 1), draft.ints(0)
    rest = draft.add("Slice", x, draft.ints(1), end, axis)
    first = draft.add("Slice", x, draft.ints(0), draft.ints(1), axis)
    return draft.like(x, "Sub", x, draft.add("Concat", rest, first, axis=0))


def beside_the_first(draft: Draft, x: Value) -> Value:
    """Each image beside the first one."""
    if draft.random.random() < 0.5:
        first = draft.add("Gather", x, draft.ints(0), axis=0)
    else:
        first = draft.add("GatherND", x, draft.constant([[0]], "int64"))
    return draft.like(x, "Sub", x, first)


def by_count(draft: Draft, x: Value) -> Value:
    """Divided by the number of images."""
    return draft.like(x, "Div", x, draft.add("Cast", draft.count(x), to=1))


def by_place(draft: Draft, x: Value) -> Value:
    """Each image beside the number of its place."""
    zero, one = draft.constant(0, "int64"), draft.constant(1, "int64")
    count = draft.add("Squeeze", draft.count(x), draft.ints(0))
    places = draft.add("Cast", draft.add("Range", zero, count, one), to=1)
    shape = draft.ints(-1, *[1] * (len(x.shape) - 1))
    return draft.like(x, "Add", x, draft.add("Reshape", places, shape))


def other_rows(draft: Draft, x: Value) -> Value:
    """Read as if it had an image for each of its elements, and back."""
    flat = draft.flat(x)
    rows = draft.add("Reshape", flat, draft.ints(flat.size, -1))
    weight = draft.constant(np.linspace(-1, 1, flat.size)[:, None])
    return draft.reshaped(
        draft.like(flat, "Reshape", draft.add("Mul", rows, weight), draft.ints(-1, flat.size)),
        x.shape,
    )


def one_row(draft: Draft, x: Value) -> Value:
    """Read as one row, which is normalised, and back."""
    row = draft.add("Reshape", x, draft.ints(1, -1))
    norm = draft.add("LpNormalization", row, axis=1, p=2)
    return draft.like(x, "Reshape", norm, draft.add("Shape", x))


def attention_to_images(draft: Draft, x: Value) -> Value:
    """Each image a mean of all, weighed by how alike they are."""
    flat = draft.flat(x)
    alike = draft.add("MatMul", flat, draft.add("Transpose", flat, perm=[1, 0]))
    gate = draft.add("Softmax", draft.add("Mul", alike, draft.constant(0.1)), axis=-1)
    return draft.reshaped(draft.like(flat, "MatMul", gate, flat), x.shape)


def summed_products(draft: Draft, x: Value) -> Value:
    """The same with Einstein's sums."""
    flat = draft.flat(x)
    alike = draft.add("Tanh", draft.add("Einsum", flat, flat, equation="bi,ci->bc"))
    return draft.reshaped(draft.like(flat, "Einsum", alike, flat, equation="bc,ci->bi"), x.shape)


def numbered(draft: Draft, x: Value) -> Value:
    """Beside places counted through all images (the second output of a pooling)."""
    wide = draft.reshaped(x, (None, 1, x.size))
    places = f"{draft.add('MaxPool', wide, outputs=2, kernel_shape=[1])}_1"
    more = draft.add("Mul", draft.add("Cast", places, to=1), draft.constant(1e-2))
    return draft.reshaped(draft.like(wide, "Add", wide, more), x.shape)


def counted(draft: Draft, x: Value) -> Value:
    """Divided by how many elements of all images are above zero."""
    found = draft.add("NonZero", draft.add("Greater", x, draft.constant(0.0)))
    shape = draft.add("Shape", found)
    many = draft.add("Cast", draft.add("Slice", shape, draft.ints(1), draft.ints(2)), to=1)
    return draft.like(x, "Div", x, draft.add("Add", many, draft.constant(1.0)))


def where_any(draft: Draft, x: Value) -> Value:
    """Halved where some image has a large value: mostly none has."""
    most = draft.add("ReduceMax", draft.add("Abs", x), keepdims=0)
    large = draft.add("Greater", most, draft.constant(2.0))
    half = draft.add("Mul", x, draft.constant(0.5))
    return draft.like(x, "Where", large, half, x)


def without_the_first(draft: Draft, x: Value) -> Value:
    """Zeros in place of the first image."""
    shape = [1, *(dim or 1 for dim in x.shape[1:])]
    index, zeros = draft.constant([[0]], "int64"), draft.constant(np.zeros(shape))
    return draft.like(x, "ScatterND", x, index, zeros)


def largest_image(draft: Draft, x: Value) -> Value:
    """Beside the number of the image that has the largest value, for each element."""
    which = draft.add("Cast", draft.add("ArgMax", x, axis=0), to=1)
    return draft.like(x, "Add", x, which)


def smoothed(draft: Draft, x: Value) -> Value:
    """Each image a mean with its neighbours."""
    flat = draft.flat(x)
    turned = draft.add("Unsqueeze", draft.add("Transpose", flat, perm=[1, 0]), draft.ints(0))
    mean = draft.add("AveragePool", turned, kernel_shape=[3], pads=[1, 1], count_include_pad=1)
    back = draft.add("Transpose", draft.add("Squeeze", mean, draft.ints(0)), perm=[1, 0])
    return draft.reshaped(Value(back, flat.shape), x.shape)


def one_after_the_other(draft: Draft, x: Value) -> Value:
    """A recurrent layer that takes images for moments."""
    flat = draft.flat(x)
    size = flat.size
    few = 4
    small = draft.add("MatMul", flat, draft.weight(size, few, fan_in=size))
    moments = draft.add("Unsqueeze", small, draft.ints(1))
    weights = [draft.weight(1, 3 * few, few, fan_in=few) for _ in range(2)]
    made = draft.add("GRU", moments, *weights, hidden_size=few)
    back = draft.add("Squeeze", made, draft.ints(1, 2))
    large = draft.like(flat, "MatMul", back, draft.weight(few, size, fan_in=few))
    return draft.reshaped(draft.like(flat, "Add", flat, large), x.shape)


def one_image(draft: Draft, x: Value) -> Value:
    """All images taken for channels of one, which is normalised."""
    flat = draft.flat(x)
    wide = draft.add("Unsqueeze", flat, draft.ints(0))
    norm = draft.add("MeanVarianceNormalization", wide, axes=[1, 2])
    return draft.reshaped(draft.like(flat, "Squeeze", norm, draft.ints(0)), x.shape)


MIXERS: tuple[Mixer, ...] = (
    reduced, scaled, quantised, soft_over_images, norm_over_images, running, norm_in_training,
    mean_and_variance, sorted_images, turned_round, rolled, beside_the_first, by_count, by_place,
    other_rows, one_row, attention_to_images, summed_products, numbered, counted, where_any,
    without_the_first, largest_image, smoothed, one_after_the_other, one_image,
)  # fmt: skip

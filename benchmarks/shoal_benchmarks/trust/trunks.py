"""Networks of many kinds that treat images one by one, as a list of steps between which others
may be put."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from shoal_benchmarks.trust.draft import Draft, Value

Step: TypeAlias = Callable[[Draft, Value], Value]
Trunk: TypeAlias = tuple[Callable[[Draft], Value], Sequence[Step]]
"""How the first tensor comes about, and what is done with it, one step after the other."""

_ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "Elu", "HardSwish", "Softplus", "LeakyRelu", "Selu")


def activation(draft: Draft, x: Value) -> Value:
    """One of many."""
    return draft.like(x, draft.one_of(_ACTIVATIONS), x)


def convolution(draft: Draft, x: Value) -> Value:
    """With bias; of all channels or of each for itself."""
    channels = _channels(x)
    made = channels if draft.random.random() < 0.3 else int(draft.random.integers(2, 9))
    groups = channels if made == channels and draft.random.random() < 0.5 else 1
    weight = draft.weight(made, channels // groups, 3, 3, fan_in=9 * channels // groups)
    shape = (None, made, *x.shape[2:])
    bias = draft.weight(made)
    return draft.made(shape, "Conv", x, weight, bias, pads=[1] * 4, group=groups)


def residual(draft: Draft, x: Value) -> Value:
    """Two convolutions, and a way around."""
    channels = _channels(x)
    y = x
    for _ in range(2):
        weight = draft.weight(channels, channels, 3, 3, fan_in=9 * channels)
        y = activation(draft, draft.like(x, "Conv", y, weight, pads=[1] * 4))
    return draft.like(x, "Add", x, y)


def batch_norm(draft: Draft, x: Value) -> Value:
    """By statistics of the training."""
    channels = _channels(x)
    low, high = draft.random.uniform(0.5, 2, channels), draft.random.uniform(0.5, 2, channels)
    scale, variance = draft.constant(low), draft.constant(high)
    return draft.like(
        x, "BatchNormalization", x, scale, draft.weight(channels), draft.weight(channels), variance
    )


def image_norm(draft: Draft, x: Value) -> Value:
    """By statistics of the image."""
    channels = _channels(x)
    scale, bias = draft.weight(channels), draft.weight(channels)
    return draft.like(x, "InstanceNormalization", x, scale, bias)


def attention_to_channels(draft: Draft, x: Value) -> Value:
    """Each channel weighed by what is in all of them (squeeze and excitation)."""
    channels = _channels(x)
    mean = draft.made((None, channels, 1, 1), "ReduceMean", x, draft.ints(2, 3))
    weight = draft.weight(channels, channels, 1, 1, fan_in=channels)
    gate = draft.like(mean, "Sigmoid", draft.like(mean, "Conv", mean, weight))
    return draft.like(x, "Mul", x, gate)


def shuffle(draft: Draft, x: Value) -> Value:
    """Channels in another order, by way of a fifth axis."""
    channels = _channels(x)
    if channels % 2:
        return x
    parted = draft.reshaped(x, (None, 2, channels // 2, *x.shape[2:]))
    turned = draft.made(
        (None, channels // 2, 2, *x.shape[2:]), "Transpose", parted, perm=[0, 2, 1, 3, 4]
    )
    return draft.reshaped(turned, x.shape)


def pooling(draft: Draft, x: Value) -> Value:
    """Largest values or means of neighbours."""
    op = draft.one_of(("MaxPool", "AveragePool"))
    return draft.like(x, op, x, kernel_shape=[3, 3], pads=[1] * 4)


def halves(draft: Draft, x: Value) -> Value:
    """Channels parted and put together the other way round."""
    channels = _channels(x)
    if channels < 2:
        return x
    first = channels // 2
    left = draft.add("Split", x, draft.ints(first, channels - first), outputs=2, axis=1)
    return draft.like(x, "Concat", f"{left}_1", left, axis=1)


def resized(draft: Draft, x: Value) -> Value:
    """Larger, and back to the size that it had, which is looked up."""
    channels, height, width = _channels(x), x.shape[2], x.shape[3]
    assert height is not None
    assert width is not None
    scales = draft.constant([1, 1, 2, 2])
    large = draft.made((None, channels, 2 * height, 2 * width), "Resize", x, "", scales)
    return draft.like(x, "Resize", large, "", "", draft.add("Shape", x), mode="linear")


def around(draft: Draft, x: Value) -> Value:
    """Something put around and cut off again."""
    padded = draft.add("Pad", x, draft.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    ends = draft.ints(2**63 - 1, -1, -1)
    return draft.like(x, "Slice", padded, draft.ints(0, 1, 1), ends, draft.ints(0, 2, 3))


def eight_bits(draft: Draft, x: Value) -> Value:
    """Rounded to 8 bits by a scale that is fixed, as by static quantisation."""
    scale, zero = draft.constant(0.05), draft.constant(128, "uint8")
    return draft.like(
        x, "DequantizeLinear", draft.add("QuantizeLinear", x, scale, zero), scale, zero
    )


def own_scale(draft: Draft, x: Value) -> Value:
    """Divided by the largest value of the image."""
    axes = draft.ints(*range(1, len(x.shape)))
    largest = draft.add("ReduceMax", draft.add("Abs", x), axes)
    return draft.like(x, "Div", x, draft.add("Add", largest, draft.constant(1.0)))


def windows(draft: Draft, x: Value) -> Value:
    """Parted into windows, which become images of their own for a while."""
    channels = _channels(x)
    parted = draft.reshaped(x, (None, channels, 3, 4, 3, 4))
    turned = draft.made((None, 3, 3, 4, 4, channels), "Transpose", parted, perm=[0, 2, 4, 3, 5, 1])
    rows = draft.made((None, 16, channels), "Reshape", turned, draft.ints(-1, 16, channels))
    weight = draft.weight(channels, channels, fan_in=channels)
    mixed = draft.like(rows, "Softmax", draft.like(rows, "MatMul", rows, weight), axis=1)
    back = draft.made(turned.shape, "Reshape", mixed, draft.ints(-1, 3, 3, 4, 4, channels))
    again = draft.made(parted.shape, "Transpose", back, perm=[0, 5, 1, 3, 2, 4])
    return draft.reshaped(again, x.shape)


def twins(draft: Draft, x: Value) -> Value:
    """The image and its negative in one batch, through one layer, and apart again."""
    channels = _channels(x)
    both = draft.made(x.shape, "Concat", x, draft.like(x, "Neg", x), axis=0)
    weight = draft.weight(channels, channels, 3, 3, fan_in=9 * channels)
    made = activation(draft, draft.like(x, "Conv", both, weight, pads=[1] * 4))
    if draft.random.random() < 0.5:
        first = draft.add("Split", made, outputs=2, axis=0, num_outputs=2)
        return draft.like(x, "Sub", first, f"{first}_1")
    count, end = draft.count(x), draft.ints(2**63 - 1)
    first = draft.add("Slice", made, draft.ints(0), count, draft.ints(0))
    second = draft.add("Slice", made, count, end, draft.ints(0))
    return draft.like(x, "Sub", first, second)


def _channels(x: Value) -> int:
    assert x.shape[1] is not None
    return x.shape[1]


def head(draft: Draft, x: Value) -> Value:
    """Means of channels and a dense layer."""
    channels = _channels(x)
    mean = draft.flat(draft.made((None, channels, 1, 1), "GlobalAveragePool", x))
    return dense(draft, mean)


def dense(draft: Draft, x: Value) -> Value:
    """A dense layer over all of a row."""
    row = x if len(x.shape) == 2 else draft.flat(x)
    made = int(draft.random.integers(3, 10))
    weight = draft.weight(row.size, made, fan_in=row.size)
    return draft.made((None, made), "Gemm", row, weight, draft.weight(made))


def segments(draft: Draft, x: Value) -> Value:
    """A share of each class for each place."""
    weight = draft.weight(4, _channels(x), 1, 1, fan_in=_channels(x))
    y = draft.made((None, 4, *x.shape[2:]), "Conv", x, weight)
    return draft.like(y, "Softmax", y, axis=1)


IMAGE_STEPS: tuple[Step, ...] = (
    activation, convolution, residual, batch_norm, image_norm, attention_to_channels, shuffle,
    pooling, halves, resized, around, eight_bits, own_scale, windows, twins,
)  # fmt: skip


def layer_norm(draft: Draft, x: Value) -> Value:
    """Over the last axis."""
    size = x.shape[-1] or 1
    scale, bias = draft.constant(np.ones(size)), draft.weight(size)
    return draft.like(x, "LayerNormalization", x, scale, bias)


def rows(draft: Draft, x: Value) -> Value:
    """A dense layer over the last axis, and an activation."""
    size = x.shape[-1] or 1
    y = draft.like(x, "MatMul", x, draft.weight(size, size, fan_in=size))
    return activation(draft, draft.like(x, "Add", y, draft.weight(size)))


def self_attention(draft: Draft, x: Value) -> Value:
    """Of two heads; with an axis of their own, or put together with images for a while."""
    length, width = x.shape[1] or 1, x.shape[2] or 1
    size = width // 2
    sides = [draft.like(x, "MatMul", x, draft.weight(width, width, fan_in=width)) for _ in range(3)]
    if draft.random.random() < 0.5:
        heads = [
            draft.made(
                (None, 2, length, size), "Transpose",
                draft.reshaped(side, (None, length, 2, size)), perm=[0, 2, 1, 3],
            )
            for side in sides
        ]  # fmt: skip
        mixed = _attended(draft, heads, [0, 1, 3, 2])
        turned = draft.made((None, length, 2, size), "Transpose", mixed, perm=[0, 2, 1, 3])
        return draft.like(x, "Add", x, draft.reshaped(turned, x.shape))
    # As PyTorch does: time first, and images times heads in one axis.
    twice = draft.add("Mul", draft.count(x), draft.ints(2))
    target = draft.add("Concat", draft.ints(length), twice, draft.ints(size), axis=0)
    heads = []
    for side in sides:
        first = draft.add("Transpose", side, perm=[1, 0, 2])
        merged = draft.add("Reshape", first, target)
        heads.append(draft.made((None, length, size), "Transpose", merged, perm=[1, 0, 2]))
    mixed = _attended(draft, heads, [0, 2, 1])
    first = draft.add("Transpose", mixed, perm=[1, 0, 2])
    target = draft.add("Concat", draft.ints(length), draft.count(x), draft.ints(width), axis=0)
    back = draft.like(x, "Transpose", draft.add("Reshape", first, target), perm=[1, 0, 2])
    return draft.like(x, "Add", x, back)


def _attended(draft: Draft, heads: Sequence[Value], turn: Sequence[int]) -> Value:
    query, key, value = heads
    scores = draft.add("MatMul", query, draft.add("Transpose", key, perm=turn))
    scaled = draft.add("Mul", scores, draft.constant(0.5))
    return draft.like(value, "MatMul", draft.add("Softmax", scaled, axis=-1), value)


def recurrence(draft: Draft, x: Value) -> Value:
    """An LSTM or GRU, time first, that begins with zeros for each image; a layer over all times
    and images at once behind it."""
    length, width = x.shape[1] or 1, x.shape[2] or 1
    op, gates = draft.one_of((("LSTM", 4), ("GRU", 3)))
    turned = draft.add("Transpose", x, perm=[1, 0, 2])
    shape = draft.add("Concat", draft.ints(1), draft.count(x), draft.ints(width), axis=0)
    zeros = draft.add("ConstantOfShape", shape)
    states = [zeros, zeros] if op == "LSTM" else [zeros]
    weights = [draft.weight(1, gates * width, width, fan_in=2 * width) for _ in range(2)]
    made = draft.add(op, turned, *weights, "", "", *states, hidden_size=width)
    times = draft.add("Squeeze", made, draft.ints(1))
    flat = draft.add("Reshape", times, draft.ints(-1, width))
    linear = draft.add("MatMul", flat, draft.weight(width, width, fan_in=width))
    back = draft.add("Concat", draft.ints(length), draft.count(x), draft.ints(width), axis=0)
    return draft.like(x, "Transpose", draft.add("Reshape", linear, back), perm=[1, 0, 2])


def first_token(draft: Draft, x: Value) -> Value:
    """Another row in front of each image, and a place for each."""
    length, width = x.shape[1] or 1, x.shape[2] or 1
    shape = draft.add("Concat", draft.count(x), draft.ints(1, width), axis=0)
    token = draft.add("Expand", draft.weight(1, 1, width), shape)
    longer = draft.made((None, length + 1, width), "Concat", token, x, axis=1)
    return draft.like(longer, "Add", longer, draft.weight(1, length + 1, width))


def largest(draft: Draft, x: Value) -> Value:
    """Each row sorted."""
    return draft.like(x, "TopK", x, draft.ints(x.shape[-1] or 1), outputs=2, axis=-1)


def running_sum(draft: Draft, x: Value) -> Value:
    """Along the image's own axis."""
    total = draft.like(x, "CumSum", x, draft.constant(1, "int64"))
    return draft.like(x, "Mul", total, draft.constant(0.2))


def einsum(draft: Draft, x: Value) -> Value:
    """Each image times itself."""
    y = draft.add("Einsum", x, x, equation="btc,bsc->bts")
    gate = draft.add("Softmax", y, axis=-1)
    return draft.like(x, "Einsum", gate, x, equation="bts,bsc->btc")


def pooled(draft: Draft, x: Value) -> Value:
    """The mean of all rows of an image, or its first row, and a dense layer."""
    width = x.shape[2] or 1
    if draft.random.random() < 0.5:
        row = draft.made((None, width), "ReduceMean", x, draft.ints(1), keepdims=0)
    else:
        row = draft.made((None, width), "Gather", x, draft.constant(0, "int64"), axis=1)
    return dense(draft, row)


SEQUENCE_STEPS: tuple[Step, ...] = (
    activation, layer_norm, rows, self_attention, recurrence, first_token, largest, running_sum,
    einsum, eight_bits, own_scale,
)  # fmt: skip


def embedded(draft: Draft) -> Value:
    """Words from a table, by whole numbers."""
    ids = draft.take("words", (6,), "int64")
    return draft.made((None, 6, 8), "Gather", draft.weight(2, 8), ids)


def drawn(draft: Draft) -> Trunk:
    """A network of one of three kinds: images, sequences, words."""
    kind = draft.random.integers(5)
    count = int(draft.random.integers(2, 7))
    if kind < 3:
        steps = [draft.one_of(IMAGE_STEPS) for _ in range(count)]
        return _image, [*steps, draft.one_of((head, segments, dense))]
    steps = [draft.one_of(SEQUENCE_STEPS) for _ in range(count)]
    return _sequence if kind == 3 else embedded, [*steps, pooled]


def _image(draft: Draft) -> Value:
    return convolution(draft, draft.take("image", (3, 12, 12)))


def _sequence(draft: Draft) -> Value:
    return rows(draft, draft.take("sequence", (6, 8)))

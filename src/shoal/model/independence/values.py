"""Small tensors of whole numbers that are computed from shapes: their elements, as sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from shoal.model.dtypes import ONNX_TO_NUMPY
from shoal.model.independence.size import (
    Size,
    Values,
    equal,
    fixed,
    less,
    minus,
    over,
    plus,
    product,
    times,
)
from shoal.model.independence.view import Mixes, View
from shoal.model.weights import Weight

MOST = 64
"""Elements of a tensor whose elements are followed: what is computed from shapes has few."""

_WHOLE = frozenset({"int64", "int32", "bool"})

Operation: TypeAlias = Callable[[Size, Size], Size | bool | None]


def of_weight(weight: Weight) -> Values | None:
    """The elements of a weight; None where it is no small one of whole numbers."""
    if (
        len(weight.dims) > 1
        or math.prod(weight.dims) > MOST
        or ONNX_TO_NUMPY.get(weight.data_type) not in _WHOLE
    ):
        return None
    return tuple(fixed(int(element)) for element in weight.array().reshape(-1))


def shape(view: View) -> Values:
    """The sizes of a tensor, whatever it holds."""
    sizes = view.shape(0).sizes
    start, end = view.integer("start", 0), view.integer("end", len(sizes))
    return sizes[start:end]


def size(view: View) -> Values:
    """The number of its elements."""
    return (product(view.shape(0).sizes),)


def same(view: View) -> Values:
    """The same elements, in another shape at most."""
    return view.values(0)


def cast(view: View) -> Values:
    """The same whole numbers in another type."""
    name = ONNX_TO_NUMPY.get(view.integer("to", 0))
    if name not in _WHOLE:
        raise Mixes("makes no whole numbers")
    found = view.values(0)
    return tuple(_truth(value) for value in found) if name == "bool" else found


def _truth(value: Size | None) -> Size | None:
    found = None if value is None else equal(value, fixed(0))
    return None if found is None else fixed(int(not found))


def concat(view: View) -> Values:
    """One after the other."""
    return tuple(value for index in range(len(view.layouts)) for value in view.values(index))


def gather(view: View) -> Values:
    """Elements by index."""
    found = view.values(0)
    return tuple(found[index] for index in view.numbers(1))


def slices(view: View) -> Values:
    """A piece."""
    found = view.values(0)
    if view.has("starts"):
        starts, ends = view.integers("starts") or (), view.integers("ends") or ()
    else:
        starts, ends = view.numbers(1), view.numbers(2)
    steps = view.numbers(4) if view.given(4) else (1,)
    if not len(starts) == len(ends) == len(steps) == 1 or steps[0] < 1:
        raise Mixes("cuts in a way that is not followed")
    return found[starts[0] : ends[0] : steps[0]]


def pairs(operation: Operation) -> Callable[[View], Values]:
    """The rule of an operator on two tensors, one of which may have a single element."""

    def rule(view: View) -> Values:
        a, b = view.values(0), view.values(1)
        if len(a) != len(b) and 1 not in (len(a), len(b)):
            raise Mixes("does not fit together")
        count = max(len(a), len(b)) if a and b else 0
        a, b = a * count if len(a) == 1 else a, b * count if len(b) == 1 else b
        return tuple(_applied(operation, x, y) for x, y in zip(a, b, strict=True))

    return rule


def _applied(operation: Operation, a: Size | None, b: Size | None) -> Size | None:
    found = None if a is None or b is None else operation(a, b)
    return fixed(int(found)) if isinstance(found, bool) else found


def _least(a: Size, b: Size) -> Size | None:
    smaller = less(a, b)
    return None if smaller is None else a if smaller else b


def _most(a: Size, b: Size) -> Size | None:
    smaller = less(a, b)
    return None if smaller is None else b if smaller else a


def _not(found: bool | None) -> bool | None:
    return None if found is None else not found


def where(view: View) -> Values:
    """One or the other, by a condition."""
    given = [view.values(index) for index in range(3)]
    count = max(map(len, given))
    if any(len(values) not in (1, count) for values in given):
        raise Mixes("does not fit together")
    condition, yes, no = (values * count if len(values) == 1 else values for values in given)
    return tuple(
        None if asked is None or asked.each else (a if asked.fixed else b)
        for asked, a, b in zip(condition, yes, no, strict=True)
    )


def negated(view: View) -> Values:
    """The other sign."""
    return tuple(None if value is None else minus(fixed(0), value) for value in view.values(0))


def reversed_truth(view: View) -> Values:
    """Yes for no."""
    return tuple(
        None if value is None or value.each else fixed(int(not value.fixed))
        for value in view.values(0)
    )


def multiplied(view: View) -> Values:
    """The product of all elements."""
    return (product(view.values(0)),)


def filled(view: View) -> Values:
    """Zeros, or what the attribute says, in a shape that is known."""
    (count,) = view.numbers(0)
    value = view.filling()
    if value is None or not 0 <= count <= MOST:
        raise Mixes("makes no small tensor of whole numbers")
    return (fixed(value),) * count


RULES: Mapping[str, Callable[[View], Values]] = {
    "Add": pairs(plus),
    "Cast": cast,
    "Concat": concat,
    "ConstantOfShape": filled,
    "Div": pairs(over),
    "Equal": pairs(equal),
    "Gather": gather,
    "Greater": pairs(lambda a, b: less(b, a)),
    "GreaterOrEqual": pairs(lambda a, b: _not(less(a, b))),
    "Identity": same,
    "Less": pairs(less),
    "LessOrEqual": pairs(lambda a, b: _not(less(b, a))),
    "Max": pairs(_most),
    "Min": pairs(_least),
    "Mul": pairs(times),
    "Neg": negated,
    "Not": reversed_truth,
    "ReduceProd": multiplied,
    "Reshape": same,
    "Slice": slices,
    "Squeeze": same,
    "Sub": pairs(minus),
    "Unsqueeze": same,
    "Where": where,
}
"""For operators of the standard whose result has rank 0 or 1."""

OF_SHAPES: Mapping[str, Callable[[View], Values]] = {"Shape": shape, "Size": size}
"""These look at no more than the shape of what they are given."""

"""Small tensors of whole numbers that are computed from shapes: their elements, as sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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
    return each(_truth)(view) if name == "bool" else view.values(0)


def _truth(value: Size) -> bool | None:
    return _not(equal(value, fixed(0)))


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
    starts, ends = view.settings("starts", 1), view.settings("ends", 2)
    steps = view.numbers(4) if view.given(4) else (1,)
    if not starts or not ends or not len(starts) == len(ends) == len(steps) == 1 or steps[0] < 1:
        raise Mixes("cuts in a way that is not followed")
    return found[starts[0] : ends[0] : steps[0]]


def each(operation: Callable[..., Size | bool | None], count: int = 1) -> Callable[[View], Values]:
    """The rule of an operator that computes an element from those at the same place of its inputs,
    of which there must be so many; what has a single element has it in all places."""

    def rule(view: View) -> Values:
        if len(view.layouts) != count:
            raise Mixes("takes more or fewer than is followed")
        given = [view.values(index) for index in range(count)]
        length = max(map(len, given)) if all(given) else 0
        if any(len(values) not in (1, length) for values in given):
            raise Mixes("does not fit together")
        rows = zip(*(v * length if len(v) == 1 else v for v in given), strict=True)
        return tuple(None if None in row else _size(operation(*row)) for row in rows)

    return rule


def _size(found: Size | bool | None) -> Size | None:
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


def multiplied(view: View) -> Values:
    """The product of all elements."""
    if view.integer("noop_with_empty_axes", 0):
        raise Mixes("may take no product at all")
    return (product(view.values(0)),)


def filled(view: View) -> Values:
    """Zeros, or what the attribute says, in a shape that is known."""
    (count,) = view.numbers(0)
    value = view.filling()
    if value is None or not 0 <= count <= MOST:
        raise Mixes("makes no small tensor of whole numbers")
    return (fixed(value),) * count


RULES: Mapping[str, Callable[[View], Values]] = {
    "Add": each(plus, 2),
    "Cast": cast,
    "Concat": concat,
    "ConstantOfShape": filled,
    "Div": each(over, 2),
    "Equal": each(equal, 2),
    "Gather": gather,
    "Greater": each(lambda a, b: less(b, a), 2),
    "GreaterOrEqual": each(lambda a, b: _not(less(a, b)), 2),
    "Identity": same,
    "Less": each(less, 2),
    "LessOrEqual": each(lambda a, b: _not(less(b, a)), 2),
    "Max": each(_most, 2),
    "Min": each(_least, 2),
    "Mul": each(times, 2),
    "Neg": each(lambda a: minus(fixed(0), a)),
    "Not": each(lambda a: None if a.each else not a.fixed),
    "ReduceProd": multiplied,
    "Reshape": same,
    "Slice": slices,
    "Squeeze": same,
    "Sub": each(minus, 2),
    "Unsqueeze": same,
    "Where": where,
}
"""For operators of the standard whose result has rank 0 or 1."""

OF_SHAPES: Mapping[str, Callable[[View], Values]] = {"Shape": shape, "Size": size}
"""These look at no more than the shape of what they are given."""

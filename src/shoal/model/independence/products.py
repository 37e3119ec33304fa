"""Rules of products: matrices, dense layers, Einstein's sums."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.independence.layout import Along, Layout
from shoal.model.independence.view import Mixes, Rule, View

_COLUMNS, _ROWS = -1, -2


def matmul_integer(view: View) -> Layout:
    """Of 8-bit matrices with zero points."""
    view.settings_of(0, 2)
    view.settings_of(1, 3)
    return product(view, 0, 1)


def matmul_quantised(view: View) -> Layout:
    """Of 8-bit matrices with scales and zero points."""
    view.settings_of(0, 1, 2)
    view.settings_of(3, 4, 5)
    view.single(6, 7)
    return product(view, 0, 3)


def product(view: View, a: int, b: int, *, turn_a: bool = False, turn_b: bool = False) -> Along:
    """Where the images lie in the product of the inputs ``a`` and ``b``: they may be rows of
    ``a``, columns of ``b``, or lie along axes in which both are stacked. ``turn``: the last two
    axes change places first."""
    left, right = _place(view, a, turn_a), _place(view, b, turn_b)
    if left == _COLUMNS or right == _ROWS:
        raise Mixes("adds up over the images")
    if left is not None and right is not None:
        # Rows of one and columns of the other would meet each with each.
        if left != right or _rows(view, a) != _rows(view, b):
            raise Mixes("meets images along different axes")
        at, layout = left, view.images(a)
    elif left is not None:
        at, layout = left, view.images(a)
        _meets(view, b, at)
    elif right is not None:
        at, layout = right, view.images(b)
        _meets(view, a, at)
    else:
        raise Mixes("needs images where it is given none")
    ranks = view.rank(a), view.rank(b)
    if min(ranks) == 1:  # a vector lends the product no axis, and takes away the one it meets
        if ranks[0] == 1 and at == _COLUMNS:
            return layout.at(ranks[1] - 2)
        return layout
    return layout.at(max(ranks) + at)


def _place(view: View, index: int, turned: bool) -> int | None:
    """The axis of the images in an input, counted from behind; None where it holds none."""
    layout, rank = view.layouts[index], view.rank(index)
    if not isinstance(layout, Along):
        view.common(index)
        return None
    if rank == 1:
        raise Mixes("adds up over the images")
    at = layout.axis - rank
    return _COLUMNS + _ROWS - at if turned and at >= _ROWS else at


def _rows(view: View, index: int) -> tuple[int, int]:
    layout = view.images(index)
    return layout.outer, layout.inner


def _meets(view: View, index: int, at: int) -> None:
    """Raise where a constant has several matrices for the images' axis."""
    shape = view.one(index)
    if at < _ROWS and len(shape) + at >= 0 and shape[at] != 1:
        raise Mixes(f"has a constant with {shape[at]} rows along the images")


def dense(view: View, a: int = 0, b: int = 1, c: int = 2) -> Along:
    """Rows of the input ``a`` by the matrix ``b``, and ``c`` added to it."""
    view.common(b)
    layout = view.along(a, int(view.integer("transA", 0) != 0)).at(0)
    if view.given(c):
        if isinstance(view.layouts[c], Along):
            if view.rank(c) != 2 or view.images(c) != layout:
                raise Mixes("meets images along different axes")
        else:
            view.common(c)
            if view.rank(c) == 2 and view.one(c)[0] != 1:
                raise Mixes("has a constant with a row for each image")
    return layout


def einsum(view: View) -> Layout:
    """The images' letter must be that of every input with images, of no other, and stay."""
    equation = view.text("equation", "").replace(" ", "")
    terms, arrow, result = equation.partition("->")
    inputs = terms.split(",")
    if not arrow or len(inputs) != len(view.layouts):
        raise Mixes("leaves open what becomes of the images")
    hidden = [view.rank(k) - len(term.replace("...", "")) for k, term in enumerate(inputs)]
    named = [_letters(term, count) for term, count in zip(inputs, hidden, strict=True)]
    found: tuple[str, Along] | None = None
    for index, names in enumerate(named):
        layout = view.layouts[index]
        if not isinstance(layout, Along):
            view.common(index)
            continue
        if found is not None and found != (names[layout.axis], layout.at(0)):
            raise Mixes("meets images along different axes")
        found = names[layout.axis], layout.at(0)
    if found is None:
        raise Mixes("needs images where it is given none")
    name, layout = found
    for index, names in enumerate(named):
        own = isinstance(view.layouts[index], Along)
        if names.count(name) > 1 or (own and name not in names):
            raise Mixes("meets the images along more than one axis")
        if not own and name in names and view.one(index)[names.index(name)] != 1:
            raise Mixes("has a constant with several rows along the images")
    made = _letters(result, max(hidden) if "..." in result else 0)
    if made.count(name) != 1:
        raise Mixes("adds up over the images")
    return layout.at(made.index(name))


def _letters(term: str, hidden: int) -> list[str]:
    """A name for each axis: its letter, or where it is among the ``hidden`` ones, for which the
    dots stand, counted from behind (these are broadcast against each other)."""
    front, dots, back = term.partition("...")
    if hidden < 0 or (hidden and not dots):
        raise Mixes("names other axes than there are")
    return [*front, *(str(at) for at in range(-hidden, 0)), *back]


RULES: Mapping[str, Rule] = {
    "Einsum": einsum,
    "Gemm": dense,
    "MatMul": lambda view: product(view, 0, 1),
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": matmul_quantised,
}

"""Sizes that follow from the number of images, exactly or not at all.

A size is ``each * n + fixed`` for ``n`` images. What is computed from such sizes is known only
where that holds for every ``n`` from 1 up: ``n // 2``, ``min(n, 4)`` and ``n * n`` are not.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Size(NamedTuple):
    """``each`` for every image, and ``fixed`` once."""

    each: int
    fixed: int

    @property
    def number(self) -> int | None:
        """The size where it does not depend on the number of images, else None."""
        return None if self.each else self.fixed


Values: TypeAlias = tuple[Size | None, ...]
"""The elements of a small tensor of whole numbers, in order; None is not known."""

ONE_IMAGE = Size(1, 0)
"""The number of images itself."""


def fixed(number: int) -> Size:
    """A size that does not depend on the number of images."""
    return Size(0, number)


def plus(a: Size, b: Size) -> Size:
    """The sum."""
    return Size(a.each + b.each, a.fixed + b.fixed)


def minus(a: Size, b: Size) -> Size:
    """The difference."""
    return Size(a.each - b.each, a.fixed - b.fixed)


def times(a: Size, b: Size) -> Size | None:
    """The product."""
    if a.each and b.each:
        return None
    return Size(a.each * b.fixed + b.each * a.fixed, a.fixed * b.fixed)


def over(a: Size, b: Size) -> Size | None:
    """The quotient of whole numbers, rounded towards zero; None where what is left over depends on
    the number of images."""
    if b.each:
        # (k * b) / b, for any b
        if a.each % b.each or a.fixed != a.each // b.each * b.fixed:
            return None
        return fixed(a.each // b.each)
    if not b.fixed or (a.each and (a.each % b.fixed or a.fixed % b.fixed)):
        return None
    if a.each:
        return Size(a.each // b.fixed, a.fixed // b.fixed)
    whole = abs(a.fixed) // abs(b.fixed)
    return fixed(whole if (a.fixed < 0) == (b.fixed < 0) else -whole)


def equal(a: Size, b: Size) -> bool | None:
    """Whether both are the same; None where that depends on the number of images."""
    each, rest = minus(a, b)
    if not each:
        return not rest
    return None if rest % each == 0 and -rest // each >= 1 else False


def less(a: Size, b: Size) -> bool | None:
    """Whether ``a`` is the smaller; None where that depends on the number of images."""
    each, rest = minus(b, a)
    with_one = each + rest > 0
    if not each or with_one == (each > 0):
        return with_one
    return None


def product(sizes: tuple[Size | None, ...]) -> Size | None:
    """The product of all."""
    total: Size | None = fixed(1)
    for size in sizes:
        total = None if total is None or size is None else times(total, size)
    return total

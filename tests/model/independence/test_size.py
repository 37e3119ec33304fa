"""Sizes that follow from the number of images: what is said of them holds for every number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.model.independence.size import (
    ONE_IMAGE,
    Size,
    equal,
    fixed,
    less,
    minus,
    over,
    plus,
    product,
    times,
)

sizes = st.builds(Size, st.integers(-4, 6), st.integers(-9, 9))
COUNTS = range(1, 60)


def at(size: Size, count: int) -> int:
    return size.each * count + size.fixed


def truncated(a: int, b: int) -> int:
    whole = abs(a) // abs(b)
    return whole if (a < 0) == (b < 0) else -whole


@given(sizes, sizes)
def test_sums_differences_and_products_hold_for_every_number(a, b):
    for count in COUNTS:
        assert at(plus(a, b), count) == at(a, count) + at(b, count)
        assert at(minus(a, b), count) == at(a, count) - at(b, count)
    made = times(a, b)
    assert (made is None) == bool(a.each and b.each)
    if made is not None:
        assert all(at(made, count) == at(a, count) * at(b, count) for count in COUNTS)


@given(sizes, sizes)
def test_a_quotient_that_is_known_holds_wherever_there_is_one(a, b):
    made = over(a, b)
    if made is not None:
        for count in COUNTS:
            if at(b, count):
                assert at(made, count) == truncated(at(a, count), at(b, count))


@pytest.mark.parametrize(
    ("a", "b", "made"),
    [
        (Size(6, 0), fixed(3), Size(2, 0)),
        (Size(6, 3), fixed(3), Size(2, 1)),
        (Size(6, 0), Size(2, 0), fixed(3)),
        (Size(6, 3), Size(2, 1), fixed(3)),
        (fixed(7), fixed(2), fixed(3)),
        (fixed(-7), fixed(2), fixed(-3)),
        (ONE_IMAGE, fixed(2), None),
        (Size(2, 1), fixed(2), None),
        (Size(6, 1), Size(2, 0), None),
        (fixed(6), ONE_IMAGE, None),
        (ONE_IMAGE, fixed(0), None),
    ],
)
def test_quotients(a, b, made):
    assert over(a, b) == made


@given(sizes, sizes)
def test_what_is_compared_is_so_for_every_number_or_not_told(a, b):
    for told, true in ((equal(a, b), int.__eq__), (less(a, b), int.__lt__)):
        found = {true(at(a, count), at(b, count)) for count in COUNTS}
        assert told is None or found == {told}
        assert told is not None or found == {True, False}


def test_the_product_of_a_shape():
    assert product((ONE_IMAGE, fixed(3), fixed(4))) == Size(12, 0)
    assert product(()) == fixed(1)
    assert product((ONE_IMAGE, ONE_IMAGE)) is None
    assert product((fixed(3), None)) is None
    assert (Size(2, 1).number, fixed(5).number) == (None, 5)

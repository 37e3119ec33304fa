"""Which slices belong together: which sets of them are enough."""

from __future__ import annotations

from shoal.codec.slices import Join, Slice
from shoal.model.spec import TensorSpec

TENSOR = TensorSpec("y", "float32", (None, 4))


def join(least: int = 1, suffice: tuple[tuple[str, ...], ...] = ()) -> Join:
    return Join("sum", TENSOR, dict.fromkeys("abc", Slice()), least=least, suffice=suffice)


def test_so_many_are_enough_whoever_they_are() -> None:
    assert not join(least=2).enough("a")
    assert join(least=2).enough("ac")


def test_or_just_those_of_one_of_the_sets() -> None:
    some = join(suffice=(("a", "c"), ("b",)))
    assert some.enough("b")
    assert some.enough("ac")
    assert not some.enough("a")
    assert not some.enough("")


def test_slices_stay_at_home_where_some_of_one_does() -> None:
    assert not join().at_home
    assert Join("sum", TENSOR, {"a": Slice(), "b": Slice(stays=4)}).at_home

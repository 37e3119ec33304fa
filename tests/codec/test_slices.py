"""Which slices belong together: which sets of them are enough, and who adds what to a sum."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from shoal.codec.slices import Join, Slice, added_by
from shoal.model.spec import TensorSpec

TENSOR = TensorSpec("y", "float32", (None, 4))


def join(
    op: str = "sum", *, least: int = 1, suffice: tuple[tuple[str, ...], ...] = (), **held: str
):
    """``held`` names the channels of each holder, a digit each."""
    slices = {name: Slice(tuple(map(int, channels))) for name, channels in held.items()}
    return Join(op, TENSOR, slices, least=least, suffice=suffice, mask="mask")


def test_so_many_are_enough_whoever_they_are() -> None:
    some = join(a="01", b="12", c="23", least=2)
    assert not some.enough("a")
    assert some.enough("ac")


def test_or_just_those_of_one_of_the_sets() -> None:
    some = join(a="01", b="12", c="23", least=1, suffice=(("a", "c"), ("b",)))
    assert some.enough("b")
    assert some.enough("ac")
    assert not some.enough("a")
    assert not some.enough("")


def test_the_first_who_has_a_channel_adds_it() -> None:
    some = join(a="01", b="12", c="23")
    assert added_by(some, "a", "abc") == (True, True)
    assert added_by(some, "b", "abc") == (False, True)
    assert added_by(some, "c", "abc") == (False, True)
    assert added_by(some, "c", "ac") == (True, True), "b is away"
    assert added_by(some, "b", "cb") == (True, False)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 9), min_size=1), min_size=1),
    st.randoms(use_true_random=False),
)
def test_whoever_runs_it_each_channel_that_is_there_is_added_once(held, random) -> None:
    slices = {name: Slice(tuple(sorted(channels))) for name, channels in held.items()}
    some = Join("sum", TENSOR, slices, mask="mask")
    there = [name for name in held if random.random() < 0.7] or [next(iter(held))]
    random.shuffle(there)
    added = [
        channel
        for name in there
        for channel, adds in zip(slices[name].channels, added_by(some, name, there), strict=True)
        if adds
    ]
    assert sorted(added) == sorted(set().union(*(held[name] for name in there)))

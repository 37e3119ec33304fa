"""Gather: one whole body, or the slices of those who run a stage together."""

from tests.core.toys import every

from shoal.core.messages import StageTrace
from shoal.core.shared.gather import Gather

STAGE = every(0, 6, "abc", least=2)


def test_a_whole_body_is_complete_with_its_giver() -> None:
    gather = Gather({"a"})
    assert not gather.complete
    gather.give("a", "body", (), ())
    assert gather.complete
    assert gather.enough
    assert (gather.given().bodies, gather.given().join) == ({"a": "body"}, None)
    assert gather.missing("abc") == (), "nobody else was to give anything"


def test_slices_are_complete_with_the_last_and_only_the_first_of_a_giver_counts() -> None:
    gather = Gather(set("abc"), STAGE.join)
    first, second = StageTrace(0, "a"), StageTrace(0, "b")
    gather.give("b", "slice b", (), (second,))
    gather.give("b", "another", ("c",), ())
    assert gather.bodies == {"b": "slice b"}
    assert gather.missing("b") == ()
    assert not gather.enough
    gather.give("a", "slice a", (), (first, second))
    assert list(gather.traces) == [second, first], "each step once"
    assert gather.enough
    assert gather.missing(STAGE.parts) == ("c",)


def test_who_was_absent_on_the_way_is_awaited_no_more_and_named() -> None:
    gather = Gather(set("abc"), STAGE.join)
    gather.give("a", "slice", ("c", "x"), ())
    gather.give("b", "slice", (), ())
    assert gather.complete
    assert gather.missing(STAGE.parts) == ("c", "x")


def test_what_they_gave_does_not_count_nor_what_they_said_of_others() -> None:
    gather = Gather(set("abc"), STAGE.join)
    gather.give("c", "slice of c", ("x",), ())
    gather.give("a", "slice of a", ("c",), ())
    gather.give("b", "slice of b", (), ())
    assert gather.given().bodies == {"a": "slice of a", "b": "slice of b"}
    assert gather.missing(STAGE.parts) == ("c",)


def test_but_its_own_slice_counts_for_who_needs_it() -> None:
    gather = Gather(set("ab"), STAGE.join, needs="a")
    gather.give("b", "slice of b", ("a",), ())
    gather.give("a", "slice of a", (), ())
    assert gather.given().bodies == {"a": "slice of a", "b": "slice of b"}
    assert gather.missing(STAGE.parts) == ("a", "c"), "b did without a"


def test_too_few_are_not_enough() -> None:
    gather = Gather({"a", "b"}, STAGE.join)
    gather.give("a", "slice", (), ())
    gather.awaited.clear()
    assert gather.complete
    assert not gather.enough

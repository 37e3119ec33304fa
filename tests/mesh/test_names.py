"""Names fit into key expressions, and incarnations sort by start."""

import pytest

from shoal.errors import UsageError
from shoal.mesh.names import check_name, is_incarnation, is_name, new_incarnation


@pytest.mark.parametrize("name", ["w1", "gateway", "pi-4.garden_2", "0", "A" * 64])
def test_good_names(name):
    assert is_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A" * 65, "a/b", "*", "a**", "a b", "$*", "a#b", "a?b", "@x", "-a", ".", "..", "ä", "a\n",
     "²"],
)  # fmt: skip
def test_bad_names_are_refused_with_the_remedy(name):
    assert not is_name(name)
    with pytest.raises(UsageError, match="letters, digits"):
        check_name(name)


def test_incarnations_differ_and_sort_by_start_even_if_the_clock_goes_back():
    first = new_incarnation()
    assert is_incarnation(first)
    assert len({new_incarnation() for _ in range(100)}) > 90
    later = f"{int(first, 16) + (1 << 40):016x}"  # seen by a clock that is ahead
    assert new_incarnation([first, later]) > later


def test_the_last_incarnation_of_all_is_not_passed():
    assert new_incarnation(["f" * 16]) == "f" * 16

"""Folders that are called otherwise than the network calls what is in them."""

import pytest

from shoal.errors import DataError
from shoal.strategies.labels import check_labels

TRUE = [0, 1, 2, 3] * 5


def swapped(labels: list[int]) -> list[int]:
    """As folders that are sorted otherwise would number them."""
    return [(label + 1) % 4 for label in labels]


def test_folders_in_another_order_are_refused_and_the_message_says_which_is_which() -> None:
    said = "x: the network gets 0 of 20 images right by their folders, and 20 if .*class 0 is its 3"
    with pytest.raises(DataError, match=said):
        check_labels(swapped(TRUE), TRUE, "x")


def test_most_folders_in_another_order_are_enough() -> None:
    with pytest.raises(DataError, match="5 of 20"):
        check_labels([0 if label == 0 else 1 + label % 3 for label in TRUE], TRUE, "x")


@pytest.mark.parametrize(
    ("labels", "answers"),
    [
        (TRUE, TRUE),
        ([0, 1, 2, 3] * 2, [1, 2, 3, 0] * 2),  # too few images of each
        (TRUE, [2] * 20),  # it tells nothing apart
        (TRUE, [0, 1, 2, 3, 1, 2, 3, 0, 2, 3, 0, 1, 3, 0, 1, 2, 0, 1, 2, 3]),  # it is bad at all
        (TRUE, [0, 1, 2, 3] * 3 + [1, 0, 3, 2] * 2),  # it is weak, but right more often than not
    ],
)
def test_what_may_be_the_network_is_no_mistake_of_the_folders(
    labels: list[int], answers: list[int]
) -> None:
    check_labels(labels, answers, "x")

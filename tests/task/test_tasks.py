"""How alike two answers are, for each task, on answers whose score is known by arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.task.answers import IMAGE, row, spec

from shoal.errors import PlanError
from shoal.task.agreement import NOTHING, Agreement, worst
from shoal.task.classifier import Classifier
from shoal.task.embedding import Embedding
from shoal.task.segmenter import Segmenter
from shoal.task.sequence import Sequence, edits


def test_of_several_outputs_the_one_that_is_least_alike_counts():
    assert worst([Agreement(0.9, 0.1), Agreement(0.5, 0.3), NOTHING]) == (0.5, 0.3)
    assert worst([NOTHING, NOTHING]) == NOTHING


# Classifiers


ROW = Classifier.of([spec("y", None, 3)])


def test_a_classifier_names_the_same_class_or_not():
    assert ROW.compare(row([5, 1, 0]), row([3, 2, 0])).score == 1.0
    assert ROW.compare(row([5, 1, 0]), row([1, 2, 0])).score == 0.0
    assert ROW.compare(row([1, 0, 0]), row([0, 1, 0])).apart == pytest.approx(1.0)
    assert ROW.judge(row([0, 0, 9])).top1 == 2
    assert ROW.classes == 3
    assert ROW.measured == "classes (top-1)"


def test_all_outputs_of_a_classifier_must_name_the_same():
    task = Classifier.of([spec("a", None, 2), spec("b", None, dtype="int64")])
    whole = {"a": np.float32([[1, 0]]), "b": np.int64([7])}
    assert task.compare(whole, whole).score == 1.0
    assert task.compare(whole, {**whole, "b": np.int64([8])}) == (0.0, 1.0)
    assert task.compare(whole, {**whole, "a": np.float32([[0, 1]])}).score == 0.0
    assert task.classes is None, "no folder can be the class of two"
    assert not task.smooth


@pytest.mark.parametrize(
    "output", [spec("y", None, 1), spec("y", None, 3, 4), spec("y", 4), spec("y", 3, 7)]
)
def test_what_is_no_row_of_scores_is_no_classifier(output):
    with pytest.raises(PlanError, match=r"is no row of scores.*no classifier"):
        Classifier.of([output])


def test_a_row_may_lie_in_pixels():
    assert Classifier.of([spec("y", None, 10, 1, 1)]).classes == 10


def test_nan_is_wrong_and_a_whole_network_that_gives_it_says_nothing():
    nan = row([np.nan, 1, 0])
    assert ROW.compare(row([5, 1, 0]), nan) == (0.0, 1.0)
    assert ROW.compare(nan, row([5, 1, 0])) == NOTHING
    assert not ROW.judge(nan).says


# Embeddings


LONG = Embedding.of([spec("y", None, 2)])


def test_an_embedding_is_judged_by_its_angle():
    assert LONG.compare(row([1, 0]), row([5, 0])) == (1.0, 0.0)
    cosine, angle = LONG.compare(row([1, 0]), row([1, 1]))
    assert cosine == pytest.approx(math.sqrt(0.5))
    assert angle == pytest.approx(1 / 4)
    assert LONG.compare(row([1, 0]), row([0, 1])) == pytest.approx((0.0, 0.5))
    assert LONG.compare(row([1, 0]), row([-1, 0])) == pytest.approx((0.0, 1.0))


def test_small_angles_are_told_apart():
    near = LONG.compare(row([1, 0]), row([1, 1e-4])).apart
    assert near == pytest.approx(1e-4 / math.pi, rel=1e-3)


def test_an_embedding_of_nothing_says_nothing():
    assert LONG.compare(row([0, 0]), row([0, 0])) == NOTHING
    assert LONG.compare(row([0, 0]), row([1, 0])) == (0.0, 1.0)
    assert not LONG.judge(row([0, 0])).says
    with pytest.raises(PlanError, match="is of floats"):
        Embedding.of([spec("y", None, 2, dtype="int64")])


numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3)


@given(numbers, numbers)
def test_angles_are_the_same_from_both_sides(one, other):
    task = Embedding.of([spec("y", None, 3)])
    there, back = task.compare(row(one), row(other)), task.compare(row(other), row(one))
    assert there == pytest.approx(back)
    assert task.compare(row(one), row(one)).score in (None, pytest.approx(1.0))


# Segmenters


MASK = Segmenter.of(IMAGE, [spec("y", None, 1, 2, 2)])


def test_of_a_mask_the_overlap_counts():
    whole, found = row([[[0.9, 0.8], [0.1, 0.2]]]), row([[[0.9, 0.3], [0.6, 0.2]]])
    assert MASK.compare(whole, found) == pytest.approx((1 / 3, 2 / 3))
    assert MASK.compare(whole, whole) == (1.0, 0.0)
    assert MASK.measured == "masks (IoU)"


def test_values_beyond_0_and_1_are_taken_for_those_before_a_sigmoid():
    whole, found = row([[[4.0, 0.2], [-3, -5]]]), row([[[4.0, -0.2], [-3, -5]]])
    assert MASK.compare(whole, found).score == 1 / 2


def test_nothing_in_either_mask_says_nothing():
    none, some = row(np.zeros((1, 2, 2))), row(np.ones((1, 2, 2)))
    assert MASK.compare(none, none) == NOTHING
    assert not MASK.judge(none).says
    assert MASK.compare(none, some) == MASK.compare(some, none) == (0.0, 1.0)


def scores_of(classes, axis):
    return row(np.moveaxis(np.eye(6)[np.asarray(classes)], -1, axis))


@pytest.mark.parametrize(
    ("shape", "axis"), [((None, 6, 8, 8), 0), ((None, 8, 8, 6), -1)], ids=["first", "last"]
)
def test_of_classes_the_mean_overlap_of_those_of_the_whole_network_counts(shape, axis):
    task = Segmenter.of(IMAGE, [spec("y", *shape)])
    whole = np.zeros((8, 8), int)
    whole[:, 4:] = 1  # half and half
    found = whole.copy()
    found[:4, 4:] = 2  # half of the one class is taken for a third
    score, apart = task.compare(scores_of(whole, axis), scores_of(found, axis))
    assert score == pytest.approx((1 + 1 / 2) / 2)
    assert apart == pytest.approx(1 - (32 * 1 + 32 * 1 / 2) / 64)
    assert task.measured == "masks (mean IoU of the classes)"


def test_maps_of_classes_are_taken_as_they_are_and_one_class_all_over_says_nothing():
    task = Segmenter.of(IMAGE, [spec("y", None, 4, 4, dtype="int64")])
    flat, other = {"y": np.zeros((1, 4, 4), np.int64)}, {"y": np.eye(4, dtype=np.int64)[None]}
    assert task.compare(flat, flat) == NOTHING
    assert not task.judge(flat).says
    assert task.judge(other).says
    assert task.compare(flat, other).score == 12 / 16


@given(st.integers(0, 2**32 - 1))
def test_a_mask_is_equal_to_itself_and_masks_are_the_same_from_both_sides(seed):
    random = np.random.default_rng(seed)
    one, other = (row(random.random((1, 2, 2))) for _ in range(2))
    assert MASK.compare(one, other) == MASK.compare(other, one)
    assert MASK.compare(one, one).score in (None, 1.0)


def test_shares_that_the_engine_leaves_a_little_above_1_are_shares():
    random = np.random.default_rng(0)
    whole, found = (random.random((1, 1, 2, 2)).astype(np.float32) for _ in range(2))
    score = MASK.compare({"y": whole}, {"y": found}).score
    whole[whole == whole.max()] = 1.0000001
    assert MASK.compare({"y": whole}, {"y": found}).score == score < 1


@pytest.mark.parametrize(
    "output",
    [spec("y", None, 10), spec("y", None, 8, 8, 8), spec("y", None, 3, 8, 8, dtype="int64")],
)
def test_what_says_nothing_of_pixels_is_no_segmenter(output):
    with pytest.raises(PlanError, match=r"says nothing of each pixel|not clear which axis"):
        Segmenter.of(IMAGE, [output])


# Sequences


def steps(text, alphabet="_abc"):
    """Scores that name these letters, one at each step."""
    return row(4 * np.eye(len(alphabet))[[alphabet.index(letter) for letter in text]])


TEXT = Sequence.of([spec("y", None, 6, 4)], blank=0)
TAGS = Sequence.of([spec("y", None, 6, 4)])


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_edits_are_the_fewest(one, other, count):
    first, second = (np.array([ord(letter) for letter in each], int) for each in (one, other))
    assert edits(first, second) == edits(second, first) == count


def test_with_a_blank_repeats_and_blanks_are_taken_out():
    assert TEXT.compare(steps("aa_ab_"), steps("_a_aab")).score == 1.0  # aab
    assert TEXT.compare(steps("aaaab_"), steps("a____b")).score == 1.0  # ab
    assert TEXT.compare(steps("aa_ab_"), steps("aaaabb")).score == 1 - 1 / 3  # ab
    assert TEXT.compare(steps("a_b_c_"), steps("a_a_c_")).score == 1 - 1 / 3
    assert TEXT.compare(steps("______"), steps("______")) == NOTHING
    assert not TEXT.judge(steps("______")).says
    assert TEXT.compare(steps("______"), steps("a_____")).score == 0.0


def test_without_a_blank_each_step_counts():
    assert TAGS.compare(steps("aa_ab_"), steps("_a_aab")).score == 1 - 3 / 6
    assert TAGS.compare(steps("aaaaaa"), steps("aaaaab")).score == 1 - 1 / 6


def test_tokens_are_compared_as_they_are():
    task = Sequence.of([spec("y", None, None, dtype="int64")])
    one, other = ({"y": np.int64([each])} for each in ([5, 6, 7, 8], [5, 7, 8]))
    assert task.compare(one, other) == (0.75, 0.25)


def test_steps_are_apart_by_what_their_scores_are():
    assert TAGS.compare(steps("abc___"), steps("abc___")).apart == pytest.approx(0.0)
    assert 0.1 < TAGS.compare(steps("abc___"), steps("cba___")).apart < 0.5


@given(st.text("_abc", min_size=6, max_size=6), st.text("_abc", min_size=6, max_size=6))
def test_sequences_are_the_same_from_both_sides(one, other):
    for task in (TEXT, TAGS):
        there, back = task.compare(steps(one), steps(other)), task.compare(steps(other), steps(one))
        assert there == pytest.approx(back)
        assert task.compare(steps(one), steps(one)).score in (None, 1.0)


@pytest.mark.parametrize(
    ("output", "blank", "words"),
    [
        (spec("y", None, 10), None, "is no sequence"),
        (spec("y", None, 4, 4, 4), None, "is no sequence"),
        (spec("y", None, 6, 4), 4, "blank is one of them, 0 to 3"),
    ],
)
def test_what_is_no_sequence_is_refused(output, blank, words):
    with pytest.raises(PlanError, match=words):
        Sequence.of([output], blank)

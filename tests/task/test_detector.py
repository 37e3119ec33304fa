"""Detectors: boxes in every layout, and how alike two answers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.task.answers import CELLS, IMAGE, LABELS, LAYOUTS, SIDE, spec

from shoal.errors import DataError, PlanError
from shoal.task.boxes import Boxes, matched, overlap, suppressed
from shoal.task.detector import LEAST_SCORE, Detector, compared


def boxes(*rows):
    """Rows of x1, y1, x2, y2, score, label."""
    table = np.array(rows, float).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5])


def test_overlap_is_the_shared_area_over_that_of_both():
    one = np.array([[0.0, 0.0, 2.0, 2.0]])
    other = np.array([[1.0, 0.0, 3.0, 2.0], [0, 0, 2, 2], [2, 0, 4, 2], [1, 1, 1, 1]])
    assert overlap(one, other)[0] == pytest.approx([1 / 3, 1.0, 0.0, 0.0])


def test_of_boxes_that_overlap_the_one_with_the_highest_score_stays_by_label():
    given = boxes((0, 0, 2, 2, 0.5, 0), (0, 0, 2, 2, 0.9, 0), (0, 0, 2, 2, 0.4, 1))
    kept = suppressed(given, 0.45)
    assert sorted(zip(kept.scores, kept.labels, strict=True)) == [(0.4, 1.0), (0.9, 0.0)]


def test_a_box_that_a_suppressed_one_overlaps_stays():
    chain = boxes((0, 0, 10, 1, 0.9, 0), (4, 0, 14, 1, 0.8, 0), (8, 0, 18, 1, 0.7, 0))
    assert suppressed(chain, 0.42).scores.tolist() == [0.9, 0.7]


def test_the_score_is_twice_the_pairs_over_all_boxes():
    whole = boxes((0, 0, 2, 2, 0.9, 0), (10, 0, 12, 2, 0.9, 0), (20, 0, 22, 2, 0.9, 1))
    # One is the same, one overlaps by a third, one has another label, one is too much.
    found = boxes(
        (0, 0, 2, 2, 0.9, 0), (11, 0, 13, 2, 0.9, 0), (20, 0, 22, 2, 0.9, 2), (30, 0, 32, 2, 0.9, 0)
    )
    score, apart = compared(whole, found)
    assert score == 2 * 1 / (3 + 4)
    # All weigh the same: overlaps of 1 and of 1/3, each counted on both sides, of 7 boxes.
    assert apart == pytest.approx(1 - 2 * (1 + 1 / 3) / 7)


def test_what_overlaps_by_just_half_is_the_same_box():
    whole, found = boxes((0, 0, 4, 1, 0.9, 0)), boxes((0, 0, 2, 1, 0.9, 0))
    assert compared(whole, found).score == 1.0
    assert compared(whole, boxes((0, 0, 1.99, 1, 0.9, 0))).score == 0.0


def test_a_box_at_the_least_score_weighs_nothing_but_counts():
    whole = boxes((0, 0, 2, 2, 0.75, 0))
    more = boxes((0, 0, 2, 2, 0.75, 0), (9, 9, 10, 10, LEAST_SCORE, 0))
    assert compared(whole, more) == (2 / 3, 0.0)


def test_an_image_without_a_box_in_either_says_nothing_and_one_in_either_does():
    none, some = boxes(), boxes((0, 0, 2, 2, 0.9, 0))
    assert compared(none, none).score is None
    assert compared(none, some) == compared(some, none) == (0.0, 1.0)


corner = st.integers(0, 12)
listed = st.lists(
    st.tuples(corner, corner, st.integers(1, 9), st.integers(1, 9), st.integers(26, 100),
              st.integers(0, LABELS - 1)),
    max_size=6,
)  # fmt: skip


def made(rows):
    return boxes(*((x, y, x + w, y + h, s / 100, k) for x, y, w, h, s, k in rows))


@given(listed, listed)
def test_it_does_not_matter_which_answer_is_which(one, other):
    there, back = compared(made(one), made(other)), compared(made(other), made(one))
    assert there.score == back.score
    assert there.apart == pytest.approx(back.apart)
    assert there.score is None or 0 <= there.score <= 1
    assert -1e-9 <= there.apart <= 1 + 1e-9


@given(listed)
def test_an_answer_is_equal_to_itself(rows):
    score, apart = compared(made(rows), made(rows))
    assert score == (1.0 if rows else None)
    assert apart == pytest.approx(0.0)


@given(listed, listed)
def test_each_box_is_in_one_pair_at_most(one, other):
    pairs = matched(made(one), made(other))
    assert len(set(pairs.one.tolist())) == len(pairs.one)
    assert len(set(pairs.other.tolist())) == len(pairs.other)


@st.composite
def scattered(draw):
    """Boxes that do not overlap, a cell of 16 pixels for each, at most 9."""
    places = draw(st.lists(st.integers(0, 8), unique=True, max_size=9))
    corners, scores, labels = [], [], []
    for place in places:
        x, y = 16 * (place % 3), 16 * (place // 3)
        w, h = draw(st.integers(4, 15)), draw(st.integers(4, 15))
        corners.append((x + 0.5, y + 0.5, x + w, y + h))
        scores.append(draw(st.integers(30, 99)) / 100)
        labels.append(draw(st.integers(0, LABELS - 1)))
    return corners, scores, labels


@pytest.mark.parametrize("layout", LAYOUTS)
@given(scattered())
def test_every_layout_gives_the_boxes_that_were_written(layout, written):
    write, outputs = LAYOUTS[layout]
    found = Detector.of(IMAGE, outputs).boxes(write(*written))
    corners, scores, labels = written
    if layout == "tensorflow":
        corners = [(y, x, v, u) for x, y, u, v in corners]
    order, mine = np.argsort(scores, kind="stable"), np.argsort(found.scores, kind="stable")
    assert found.scores[mine] == pytest.approx(np.array(scores)[order])
    pairs = sorted(zip(found.scores.round(2), map(tuple, found.corners.round(2)), found.labels,
                       strict=True))  # fmt: skip
    wanted = sorted(
        (round(s, 2), tuple(float(v) for v in c), float(k))
        for c, s, k in zip(corners, scores, labels, strict=True)
    )
    assert [each[0] for each in pairs] == pytest.approx([each[0] for each in wanted])
    for one, other in zip(pairs, wanted, strict=True):
        if [each[0] for each in wanted].count(other[0]) == 1:
            assert one[1] == pytest.approx(other[1], abs=0.02)
            assert one[2] == other[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_compares_the_same(layout):
    write, outputs = LAYOUTS[layout]
    task = Detector.of(IMAGE, outputs)
    whole = [(1, 1, 9, 9), (20, 20, 40, 40), (50, 2, 60, 12)], [0.9, 0.8, 0.7], [0, 1, 2]
    found = [(1, 1, 9, 9), (20, 20, 40, 40)], [0.85, 0.8], [0, 2]
    assert task.compare(write(*whole), write(*whole)).score == 1.0
    assert task.compare(write(*whole), write(*found)).score == 2 / 5
    none = [], [], []
    assert task.compare(write(*none), write(*none)).score is None
    assert not task.judge(write(*none)).says
    assert task.compare(write(*none), write(*found)) == (0.0, 1.0)


@pytest.mark.parametrize(
    "outputs",
    [
        [spec("y", None, 10)],
        [spec("y", None, 4 + LABELS, CELLS + 2)],
        [spec("y", None, 255, 8, 8)],
        [spec("y", None, 18, 7)],
        [spec("boxes", None, 20, 4), spec("scores", None, 20, 81)],
        [spec("boxes", None, 20, 4), spec("a", None, 20), spec("b", None, 20)],
        [spec("boxes", None, 20, 4), spec("boxes2", None, 20, 4), spec("scores", None, 20)],
    ],
)
def test_what_cannot_be_read_for_sure_is_refused_in_words(outputs):
    with pytest.raises(PlanError, match=r"is not known.*--agreement"):
        Detector.of(IMAGE, outputs)


def test_without_the_size_of_the_image_raw_boxes_are_not_sure():
    with pytest.raises(PlanError, match="neither side is the number of cells"):
        Detector.of([spec("x", None, 300)], LAYOUTS["yolo"][1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y.__setitem__((0, 0, 4), 50.0), "scores go from 0 to 50"),
        (lambda y: y.__setitem__((0, 0, 5), 0.5), "labels are no whole numbers"),
        (lambda y: y.__setitem__((0, 0, slice(0, 4)), (9, 9, 1, 1)), "corners are out of order"),
    ],
)
def test_an_answer_of_the_whole_network_that_holds_no_boxes_is_refused(change, words):
    write, outputs = LAYOUTS["six"]
    task = Detector.of(IMAGE, outputs)
    right = write([(1, 1, 9, 9)], [0.9], [0])
    wrong = {name: array.copy() for name, array in right.items()}
    change(wrong["y"])
    with pytest.raises(DataError, match=words):
        task.judge(wrong)


def test_a_plan_that_gives_nonsense_is_wrong_and_not_an_error():
    write, outputs = LAYOUTS["six"]
    task = Detector.of(IMAGE, outputs)
    whole = write([(1, 1, 9, 9)], [0.9], [0])
    for nonsense in (np.nan, np.inf, -3.0):
        found = {"y": np.full_like(whole["y"], nonsense)}
        assert task.compare(whole, found) == (0.0, 1.0)


def test_the_sides_of_the_image_are_those_of_the_grids():
    assert SIDE == 64
    assert CELLS == 84
    for anchors in (1, 3):
        layout, _ = "centre, sides, labels", None
        assert Detector.of(IMAGE, [spec("y", None, 5, anchors * CELLS)]).layout == layout

"""How far rows of scores are apart."""

import math

import numpy as np
import pytest

from shoal.task.divergence import divergence, probabilities


def test_divergence_is_nothing_for_equals_one_bit_for_strangers_and_between_for_others():
    scores = np.array([[5.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    apart = divergence(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert divergence(scores, scores) == pytest.approx([0.0, 0.0], abs=1e-12)
    assert apart[0] == pytest.approx(1.0)
    # JSD of (1/2, 1/2) and (1, 0): H(3/4, 1/4) - 1/2 H(1/2, 1/2).
    assert apart[1] == pytest.approx(0.8112781 - 0.5, abs=1e-6)


def test_scores_become_probabilities_and_probabilities_stay():
    assert probabilities(np.array([[0.0, math.log(3)]]))[0] == pytest.approx([0.25, 0.75])
    assert probabilities(np.array([[0.2, 0.8]]))[0] == pytest.approx([0.2, 0.8])
    huge = probabilities(np.array([[1e4, 0.0]], np.float32))
    assert huge[0] == pytest.approx([1.0, 0.0])


def test_probabilities_that_were_rounded_are_still_some() -> None:
    whole = np.full((1, 1000), 0.0005, np.float32)
    whole[0, 3] += 0.5
    found = whole.copy()
    found[0, 7] += 0.002
    assert divergence(whole, found)[0] < 1e-2
    assert divergence(whole, whole)[0] < 1e-12

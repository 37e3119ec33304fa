"""When two answers are the same."""

import numpy as np
import pytest

from shoal.errors import ProofError
from shoal.model.proof import check, difference, tolerance, worst


def array(*values, dtype="float32"):
    return np.array(values, dtype=dtype)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (array(1, 2), array(1, 2), 0),
        (array(1, 2), array(1, 2.5), 0.25),
        (array(0, 0), array(0, 0), 0),
        (array(1, np.nan), array(1, np.nan), 0),
        (array(1, np.inf), array(1, np.inf), 0),
        (array(1, np.inf), array(1, -np.inf), np.inf),
        (array(1, np.nan), array(1, 2), np.inf),
        (array(1, 2), array(1, np.nan), np.inf),
        (array(np.nan), array(np.nan), 0),
        (array(1), array(1, 2), np.inf),
        (array(1), array(1, dtype="float64"), np.inf),
        (array(), array(), 0),
        (array(200, dtype="uint8"), array(100, dtype="uint8"), 0.5),
        (array(True), array(False), 1),
        (array(0, dtype="int64"), array(1, dtype="int64"), 1),
        (array(0.5, 1, dtype="float16"), array(0.5, 1, dtype="float16"), 0),
    ],
)
def test_a_difference_is_relative_to_the_largest_value(a, b, expected):
    assert difference(a, b) == pytest.approx(expected)


def test_the_worst_output_counts():
    a = {"y": array(1), "z": array(2)}
    assert worst(a, {"y": array(1), "z": array(1)}, a) == pytest.approx(0.5)
    assert worst(a, a, []) == 0


def test_a_proof_names_what_differs():
    check({"y": array(1)}, {"y": array(1.00001)}, 1e-4, "net")
    with pytest.raises(ProofError, match=r"net: output 'y' differs by 0\.5"):
        check({"y": array(2)}, {"y": array(1)}, 1e-4, "net")
    with pytest.raises(ProofError, match="'y' is missing"):
        check({"y": array(2)}, {}, 1e-4, "net")
    with pytest.raises(ProofError):
        check({"y": array(2)}, {"y": array(np.nan)}, 1e-4, "net")


def test_networks_that_amplify_rounding_are_allowed_more_but_never_much():
    assert tolerance(0.0) == tolerance(1e-6) == 1e-4
    assert tolerance(1e-3) == pytest.approx(8e-3)
    assert tolerance(0.0, rough=True) == 2e-2
    assert tolerance(1.0) == tolerance(float("inf")) == 5e-2

"""CPU shares are measured against a machine that changes its speed. How right a lab is measures
``shoal lab check``; here it is the arithmetic."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.lab import probe
from shoal.lab.shares import ROUNDS, Turn, by_work


def turn(units: float, wall_s: float, cpu_s: float) -> Turn:
    return Turn(round(units), wall_s, cpu_s, (), 0.0)


@given(
    st.floats(0.01, 1.0),
    st.floats(1e6, 1e9),
    st.lists(st.floats(0.97, 1.03), min_size=ROUNDS, max_size=ROUNDS),
)
def test_a_machine_that_changes_its_speed_does_not_change_the_share(
    share: float, speed: float, changes: list[float]
) -> None:
    """Its speed doubles meanwhile, and wobbles: a turn has the mean of the speeds beside it."""
    speeds = [speed]
    for change in changes:
        speeds.append(speeds[-1] * change * 2 ** (1 / ROUNDS))
    wholes = [turn(each, 1.0, 1.0) for each in speeds]
    middles = [(a + b) / 2 for a, b in pairwise(speeds)]
    turns = [turn(middle * share * 3.0, 3.0, 3.0 * share) for middle in middles]
    assert by_work(wholes, turns) == pytest.approx([share] * ROUNDS, rel=1e-3)


def test_others_that_take_the_core_from_the_whole_do_not_count() -> None:
    """Work on the whole core counts by its CPU time, work in the host by the time that passed."""
    wholes = [turn(100, 2.0, 1.0), turn(100, 5.0, 1.0)]
    assert by_work(wholes, [turn(50, 1.0, 0.2)]) == [0.5]


@pytest.mark.skipif(sys.platform != "linux", reason="labs are tested on Linux")
def test_a_probe_works_for_as_long_as_it_is_told() -> None:
    core = max(os.sched_getaffinity(0))
    words = [sys.executable, "-I", "-S", probe.__file__, "turns", str(core)]
    done = subprocess.run(
        words, input="0.2 0 0\n0.2 0.1 1000\n", capture_output=True, text=True, check=True
    )
    whole, pieces = (json.loads(line) for line in done.stdout.splitlines())
    assert whole["wall_s"] >= 0.2
    assert 0 < whole["cpu_s"] <= whole["wall_s"] + 0.01
    assert whole["units"] > 0
    assert whole["piece_ms"] == []
    assert len(pieces["piece_ms"]) == pieces["units"] // 1000
    assert sum(pieces["piece_ms"]) <= 1000 * pieces["wall_s"] + 1

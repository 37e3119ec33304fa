"""CPU shares are measured against a machine that changes its speed. How right a lab is measures
``shoal lab check``; here it is the arithmetic."""

import json
import os
import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import LabError
from shoal_lab import probe
from shoal_lab.shares import GAP_S, Turn, Whole, by_all_work, by_work


def turn(began_s: float, speed: float, wall_s: float, share: float) -> Turn:
    """Work at a speed in units a second, for a share of the time."""
    return Turn(
        began_s=began_s, ended_s=began_s + wall_s, units=round(speed * share * wall_s),
        wall_s=wall_s, ran_s=share * wall_s, cpu_s=share * wall_s, piece_ms=(),
        chunk_us=(1e6 / speed,), longest_pause_ms=0.0,
    )  # fmt: skip


@given(st.floats(0.01, 0.9), st.lists(st.floats(1e6, 1e9), min_size=1, max_size=20))
def test_a_machine_that_changes_its_speed_does_not_change_the_share(
    share: float, speeds: list[float]
) -> None:
    """It has another speed in each turn of a second, and the work outside takes the rest of it."""
    at_s, units, cpu_s, chunk_us = [0.0], [0.0], [0.0], [0.0]
    turns = []
    for number, speed in enumerate(speeds):
        turns.append(turn(number + GAP_S + 0.05, speed, 0.7, share))
        at_s.append(number + 1.0)
        units.append(units[-1] + speed * (1 - share))
        cpu_s.append(cpu_s[-1] + 1 - share)
        chunk_us.append(1e6 / speed)
    whole = Whole(tuple(at_s), tuple(map(round, units)), tuple(cpu_s), tuple(chunk_us))
    for way in (by_work, by_all_work):
        assert way(whole, turns) == pytest.approx([share] * len(speeds), rel=1e-3)


def test_a_neighbour_that_disturbs_one_of_both_does_not_change_the_share() -> None:
    """Half of all moments in the host are slow, and most of its work is done in the others."""
    whole = Whole((0.0, 5.0), (0, 1000), (0.0, 1.0), (0.0, 1.0))
    disturbed = msgspec.structs.replace(
        turn(1.0, 1000, 1.0, 0.5), units=375, chunk_us=(1.0, 2.0, 1.0, 2.0, 1.01, 2.0)
    )
    assert by_work(whole, [disturbed]) == pytest.approx([0.5])
    assert by_all_work(whole, [disturbed]) == pytest.approx([0.375]), "and that is told"


def test_a_host_whose_core_is_slower_has_less() -> None:
    whole = Whole((0.0, 5.0), (0, 1000), (0.0, 1.0), (0.0, 1000.0))
    assert by_work(whole, [turn(1.0, 800, 1.0, 0.5)]) == pytest.approx([0.4])


def test_a_machine_that_has_no_time_to_measure_itself_is_told() -> None:
    for whole in (Whole((), (), (), ()), Whole((0.0, 1.0), (5, 5), (1.0, 1.0), (1.0, 1.0))):
        with pytest.raises(LabError, match="busy"):
            whole.speed(0.0, 1.0)


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
    assert 0 < whole["ran_s"] <= whole["wall_s"] + 0.01
    assert min(whole["chunk_us"]) > 0
    assert whole["units"] > 0
    assert whole["piece_ms"] == []
    assert len(pieces["piece_ms"]) == pieces["units"] // 1000
    assert sum(pieces["piece_ms"]) <= 1000 * pieces["wall_s"] + 1


@pytest.mark.skipif(sys.platform != "linux", reason="labs are tested on Linux")
def test_work_beside_it_goes_on_until_it_is_ended() -> None:
    words = [sys.executable, "-I", "-S", probe.__file__, "fill", str(max(os.sched_getaffinity(0)))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        time.sleep(0.5)
        out, _ = process.communicate(timeout=60)
    log = json.loads(out)
    assert len(log["at_s"]) == len(log["units"]) == len(log["cpu_s"]) == len(log["chunk_us"])
    assert log["at_s"] == sorted(log["at_s"])
    assert log["units"][0] == 0

"""Traces: what ships, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import LabFileError
from shoal_lab.trace import HEADER, SHIPPED, Sample, load_trace, parse_trace

HEAD = ",".join(HEADER) + "\n"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_traces_are_whole(name: str) -> None:
    trace = load_trace(name, Path())
    assert trace.length_s >= 20
    assert trace.step_s == 1.0


def test_the_walk_goes_up_and_down_and_the_square_jumps() -> None:
    walk = [sample.down_mbit for sample in load_trace("walk", Path()).samples]
    assert max(walk) > 30
    assert min(walk) < 2
    assert {sample.up_mbit for sample in load_trace("square", Path()).samples} == {2, 20}
    assert {sample.down_mbit for sample in load_trace("steady", Path()).samples} == {20}


def test_a_sample_holds_until_the_next_and_the_trace_begins_again() -> None:
    trace = parse_trace(HEAD + "0,1,2,10\n0.5,3,4,20\n", "mine")
    assert trace.at(0) == trace.at(0.49) == trace.at(1.0) == Sample(0, 1, 2, 10)
    assert trace.at(0.5) == trace.at(1.99) == Sample(0.5, 3, 4, 20)


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(0.1, 5), st.integers(0, 300))
def test_every_step_of_every_round_is_found(rows: int, step_s: float, at: int) -> None:
    text = HEAD + "".join(f"{i * step_s!r},{i + 1},1,0\n" for i in range(rows))
    trace = parse_trace(text, "mine")
    assert trace.at(at * trace.step_s).down_mbit == at % rows + 1


WRONG = {
    "empty": ("", "first line"),
    "another header": ("t,d,u,r\n0,1,1,1\n", "first line"),
    "no rows": (HEAD, "no row"),
    "a late start": (HEAD + "1,1,1,1\n", "start it at 0"),
    "a negative time": (HEAD + "-1,1,1,1\n", "time_s is -1"),
    "a gap": (HEAD + "0,1,1,1\n1,1,1,1\n3,1,1,1\n", "line 4: a gap: 2 s"),
    "time that goes back": (HEAD + "0,1,1,1\n1,1,1,1\n0.5,1,1,1\n", "goes back"),
    "time that stands": (HEAD + "0,1,1,1\n0,1,1,1\n", "goes back"),
    "an empty cell": (HEAD + "0,1,,1\n", "up_mbit is ''"),
    "a missing cell": (HEAD + "0,1,1\n", "3 values where 4"),
    "a word": (HEAD + "0,fast,1,1\n", "down_mbit is 'fast'"),
    "a rate of 0": (HEAD + "0,0,1,1\n", "use the fault 'cut'"),
    "a rate that is no number": (HEAD + "0,nan,1,1\n", "down_mbit is nan"),
    "a negative round trip": (HEAD + "0,1,1,-5\n", "rtt_ms is -5"),
    "steps too short": (HEAD + "0,1,1,1\n0.01,1,1,1\n", "at least"),
    "too many rows": (HEAD + "0,1,1,1\n" * 100_001, "more than 100000"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_trace_is_refused_with_its_line(case: str) -> None:
    text, words = WRONG[case]
    with pytest.raises(LabFileError, match="trace mine") as caught:
        parse_trace(text, "mine")
    assert words in str(caught.value)


def test_a_trace_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as huge:
        huge.truncate(11 << 20)
    with pytest.raises(LabFileError, match="larger than"):
        load_trace("huge.csv", tmp_path)

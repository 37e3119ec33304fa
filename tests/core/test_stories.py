"""Every story in the folder: told again, it is the same (see ``tests/core/playing.py``)."""

from pathlib import Path

import pytest
from tests.core.playing import Player, play

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


def test_there_are_stories() -> None:
    assert len(STORIES) > 8


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_is_as_it_was_told(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert play(text) == text, f"python -m tests.core.playing {path} prints it as it is now"


ASKED = """gateway of a
plan a: a 0-12

     0 ms  asked 0, within 1000 ms
         -> a: task 0.1, stage 0 of a, route a
"""


def test_what_is_not_so_is_seen() -> None:
    assert play(ASKED) == ASKED
    assert play(ASKED.replace("-> a:", "-> b:")) == ASKED


def test_no_time_passes_at_which_the_node_wanted_to_be_woken() -> None:
    with pytest.raises(AssertionError, match="wanted to be woken at 600 ms"):
        play(ASKED + "   900 ms  asked 1, within 1000 ms\n")
    with pytest.raises(AssertionError, match="did not want to be woken before 600 ms"):
        play(ASKED + "    90 ms  tick\n")


def test_words_that_mean_nothing_are_told() -> None:
    with pytest.raises(AssertionError, match="nothing is known that is told so: 'a explodes'"):
        play(ASKED + "    90 ms  a explodes\n")


def test_a_story_without_arrows_gets_them() -> None:
    events = "".join(line for line in ASKED.splitlines(keepends=True) if "->" not in line)
    assert play(events) == ASKED
    assert Player(events.splitlines()).plans.keys() == {"a"}

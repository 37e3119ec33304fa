"""What the demo's third act tells of its requests; that it plays is tried with the whole demo."""

from typing import Any

import pytest
from rich.console import Console

from shoal.cli.dealt import act_text, facts, scenes_of, words
from shoal.observe.load_generator import Record


def record(asked_s: float, answered_s: float, best: int = 3, degraded: bool = False) -> Record:
    return Record(0, asked_s, answered_s, "p", ("a", "b"), 1, best, False, degraded)


RECORDS = [
    record(0.0, 9.9),
    record(9.8, 10.0),
    record(9.9, 10.4, degraded=True),
    record(10.0, 10.1, best=4, degraded=True),
    record(11.0, 11.1, degraded=True),
]


def test_what_was_under_way_when_a_worker_died_is_told_from_the_rest() -> None:
    found = scenes_of(RECORDS, 10.0, [3])
    assert [found[name]["answered"] for name in ("before", "in", "after")] == [1, 2, 2]
    assert [found[name]["degraded"] for name in ("before", "in", "after")] == [0.0, 0.5, 1.0]
    assert [found[name]["right"] for name in ("before", "in", "after")] == [1.0, 1.0, 0.5]
    assert found["in"]["slowest_ms"] == pytest.approx(500)
    assert facts([], [3]) == {"answered": 0, "degraded": 0.0, "right": 0.0, "slowest_ms": 0.0}


def outcome(lost: int = 0) -> dict[str, Any]:
    """As the act gives it."""
    return {
        "workers": 4,
        "killed": "worker-4",
        "asked": 5 + lost,
        "answered": 5,
        "lost": lost,
        "answered_twice": 0,
        "different_from_whole_network": 0,
        "proved": 0.875,
        "scenes": scenes_of(RECORDS, 10.0, [3]),
    }


@pytest.mark.parametrize(("lost", "colour"), [(0, "green"), (1, "red")])
def test_it_is_told_in_words(lost: int, colour: str) -> None:
    found = outcome(lost)
    console = Console(record=True, width=80, force_terminal=True)
    console.print(act_text(found))
    styled = console.export_text(styles=True, clear=False)
    assert {"green": "\x1b[1;32m", "red": "\x1b[1;31m"}[colour] in styled
    text = " ".join(console.export_text().split())
    assert f"{5 + lost} asked, 5 answered, {lost} lost, 0 twice, 0 wrong" in text
    assert "without worker-4 at least 87.5% of what that gets right" in text
    assert "while worker-4 dies 2 50% 100.0% 500" in text
    assert "degraded 60%" in " ".join(words(RECORDS, [3], 0)).replace("  ", " ")

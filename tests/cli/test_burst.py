"""What the demo's last act tells; that it plays is tried with the whole demo."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from shoal.cli.burst import EACH_S, act_text, scene
from shoal.sim.outcome import Moment

MOMENTS = [
    Moment(1.0, asked=60, answered=30, refused=20, late=10, exits={"early": 15}),
    Moment(2.0, asked=40, answered=10, exits={"early": 5}, thresholds={"early": 0.5}),
]


def test_a_scene_is_told_from_its_moments() -> None:
    found = scene(MOMENTS, "early")
    assert found == {
        "asked_per_s": 100 / EACH_S,
        "answered_per_s": 40 / EACH_S,
        "refused": 0.2,
        "late": 0.1,
        "first_exit": 0.5,
        "threshold": 0.5,
    }
    assert set(scene([], "early").values()) == {0.0}


@pytest.mark.parametrize(("lost", "colour"), [(0, "green"), (1, "red")])
def test_it_is_told_in_words(lost: int, colour: str) -> None:
    found: dict[str, Any] = {
        "asked": 1000,
        "answered": 800,
        "refused": 190,
        "late": 10 - lost,
        "lost": lost,
        "accuracy": 0.917,
        "scenes": {"burst": scene(MOMENTS, "early")},
    }
    console = Console(record=True, width=80, force_terminal=True)
    console.print(act_text(found))
    styled = console.export_text(styles=True, clear=False)
    assert {"green": "\x1b[1;32m", "red": "\x1b[1;31m"}[colour] in styled
    text = " ".join(console.export_text().split())
    assert f"1,000 asked, 800 answered, 190 refused at once, {10 - lost} late, {lost} lost." in text
    assert "91.7% of the answers right" in text
    assert "burst 10 4 20% 10.0% 50% 0.50" in text

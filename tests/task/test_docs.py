"""What docs/tasks.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.task.answers import IMAGE, LAYOUTS

from shoal.task import decoders, guesses, own
from shoal.task.choose import MAKERS
from shoal.task.detector import LEAST_SCORE, MOST_IOU, SAME_IOU, Detector

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_every_task_is_in_the_table() -> None:
    for name in MAKERS:
        assert f"| `{name}` | " in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"overlaps by {SAME_IOU:g} (IoU) or more" in PAGE
    assert f"overlap by more than {MOST_IOU:g}" in PAGE
    assert f"score below {LEAST_SCORE:g} do not count" in PAGE
    assert f"more than {own.SLOW_S:g} s for one image" in PAGE
    assert f"a row of {guesses.LEAST_CLASSES} or more scores" in PAGE
    assert f"no multiple of {guesses.WIDTH} " in PAGE
    assert f"strides of {', '.join(map(str, decoders.STRIDES[0]))} and" in PAGE
    assert decoders.ANCHORS == (1, 3)


def test_every_layout_is_in_the_table() -> None:
    """In the order of the table, which the module has too."""
    table = PAGE[PAGE.index("## Boxes") : PAGE.index("## A function")]
    rows = re.findall(r"^\| .*`\[.*$", table, re.MULTILINE)
    read = {Detector.of(IMAGE, outputs).layout for _, outputs in LAYOUTS.values()}
    assert len(rows) == len(read) == 7
    assert decoders.__doc__ is not None
    assert len(re.findall(r"^\| .*``\[.*$", decoders.__doc__, re.MULTILINE)) == len(rows)


def test_the_function_of_the_page_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(# mine.py.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "mine.py"
    file.write_text(text)
    task = own.Own.of(f"{file}:alike")
    notes, others = ({"notes": np.float32([each])} for each in ([0.9, 0.1], [0.9, 0.8]))
    assert task.compare(notes, others).score == pytest.approx(0.5)
    assert task.compare({"notes": np.zeros((1, 2))}, others).score is None

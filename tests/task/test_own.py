"""A function of the user's own."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from tests.task.answers import row

from shoal.errors import DataError
from shoal.task import own
from shoal.task.own import Own


def written(tmp_path, body, name="alike"):
    file = tmp_path / "own.py"
    file.write_text(f"import time\nimport numpy as np\n\ndef alike(whole, found):\n    {body}\n")
    return Own.of(f"{file}:{name}")


def test_it_gets_all_outputs_and_gives_the_score(tmp_path):
    task = written(tmp_path, "return float(np.mean(whole['y'] == found['y']))")
    assert task.compare(row([1, 2, 3, 4]), row([1, 2, 3, 5])) == (0.75, 0.25)
    assert task.compare(row([1, 2]), row([1, 2])) == (1.0, 0.0)
    assert task.measured == "answers (by own.py:alike)"


def test_another_text_of_the_file_is_another_function(tmp_path):
    one = written(tmp_path, "return 1")
    other = written(tmp_path, "return 0")
    assert one.key != other.key
    assert (one.compare(row([1]), row([1])).score, other.compare(row([1]), row([1])).score) == (
        1,
        0,
    )


def test_none_says_nothing(tmp_path):
    task = written(tmp_path, "return None if not whole['y'].any() else 1")
    assert task.compare(row([0]), row([0])).score is None
    assert not task.judge(row([0])).says
    assert task.judge(row([1])).says


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1 / 0", r"own\.py:alike raised ZeroDivisionError: division by zero"),
        ("return found['z']", "raised KeyError"),
        ("found['y'][:] = 0; return 1", "raised ValueError.*read-only"),
        ("return float('nan')", "gave nan: give a number from 0"),
        ("return 1.5", "gave 1.5"),
        ("return -0.1", "gave -0.1"),
        ("return 'good'", "gave 'good'"),
        ("return np.ones(3)", "gave array"),
    ],
)
def test_what_is_no_share_is_told(tmp_path, body, words):
    with pytest.raises(DataError, match=words):
        written(tmp_path, body).compare(row([1, 2]), row([1, 2]))


def test_a_slow_one_is_refused_and_told_how_long_it_took(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "SLOW_S", 0.05)
    task = written(tmp_path, "time.sleep(0.2); return 1")
    with pytest.raises(DataError, match=r"took 0\.[2-9] s for one image"):
        task.judge(row([1]))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("nowhere.py:alike", "cannot read nowhere.py"),
        ("nowhere.py", "names no function; write --agreement FILE.py:FUNCTION"),
        ("x.py:", "names no function"),
    ],
)
def test_a_function_that_is_not_there_is_told(where, words):
    with pytest.raises(DataError, match=words):
        Own.of(where)


def test_a_file_that_has_no_such_function_or_does_not_run_is_told(tmp_path):
    with pytest.raises(DataError, match="has no function 'other'"):
        written(tmp_path, "return 1", name="other")
    file = tmp_path / "broken.py"
    file.write_text("import nothing_of_that_name")
    with pytest.raises(DataError, match="does not run: ModuleNotFoundError"):
        Own.of(f"{file}:alike")
    file.write_text("def (")
    with pytest.raises(DataError, match="does not run: SyntaxError"):
        Own.of(f"{file}:alike")


def test_classes_of_the_file_find_their_module(tmp_path):
    file = tmp_path / "typed.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass One:\n    x: float\n\n"
        "def alike(whole, found):\n    return One(0.5).x\n"
    )
    assert Own.of(f"{file}:alike").compare(row([1]), row([1])).score == np.float64(0.5)


def test_what_is_written_is_what_runs(tmp_path, monkeypatch) -> None:
    """Not what was compiled of another text of the same size a moment before."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, found = tmp_path / "mine.py", []
    for score in ("0.25", "0.75"):
        path.write_text(f"def mine(whole, found):\n    return {score}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        module = own._module(path, score)
        found.append(module.mine({}, {}))
    assert found == [0.25, 0.75]
    assert not (tmp_path / "__pycache__").exists()

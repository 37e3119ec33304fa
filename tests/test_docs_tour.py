"""docs/tour.md leads to files and names that there are, and requests take the way that it tells."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.core.toys import Story, one, pipeline, plan, playbook

from shoal.core.actions import Send
from shoal.core.messages import News

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "shoal"
PAGE = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")

DEVICES = ("worker-1", "worker-2")
LINE = pipeline("line", *DEVICES)
SPARE = plan("spare", one(0, 6, ["worker-1"]), one(6, 12, ["worker-1"]))


def blocks() -> Iterator[str]:
    """Each paragraph, item of a list and row of a table."""
    block = ""
    for line in PAGE.splitlines():
        if not line.strip() or line.startswith(("- ", "|", "#")):
            yield block
            block = ""
        block += f"{line}\n"
    yield block


@cache
def defined(path: Path) -> frozenset[str]:
    """Classes, functions and methods (``Class.method``) of a file."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
            inner = (each for each in node.body if isinstance(each, ast.FunctionDef))
            names.update(f"{node.name}.{each.name}" for each in inner)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return frozenset(names)


def test_every_file_is_there() -> None:
    paths = re.findall(r"`([\w/]+\.py)`", PAGE)
    assert len(set(paths)) > 40
    assert [path for path in paths if not (SOURCE / path).is_file()] == []


@pytest.mark.parametrize("block", [block for block in blocks() if "()`" in block])
def test_every_function_is_in_a_file_that_is_named_beside_it(block: str) -> None:
    files = [SOURCE / path for path in re.findall(r"`([\w/]+\.py)`", block)]
    there = frozenset[str]().union(*map(defined, files))
    names = re.findall(r"`([\w.]+)\(\)`", block)
    assert names
    assert [name for name in names if name not in there] == []


def test_every_class_is_there() -> None:
    there = frozenset[str]().union(*map(defined, SOURCE.rglob("*.py")))
    names = {name for name in re.findall(r"`([A-Z]\w+)`", PAGE) if not name.isupper()}
    assert {"Submitted", "Task", "Itinerary", "Deliver", "Resume"} <= names
    assert names - there == set()


def test_it_is_short() -> None:
    assert len(PAGE.splitlines()) <= 200


def test_others_lead_to_it() -> None:
    for page, link in (("README.md", "docs/tour.md"), ("docs/architecture.md", "(tour.md)")):
        assert link in (ROOT / page).read_text(encoding="utf-8")


class Way:
    """Who says what to whom about requests."""

    def __init__(self, story: Story) -> None:
        self.said: list[tuple[str, str, str]] = []
        story.world.watch = self._note

    def _note(self, node: Any, event: Any, actions: Any) -> None:
        for action in actions:
            if isinstance(action, Send) and not isinstance(action.message, News):
                self.said.append((node.name, type(action.message).__name__, action.to))


def test_the_request_of_the_tour_takes_this_way() -> None:
    story = Story(DEVICES, playbook(LINE, SPARE))
    story.world.run(1.0)
    way = Way(story)
    story.ask()
    story.answers()
    story.world.run(2.0)
    assert way.said[:3] == [
        ("g", "Task", "worker-1"),
        ("worker-1", "Task", "worker-2"),
        ("worker-2", "Answered", "g"),
    ]
    assert sorted(way.said[3:]) == [("g", "Forget", name) for name in DEVICES]


def test_the_request_of_the_tour_goes_on_where_worker_2_died() -> None:
    story = Story(DEVICES, playbook(LINE, SPARE))
    story.world.run(1.0)
    way = Way(story)
    story.ask()
    story.world.run(0.015)
    story.world.kill("worker-2")
    (answer,) = story.answers()
    story.world.run(1.0)
    assert (answer.plan, answer.attempts) == ("spare", 2)
    assert way.said[:2] == [("g", "Task", "worker-1"), ("worker-1", "Task", "worker-2")]
    assert {("g", "Resume", "worker-1"), ("worker-1", "Refused", "g")} <= set(way.said)
    assert [said for said in way.said if said[1] in ("Trial", "Leave", "Answered")] == [
        ("worker-1", "Trial", "g"),
        ("g", "Leave", "worker-1"),
        ("worker-1", "Answered", "g"),
        ("worker-1", "Trial", "g"),
        ("g", "Leave", "worker-1"),
    ]

"""The tests of the ``onnx`` package: of those that ONNX Runtime passes, how many Shoal does, the
network cut at every cut. A whole run writes docs/conformance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from shoal import allowance
from shoal_benchmarks.environment import environment
from shoal_benchmarks.networks.fenced import run_all, tests
from shoal_benchmarks.networks.page import page
from shoal_benchmarks.networks.suite import ENDED, REFUSED, RIGHT, Outcome
from shoal_benchmarks.row import Row, row

PAGE = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"
QUICK_EVERY = 10
"""A quick run takes every tenth test."""
LINE = 500
"""Characters of a line that is still clear."""


def rows(quick: bool) -> Iterator[Row]:
    """Run the tests, and count."""
    chosen = tests()[:: QUICK_EVERY if quick else 1]
    outcomes = list(run_all(chosen, max(1, round(allowance.cores()))))
    if not quick:
        PAGE.write_text(page(outcomes, environment()), encoding="utf-8")
    yield from counted(outcomes)


def counted(outcomes: Sequence[Outcome]) -> Iterator[Row]:
    """The rows for what came of the tests."""
    passed = [each for each in outcomes if not each.engine]
    right = [each for each in passed if each.shoal == RIGHT]
    refused = [each for each in passed if each.shoal == REFUSED]
    failed = len(passed) - len(right) - len(refused)
    # What the engine fails as well may be refused, or fail; but it may not end a process.
    ended = sum(each.shoal in ENDED for each in outcomes if each.engine)
    yield row("tests of onnx", len(outcomes), "tests")
    yield row("of them, those that ONNX Runtime passes", len(passed), "tests")
    share = len(right) / len(passed) if passed else float("nan")
    yield row("of these, right whole and at every cut", share, "ratio", ">= 0.95")
    yield row("of these, right once their inputs are the example",
              sum(each.by_example for each in right), "tests")  # fmt: skip
    yield row("of these, refused", len(refused), "tests")
    unclear = sum("\n" in each.why or len(each.why) > LINE for each in refused)
    yield row("of these, refused in other than one clear line", unclear, "tests", "= 0")
    yield row("of these, wrong, crashed or hung", failed, "tests", "= 0")
    yield row("of the others, crashed or hung", ended, "tests", "= 0")
    yield row("cuts that were tried", sum(each.cuts for each in right), "cuts")

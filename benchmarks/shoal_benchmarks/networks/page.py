"""docs/conformance.md, from what came of the tests."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from shoal_benchmarks.networks.backend import MOST_CUTS
from shoal_benchmarks.networks.suite import GROUPS, HALVES, REFUSED, RIGHT, Outcome

SHOWN = 3
"""Names of tests that are shown for a reason."""

_HEAD = """# Conformance

The tests of the `onnx` package, run through Shoal as a backend of it. This page is made by
`shoal bench networks.conformance`, on {where}.

A test is a network, inputs, and what must come of them. Each network is run whole, cut at every cut
into two parts (at {cuts} of them, spread evenly, where there are more), and cut at all of these at
once; what goes from part to part is packed and unpacked losslessly. Each time the test's own
comparison has to hold; where 16-bit floats are sent or given, which are rounded once more at a cut,
to {rtol:.1g} of the value and {atol:.1g}. A network is loaded as it is; where made-up inputs do not
do for it, its sizes are free, or its inputs hold NaN or infinity, with the test's inputs as the
example. What ONNX Runtime by itself does not pass is not counted. *Failed* is all that is neither
right nor refused by an error of Shoal's own: a wrong answer, any other error, a process that ended,
more than two minutes.

The group `real` is not run: its networks are downloaded, or their weights are all the same.
"""


def page(outcomes: Sequence[Outcome], where: str) -> str:
    """The page for what came of all tests, ``where`` they were run."""
    counted = [each for each in outcomes if not each.engine]
    refused = [each for each in counted if each.shoal == REFUSED]
    failed = [each for each in counted if each.shoal not in (RIGHT, REFUSED)]
    head = _HEAD.format(where=where, cuts=MOST_CUTS, **HALVES)
    sections = [head, _groups(outcomes), "## Refused\n", _reasons(refused)]
    if failed:
        sections += ["## Failed\n", _table(
            ("test", "what", "why"),
            ((f"`{each.name}`", each.shoal, _cell(each.why)) for each in failed),
        )]  # fmt: skip
    return "\n".join([*sections, "## By operator\n", _operators(counted)])


def _groups(outcomes: Sequence[Outcome]) -> str:
    lines = []
    for group in GROUPS.values():
        found = [each for each in outcomes if each.group == group]
        passed = [each for each in found if not each.engine]
        right = [each for each in passed if each.shoal == RIGHT]
        refused = sum(each.shoal == REFUSED for each in passed)
        numbers = (
            len(found), len(passed), len(right), sum(each.by_example for each in right), refused,
            len(passed) - len(right) - refused, sum(each.cuts for each in right),
        )  # fmt: skip
        lines.append((group, *map(str, numbers)))
    titles = (
        "group", "tests", "ONNX Runtime passes", "right", "of these by example", "refused",
        "failed", "cuts",
    )  # fmt: skip
    totals = (str(sum(int(line[k]) for line in lines)) for k in range(1, len(titles)))
    return _table(titles, [*lines, ("all", *totals)])


def _reasons(refused: Sequence[Outcome]) -> str:
    """Why tests are refused, the most frequent reason first."""
    lines = []
    for reason, found in _by(refused, lambda each: reason_of(each.why)):
        names = ", ".join(f"`{each.name}`" for each in found[:SHOWN])
        lines.append((str(len(found)), _cell(reason), names + (", ..." if found[SHOWN:] else "")))
    return _table(("tests", "why", "which"), lines)


def reason_of(why: str) -> str:
    """A reason without the names of nodes, tensors and networks in it."""
    return re.sub(r"\b\d+\b", "N", re.sub(r"'[^']*'", "'...'", why))


def _operators(counted: Sequence[Outcome]) -> str:
    """Counts by operator, of the tests of single ones; those of which all is right in a list."""
    of = operators(counted)
    lines, well = [], []
    for operator, found in sorted(_by((e for e in counted if e.name in of), lambda e: of[e.name])):
        states = Counter(each.shoal for each in found)
        if states[RIGHT] == len(found):
            well.append(f"{operator} ({len(found)})")
            continue
        failed = len(found) - states[RIGHT] - states[REFUSED]
        numbers = (len(found), states[RIGHT], states[REFUSED], failed)
        lines.append((operator, *map(str, numbers)))
    table = _table(("operator", "tests", "right", "refused", "failed"), lines)
    return f"{table}\nAll of their tests are right: {', '.join(well)}.\n"


def operators(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The operator that a test of the group ``node`` is about. A test of the functions that stand
    for an operator is called after one of the operator itself."""
    single = {
        each.name: each.operators[0]
        for each in outcomes
        if each.group == "node" and len(each.operators) == 1
    }
    found = {}
    for each in outcomes:
        if each.group == "node":
            own = single.get(each.name.partition("_expanded")[0])
            found[each.name] = own or (each.operators or ("?",))[-1]
    return found


def _by(
    outcomes: Iterable[Outcome], key: Callable[[Outcome], str]
) -> list[tuple[str, list[Outcome]]]:
    groups: Mapping[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        groups[key(each)].append(each)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    shown = [titles, ["---"] * len(titles), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)

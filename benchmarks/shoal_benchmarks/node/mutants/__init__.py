"""Mistakes that are made on purpose, and how many of them a fast test notices.

Small changes are drawn at random over what decides (:data:`SCOPES`), each is made in a copy of the
project, and the fast tests (:data:`TESTS`) that run what was changed are run until one fails. One
that changes no behaviour can be noticed by nobody: those that were looked at are named, with the
reason, in ``same.txt``.

``SHOAL_SEED`` draws the same ones again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shoal.errors import UsageError
from shoal_benchmarks.node.mutants.runner import Done
from shoal_benchmarks.node.mutants.sites import Mutant, draw, mutants_of
from shoal_benchmarks.node.mutants.trial import ROOT, Trial, files_of
from shoal_benchmarks.row import Row, row

DRAWN, QUICK = 300, 10
SCOPES = {
    "core": ("src/shoal/core/**/*.py",),
    "plan": ("src/shoal/plan/*.py",),
    "policies": (
        "src/shoal/strategies/preferred.py",
        "src/shoal/strategies/*/policy.py",
        "src/shoal/strategies/fluid/deal.py",
        "src/shoal/strategies/split/decide.py",
        "src/shoal/strategies/split/choice.py",
        "src/shoal/strategies/split/estimates.py",
        "src/shoal/strategies/split/probes.py",
    ),
    "proof": ("src/shoal/model/proof.py",),
    "shapes": ("src/shoal/model/shapes.py",),
    "cuts": ("src/shoal/model/cuts.py",),
    "codec": ("src/shoal/codec/*.py",),
    "wire": ("src/shoal/runtime/wire.py", "src/shoal/model/wire.py"),
    "outbox": (
        "src/shoal/runtime/outbox.py",
        "src/shoal/mesh/sender.py",
        "src/shoal/mesh/frames.py",
        "src/shoal/mesh/rate.py",
        "src/shoal/mesh/uptake.py",
    ),
    "greeting": ("src/shoal/mesh/greeting.py", "src/shoal/mesh/hello.py"),
}
"""What mistakes are made in."""
TESTS = (
    "tests/core/**/test_*.py",
    "tests/plan/test_*.py",
    "tests/codec/test_*.py",
    "tests/strategies/test_*.py",
    "tests/sim/test_*.py",
    *(f"tests/model/test_{name}.py" for name in ("cuts", "evidence", "proof*", "shapes", "wire")),
    *(f"tests/runtime/test_{name}.py" for name in ("outbox", "wire*")),
    *(f"tests/mesh/test_{name}.py" for name in ("frames", "greeting", "hello", "rate*")),
    *(f"tests/mesh/test_{name}.py" for name in ("receiver", "sender", "uptake")),
)
"""The fast tests of these: nothing in them starts more than threads, and none takes long."""
SAME = Path(__file__).with_name("same.txt")


@dataclass
class Tally:
    """What became of the changes to one scope."""

    caught: int = 0
    survived: int = 0
    same: int = 0

    @property
    def share(self) -> float:
        """Of those that change behaviour, those that were caught, in percent."""
        changed = self.caught + self.survived
        return 100 * self.caught / changed if changed else float("nan")


def rows(quick: bool) -> Iterator[Row]:
    """Survivors and what changes no behaviour as they are met, then the counts."""
    seed = _seed()
    yield row("mutants: seed", seed, "seed")
    drawn = draw(
        [each for path in scope_of() for each in _all_of(path)], QUICK if quick else DRAWN, seed
    )
    yield row("mutants: drawn", len(drawn), "mutants")
    same, scopes = known(SAME.read_text(encoding="utf-8")), scope_of()
    tallies = {scope: Tally() for scope in SCOPES}
    with Trial() as trial:
        reach = {file: trial.watched(file) for file in files_of(TESTS)}
        failing = [file for file, seen in reach.items() if seen.failed]
        yield row("mutants: files of tests that fail without any", len(failing), "files", "= 0")
        reach = {file: seen for file, seen in reach.items() if not seen.failed}
        for mutant in drawn:
            tally = tallies[scopes[mutant.path]]
            yield from counted(mutant, trial.tried(mutant, reach), tally, same)
    yield from rows_of(tallies)


def counted(mutant: Mutant, done: Done, tally: Tally, same: Mapping[str, str]) -> Iterator[Row]:
    """Count one; a row if nothing noticed it."""
    if done.failed:
        tally.caught += 1
    elif (why := same.get(key_of(mutant))) is not None:
        tally.same += 1
        yield row(f"changes nothing: {mutant} ({why})", 1, "mutants")
    else:
        tally.survived += 1
        yield row(f"survived: {mutant}", 1, "mutants")


def rows_of(tallies: Mapping[str, Tally]) -> Iterator[Row]:
    """The counts, by scope and of all."""
    for scope, tally in tallies.items():
        if tally.caught + tally.survived:
            yield row(f"mutants of {scope} that are caught", tally.share, "%")
    every = Tally(
        *(sum(getattr(tally, name) for tally in tallies.values()) for name in vars(Tally()))
    )
    yield row("mutants: change nothing", every.same, "mutants")
    yield row("mutants: change behaviour", every.caught + every.survived, "mutants")
    yield row("mutants: survived", every.survived, "mutants")
    yield row("mutants: caught of those that change behaviour", every.share, "%", ">= 95")


def known(text: str) -> dict[str, str]:
    """What changes no behaviour, with the reason: in blocks of a reason, and the changes that it
    is the reason of, as ``path: before -> after``, indented."""
    found: dict[str, str] = {}
    why = ""
    for line in text.splitlines():
        if line.startswith(" "):
            found[line.strip()] = why
        elif line and not line.startswith("#"):
            why = line
    return found


def key_of(mutant: Mutant) -> str:
    """A change, wherever its line is by now."""
    return f"{mutant.path}: {mutant.before} -> {mutant.after}"


def scope_of() -> dict[str, str]:
    """The scope of each file."""
    return {path: scope for scope, patterns in SCOPES.items() for path in files_of(patterns)}


def _all_of(path: str) -> list[Mutant]:
    return mutants_of(path, (ROOT / path).read_bytes())


def _seed() -> int:
    given = os.environ.get("SHOAL_SEED")
    if given is None:
        return random.SystemRandom().randrange(10**6)
    if not given.isdecimal():
        raise UsageError(f"SHOAL_SEED is {given!r}; it must be a whole number")
    return int(given)

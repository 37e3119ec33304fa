"""What the trainings gave that are recorded in the zoo: nothing is trained here."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import nan
from pathlib import Path

import msgspec

from shoal import zoo
from shoal.zoo.entries import folder
from shoal_benchmarks.row import Row, row

CHANCE = 0.1
"""Of ten classes."""
RUNS = "runs.json"
MAX_BYTES = 1 << 22


class Run(msgspec.Struct, frozen=True):
    """A training. ``owners`` devices; ``accuracy`` by sub-network, ``apart`` where each device runs
    its own groups alone and the logits are added; ``images`` test images."""

    data: str
    kind: str
    model: str
    owners: int
    epochs: int
    seed: int
    images: int
    accuracy: dict[str, float]
    apart: dict[str, float] = {}

    def of(self, name: str) -> float:
        """The accuracy of a sub-network; NaN when it was not measured."""
        return self.accuracy.get(name, nan)


def recorded(data: str) -> list[Run]:
    """The trainings on ``data`` that come with the zoo."""
    runs: list[Run] = []
    for name in zoo.names():
        if zoo.is_ready(name) and (folder(name) / RUNS).is_file():
            runs += read_runs(folder(name) / RUNS)
    return [run for run in runs if run.data == data]


def read_runs(path: Path) -> list[Run]:
    """The trainings in a file."""
    with path.open("rb") as file:
        return msgspec.json.decode(file.read(MAX_BYTES), type=list[Run])


def rows(quick: bool) -> Iterator[Row]:
    """Accuracy of the sub-networks against training as ever."""
    yield from mnist_rows(recorded("mnist"))
    yield from subset_rows(recorded("fashion-mnist"))


def mnist_rows(runs: Sequence[Run]) -> Iterator[Row]:
    """Two devices: every kind of training over its seeds, and Fluid against Static, both of the
    same seed."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        if run.owners == 2:
            kinds.setdefault(run.kind, []).append(run)
    for kind, those in kinds.items():
        for name in those[0].accuracy:
            yield _percent(f"MNIST, {kind}, {_seeds(those)}: {name}", those, name)
    static = {run.seed: run for run in kinds.get("static", ())}
    pairs = [(run, static[run.seed]) for run in kinds.get("fluid", ()) if run.seed in static]
    if pairs:
        for name, goal in (("C100", ">= -0.3"), ("L50", ">= -1.0"), ("U50", ">= -1.0")):
            points = [100 * (fluid.of(name) - other.of("C100")) for fluid, other in pairs]
            yield _mean(f"MNIST, {_seeds(pairs)}: {name} against Static", points, "points", goal)
            for (fluid, _), value in zip(pairs, points, strict=True):
                yield row(f"MNIST, seed {fluid.seed}: {name} against Static", value, "points")
        whole = [100 * fluid.of("C100") for fluid, _ in pairs]
        yield _mean(f"MNIST, {_seeds(pairs)}: C100", whole, "%", ">= 99.0")
    if "dynamic" in kinds:
        upper = [100 * run.of("U50") for run in kinds["dynamic"]]
        what = f"MNIST, {_seeds(upper)}: Dynamic's upper half alone (chance is 10)"
        yield _mean(what, upper, "%", "<= 20")


def subset_rows(runs: Sequence[Run]) -> Iterator[Row]:
    """N devices: whoever is left answers, and each more makes it better, or at least not worse."""
    for fluid in sorted(runs, key=lambda run: (run.owners, run.seed)):
        if fluid.kind != "fluid":
            continue
        sets = sets_of(fluid)
        what = f"Fashion-MNIST, {fluid.owners} groups, {fluid.epochs} epochs, seed {fluid.seed}"
        yield row(
            f"{what}: sets of groups that answer", len(sets), "sets", f"= {2**fluid.owners - 1}"
        )
        yield row(
            f"{what}: the most that is lost when a device is added",
            100 * worst_fall(sets),
            "points",
            "<= 0.3",
        )
        yield from _size_rows(what, sets)
        static = next((run for run in runs if _is_baseline(run, fluid)), None)
        if static is not None:
            points = 100 * (_whole(fluid) - _whole(static))
            yield row(f"{what}: all together against Static", points, "points", ">= -0.5")


def _size_rows(what: str, sets: Mapping[frozenset[str], float]) -> Iterator[Row]:
    """The mean accuracy over the sets of so many devices, from the worst set to the best."""
    for count in sorted({len(some) for some in sets}):
        shares = [100 * share for some, share in sets.items() if len(some) == count]
        yield _mean(f"{what}: {count} of them", shares, "%")


def _is_baseline(run: Run, fluid: Run) -> bool:
    """Static is the same network however many groups it is divided into afterwards: bit by bit the
    same weights, with as many epochs and the same seed."""
    about = (run.kind, run.data, run.model, run.epochs, run.seed)
    return about == ("static", fluid.data, fluid.model, fluid.epochs, fluid.seed)


def _whole(run: Run) -> float:
    """The accuracy of all devices together."""
    return sets_of(run).get(frozenset(str(k + 1) for k in range(run.owners)), nan)


PAIR = {"L50": "1", "U50": "2", "C100": "1+2"}
"""What the halves of two devices are called, as sets of devices."""


def sets_of(run: Run) -> dict[frozenset[str], float]:
    """The accuracy of each set of devices."""
    named = {PAIR.get(name, name): share for name, share in run.accuracy.items()}
    return {
        frozenset(name.split("+")): share
        for name, share in named.items()
        if all(part.isdigit() for part in name.split("+"))
    }


def worst_fall(sets: Mapping[frozenset[str], float]) -> float:
    """The most accuracy that is lost anywhere by adding one device."""
    worst = float("-inf")
    for larger, share in sets.items():
        for some in combinations(sorted(larger), len(larger) - 1):
            smaller = sets.get(frozenset(some))
            if smaller is not None:
                worst = max(worst, smaller - share)
    return max(worst, 0.0) if worst > float("-inf") else float("nan")


def _seeds(runs: Sequence[object]) -> str:
    return f"{len(runs)} seed{'s' * (len(runs) > 1)}"


def _percent(name: str, runs: Sequence[Run], subnet: str) -> Row:
    return _mean(name, [100 * run.of(subnet) for run in runs], "%")


def _mean(name: str, values: Sequence[float], unit: str, goal: str | None = None) -> Row:
    """The mean, with the least and the most as its spread."""
    spread = (min(values), max(values)) if len(values) > 1 else None
    return row(name, statistics.fmean(values), unit, goal, spread)

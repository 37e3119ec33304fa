"""What the trainings gave that are recorded in the zoo: nothing is trained here."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import msgspec

from shoal import zoo
from shoal.bench.row import Row, row
from shoal.zoo.entries import folder

CHANCE = 0.1
"""Of ten classes."""
RUNS = "runs.json"
MAX_BYTES = 1 << 22


class Run(msgspec.Struct, frozen=True):
    """A training. ``owners`` devices; ``accuracy`` by sub-network, ``apart`` where each device runs
    its own groups alone and the logits are added; ``images`` test images."""

    data: str
    kind: str
    owners: int
    seed: int
    images: int
    accuracy: dict[str, float]
    apart: dict[str, float] = {}

    def of(self, name: str) -> float:
        """The accuracy of a sub-network; NaN when it was not measured."""
        return self.accuracy.get(name, float("nan"))


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
    """Two devices, over all seeds: every kind of training, and Fluid against Static."""
    pairs = [run for run in runs if run.owners == 2]
    kinds: dict[str, list[Run]] = {}
    for run in pairs:
        kinds.setdefault(run.kind, []).append(run)
    for kind, those in kinds.items():
        for name in those[0].accuracy:
            yield _percent(f"MNIST, {kind}, {_seeds(those)}: {name}", those, name)
    seeds = sorted({run.seed for run in kinds.get("fluid", ())})
    fluid = {run.seed: run for run in kinds.get("fluid", ())}
    static = {run.seed: run for run in kinds.get("static", ())}
    both = [seed for seed in seeds if seed in static]
    if both:
        what = f"MNIST, {_seeds(both)}: "
        for name, goal in (("C100", ">= -0.3"), ("L50", ">= -1.0"), ("U50", ">= -1.0")):
            points = [100 * (fluid[s].of(name) - static[s].of("C100")) for s in both]
            yield row(f"{what}{name} against Static", statistics.fmean(points), "points", goal)
        yield row(
            f"{what}C100",
            100 * statistics.fmean(fluid[s].of("C100") for s in both),
            "%",
            ">= 99.0",
        )
    if "dynamic" in kinds:
        upper = [100 * run.of("U50") for run in kinds["dynamic"]]
        yield row(
            "MNIST, Dynamic's upper half alone (chance is 10)",
            statistics.fmean(upper),
            "%",
            "<= 20",
        )


def subset_rows(runs: Sequence[Run]) -> Iterator[Row]:
    """N devices: whoever is left answers, and each more makes it better, or at least not worse."""
    for count in sorted({run.owners for run in runs if run.kind == "fluid"}):
        those = [run for run in runs if run.owners == count]
        fluid = next(run for run in those if run.kind == "fluid")
        sets = sets_of(fluid)
        what = f"Fashion-MNIST, {count} groups"
        yield row(f"{what}: sets of groups that answer", len(sets), "sets", f"= {2**count - 1}")
        yield row(
            f"{what}: the most that is lost when a device is added",
            100 * worst_fall(sets),
            "points",
            "<= 0.3",
        )
        whole = max(sets, key=len)
        yield row(f"{what}: all together", 100 * sets[whole], "%")
        static = next((run for run in those if run.kind == "static"), None)
        if static is not None:
            points = 100 * (sets[whole] - max(static.accuracy.values()))
            yield row(f"{what}: all together against Static", points, "points", ">= -0.5")


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
    shares = [100 * run.of(subnet) for run in runs]
    return row(name, statistics.fmean(shares), "%", spread=(min(shares), max(shares)))

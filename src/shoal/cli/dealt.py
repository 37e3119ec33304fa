"""The demo's third act: devices that share each layer, and one that dies in the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from shoal.cli.output import table
from shoal.cli.play import View, play
from shoal.cli.story import right

if TYPE_CHECKING:
    from rich.console import Console, Group

    from shoal.observe.load_generator import Record
    from shoal.zoo.samples import Samples

WORKERS = 4
WINDOW = 4
KNOWN = 200
"""Of the sample images so many are for planning; the others are asked."""
RHO = 0.5
"""The share of each layer that all hold. Nothing is asked of what is kept then: on a busy machine
one worker may seem far quicker than the others, and has most of the rest."""
SCENES = 2


def act(
    console: Console, path: Path, samples: Samples, strategy: str, seconds: float
) -> dict[str, Any]:
    """Play it, a line each second; what came of it, in numbers."""
    import shoal
    from shoal.observe.load_generator import LoadGenerator, answers_of
    from shoal.scratch import Scratch

    network = shoal.load(path)
    known = min(KNOWN, len(samples) // 2)
    cases = list(samples.feeds())[known:]
    labels = samples.labels[known:].tolist()
    wish = shoal.Objective(min_accuracy=0.0, survive=1)
    with shoal.local_cluster(WORKERS) as cluster, Scratch.make("images") as folder:
        _write(folder.path, samples, known)
        playbook = shoal.plan(
            network, cluster, strategy, wish, calibrate=folder.path, rho=RHO, deal="all"
        )
        victim = cluster.names[-1]
        expected = answers_of(network, cases)
        with (
            shoal.deploy(playbook, cluster) as service,
            LoadGenerator(service, cases, expected, WINDOW) as load,
        ):
            view = View(console, [load], lambda recent: words(recent, labels, len(load.lost)))
            plot: list[tuple[str, Callable[[], object]]] = [
                ("everybody is well", lambda: None),
                (f"{victim} was killed (SIGKILL)", cluster.processes[victim].kill),
            ]

            def awaited(number: int, happened_s: float) -> bool:
                return not any(record.asked_s >= happened_s for record in load.records)

            _, killed = play(plot, seconds / SCENES, view.show, awaited)
    kept = playbook.plans[0].forecast.accuracy_without((victim,))
    scenes = scenes_of(load.records, killed.began_s, labels)
    return {
        "workers": WORKERS,
        "killed": victim,
        "asked": load.asked,
        "answered": len(load.records),
        "lost": len(load.lost),
        "answered_twice": load.twice,
        "different_from_whole_network": sum(record.wrong for record in load.records),
        "proved": kept,
        "scenes": scenes,
    }


def _write(folder: Path, samples: Samples, count: int) -> None:
    """The first images as a folder for each class."""
    import numpy as np

    for label in sorted(set(samples.labels[:count].tolist())):
        (folder / str(label)).mkdir()
        chosen = samples.images[:count][samples.labels[:count] == label]
        np.save(folder / str(label) / "some.npy", chosen)


def words(recent: Sequence[Record], labels: Sequence[int], lost: int) -> list[str]:
    """The answers of the last second."""
    found = facts(recent, labels)
    return [
        f"{len(recent):5d} images/s",
        f"degraded {found['degraded']:4.0%}",
        f"right {found['right']:6.1%}",
        f"lost {lost}",
    ]


def facts(records: Sequence[Record], labels: Sequence[int]) -> dict[str, float]:
    """How many were answered, which share rightly, which without a slice, and the slowest."""
    return {
        "answered": len(records),
        "degraded": sum(record.degraded for record in records) / max(1, len(records)),
        "right": right(records, labels),
        "slowest_ms": max((record.latency_ms for record in records), default=0.0),
    }


def scenes_of(
    records: Sequence[Record], killed_s: float, labels: Sequence[int]
) -> dict[str, dict[str, float]]:
    """What was answered before a worker was killed, what was under way just then, and what was
    asked after that."""
    cast: dict[str, list[Record]] = {"before": [], "in": [], "after": []}
    for record in records:
        before, after = record.answered_s < killed_s, record.asked_s >= killed_s
        cast["before" if before else "after" if after else "in"].append(record)
    return {name: facts(found, labels) for name, found in cast.items()}


def act_text(found: dict[str, Any]) -> Group:
    """What came of it, in words."""
    from rich.console import Group

    wrong = found["lost"] + found["answered_twice"] + found["different_from_whole_network"]
    titles = {
        "before": f"all {found['workers']} are there",
        "in": f"while {found['killed']} dies",
        "after": "asked after that",
    }
    rows = [
        (
            titles[name],
            f"{scene['answered']:,}",
            f"{scene['degraded']:.0%}",
            f"{scene['right']:.1%}",
            f"{scene['slowest_ms']:.0f}",
        )
        for name, scene in found["scenes"].items()
    ]
    return Group(
        Text(""),
        Text(
            f"{found['asked']:,} asked, {found['answered']:,} answered, {found['lost']} lost, "
            f"{found['answered_twice']} twice, {found['different_from_whole_network']} wrong.",
            "bold green" if wrong == 0 else "bold red",
        ),
        Text(
            f"Proved before service: as the whole network while all are there; without "
            f"{found['killed']} at least {found['proved']:.1%} of what that gets right."
        ),
        table(
            "",
            ("requests", "answered>", "degraded>", "right by the labels>", "slowest, ms>"),
            rows,
        ),
    )

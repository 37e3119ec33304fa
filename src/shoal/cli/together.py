"""The demo's second act: devices that answer together, each for itself, and without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from shoal.cli.output import table
from shoal.cli.play import Chapter, View, play
from shoal.cli.story import right

if TYPE_CHECKING:
    from rich.console import Console, Group

    from shoal.observe.load_generator import Record
    from shoal.runtime.local import LocalCluster
    from shoal.zoo.samples import Samples

WORKERS = 2
FEW, MANY = 1, 32
HIGH_S, LOW_S, CALM_S = 0.02, 0.01, 0.5
"""Seconds of work: one request at a time is below, many are above."""
SCENES = 5


def act(
    console: Console, path: Path, samples: Samples, strategy: str, seconds: float
) -> dict[str, Any]:
    """Play it, a line each second; what came of it, in numbers."""
    import shoal
    from shoal.model.bundle import load_bundle
    from shoal.observe.load_generator import LoadGenerator, answers_of

    bundle = load_bundle(path)
    cases = list(samples.feeds())
    labels = samples.labels.tolist()
    expected = answers_of(bundle, cases)
    with shoal.local_cluster(WORKERS) as cluster:
        playbook = shoal.plan(bundle, cluster, strategy, high_s=HIGH_S, low_s=LOW_S, calm_s=CALM_S)
        with shoal.deploy(playbook, cluster) as service, ExitStack() as stack:
            few = stack.enter_context(LoadGenerator(service, cases, expected, FEW))
            loads = [few]

            crowd = stack.enter_context(ExitStack())

            def more() -> None:
                loads.append(crowd.enter_context(LoadGenerator(service, cases, expected, MANY)))

            view = View(
                console,
                loads,
                lambda recent: words(recent, labels, sum(len(load.lost) for load in loads)),
            )
            plot = _plot(cluster, more, crowd.close)
            scenes = play(plot, seconds / SCENES, view.show)
    records = sorted((r for load in loads for r in load.records), key=lambda r: r.answered_s)
    return {
        "network": bundle.name,
        "workers": WORKERS,
        "asked": sum(load.asked for load in loads),
        "answered": len(records),
        "lost": sum(len(load.lost) for load in loads),
        "answered_twice": max(load.twice for load in loads),
        "scenes": [
            {"title": scene.title, **facts(_between(records, scene), labels)}
            | {"images_per_s": len(_between(records, scene)) / (scene.ended_s - scene.began_s)}
            for scene in scenes
        ],
    }


def _plot(
    cluster: LocalCluster, more: Callable[[], None], fewer: Callable[[], None]
) -> Iterator[tuple[str, Callable[[], object]]]:
    name = cluster.names[-1]
    worker = cluster.processes[name]
    yield "one request at a time", lambda: None
    yield f"{MANY} more at a time", more
    yield f"{name} was killed (SIGKILL)", worker.kill
    yield f"{name} is back", worker.restart
    yield "one request at a time again", fewer


def words(recent: Sequence[Record], labels: Sequence[int], lost: int) -> list[str]:
    """The answers of the last second."""
    found = facts(recent, labels)
    return [
        f"{len(recent):5d} images/s",
        f"together {found['together']:4.0%}",
        f"right {found['right']:6.1%}",
        f"lost {lost}",
    ]


def facts(records: Sequence[Record], labels: Sequence[int]) -> dict[str, float]:
    """Which share was answered by several devices together, and which rightly."""
    together = sum(len(set(record.devices)) > 1 for record in records)
    return {"together": together / max(1, len(records)), "right": right(records, labels)}


def _between(records: Sequence[Record], scene: Chapter) -> list[Record]:
    return [r for r in records if scene.began_s <= r.answered_s < scene.ended_s]


def act_text(found: dict[str, Any]) -> Group:
    """What came of it, in words."""
    from rich.console import Group

    wrong = found["lost"] + found["answered_twice"]
    rows = [
        (
            scene["title"],
            f"{scene['images_per_s']:.0f}",
            f"{scene['together']:.0%}",
            f"{scene['right']:.1%}",
        )
        for scene in found["scenes"]
    ]
    return Group(
        Text(""),
        Text(
            f"{found['asked']:,} asked, {found['answered']:,} answered, {found['lost']} lost, "
            f"{found['answered_twice']} twice.",
            "bold green" if wrong == 0 else "bold red",
        ),
        table("", ("what happened", "images/s>", "together>", "right by the labels>"), rows),
    )

"""``shoal run``: answer images by a playbook on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.inputs import Case, Cases, from_arrays, from_images, from_samples
from shoal.cli.output import (
    Json,
    print_json_line,
    show_log,
    stderr,
    stdout,
    table,
)
from shoal.errors import StoreError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from shoal.plan.plan import Playbook
    from shoal.runtime.answer import Answer
    from shoal.runtime.stats import ServiceStats

SHOWN = 20
"""Answers that are shown one by one; more are counted."""

app = typer.Typer(add_completion=False)


@app.command()
def run(
    playbook: Annotated[Path, typer.Argument(metavar="PLAYBOOK", help="From 'shoal plan -o'.")],
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    samples: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sample images of a zoo network.")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="A photo, or a folder of them.")
    ] = None,
    input: Annotated[
        list[Path] | None, typer.Option("--input", metavar="FILE", help="Arrays: .npy or .npz.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many; samples are repeated as needed.")
    ] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Requests under way at once.")] = None,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help="How long a request may take.")
    ] = 10_000.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write outputs as .npz.")
    ] = None,
    json: Json = False,
) -> None:
    """Answer images on a cluster, in order, and say how each answer came about.

    With --json: one line for each answer, and a last line with the service's statistics.
    """
    from shoal.plan.cluster import Cluster
    from shoal.plan.playbook import load
    from shoal.runtime.deploy import deploy

    show_log()
    loaded = load(playbook)
    cases = _cases(loaded, samples, images or [], input or [], count)
    devices = Cluster.load(cluster)
    tally = Tally(keep_outputs=out is not None)
    with stderr().status("waiting for the devices ..."):
        service = deploy(loaded, devices, deadline_ms=deadline_ms)
    with service:
        asked: list[Case] = []
        answers = service.infer_many(_remember(cases, asked), window)
        for number, answer in enumerate(_watched(answers, cases.count, json)):
            facts = tally.take(number, asked[number], answer, cases.classes)
            if json:
                print_json_line(facts)
        stats = service.stats()
    if out is not None:
        _write(out, tally.outputs)
    if json:
        print_json_line({"summary": stats, "right": tally.right, "labelled": tally.labelled})
        return
    stdout().print(answers_table(tally.shown, cases.count))
    stdout().print(stats_table(stats, tally.right, tally.labelled))


class Tally:
    """What is kept of the answers: the first ones, how many were right, outputs if wanted."""

    def __init__(self, keep_outputs: bool) -> None:
        self.shown: list[dict[str, Any]] = []
        self.outputs: dict[str, list[np.ndarray[Any, Any]]] = {}
        self.right = 0
        self.labelled = 0
        self._keep_outputs = keep_outputs

    def take(
        self, number: int, case: Case, answer: Answer, classes: tuple[str, ...]
    ) -> dict[str, Any]:
        """Count an answer; it as plain data."""
        facts = describe(number, case, answer, classes)
        self.labelled += case.label is not None
        self.right += bool(facts["right"])
        if number < SHOWN:
            self.shown.append(facts)
        if self._keep_outputs:
            for name, array in answer.outputs.items():
                self.outputs.setdefault(name, []).append(array)
        case.feeds.clear()
        return facts


def _cases(
    playbook: Playbook,
    samples: str | None,
    images: list[Path],
    arrays: list[Path],
    count: int | None,
) -> Cases:
    given = [bool(samples), bool(images), bool(arrays)]
    if sum(given) != 1:
        raise UsageError(
            "say what to answer with one of --samples NAME, --images PATH or --input FILE"
        )
    if samples:
        return from_samples(samples, count)
    if images:
        return from_images(images, playbook, count)
    return from_arrays(arrays, playbook, count)


def _remember(cases: Cases, asked: list[Case]) -> Iterator[dict[str, Any]]:
    for case in cases.cases:
        asked.append(case)
        yield case.feeds


def _watched(answers: Iterator[Answer], count: int, quiet: bool) -> Iterator[Answer]:
    """The answers, with a bar on stderr where somebody looks at it."""
    from rich.progress import track

    console = stderr()
    if quiet or not console.is_terminal:
        return answers
    return iter(track(answers, "answering", total=count, console=console, transient=True))


def describe(number: int, case: Case, answer: Answer, classes: tuple[str, ...]) -> dict[str, Any]:
    """An answer as plain data. ``class`` is that of the largest value of the first output."""
    import numpy as np

    first = next(iter(answer.outputs.values()))
    best = int(np.argmax(first[0])) if first.ndim == 2 else None
    return {
        "number": number,
        "source": case.source,
        "class": best,
        "name": classes[best] if best is not None and best < len(classes) else None,
        "right": None if case.label is None else best == case.label,
        "plan": answer.plan,
        "latency_ms": answer.latency_ms,
        "attempts": answer.attempts,
        "left_early": answer.left_early,
        "degraded": answer.degraded,
        "why": answer.why,
        "stages": [
            {
                "device": stage.device,
                "wait_ms": stage.wait_ms,
                "run_ms": stage.run_ms,
                "bytes_out": stage.bytes_out,
            }
            for stage in answer.trace
        ],
    }


def answers_table(rows: list[dict[str, Any]], count: int) -> Table:
    """The first answers one by one."""
    more = f" (the first {len(rows)} of {count})" if count > len(rows) else ""
    marks = {True: "yes", False: "no", None: ""}
    return table(
        f"answers{more}",
        ("image", "answer", "right", "ms>", "attempts>", "ran on", "remark"),
        (
            (
                row["source"],
                row["name"] if row["name"] is not None else row["class"],
                marks[row["right"]],
                f"{row['latency_ms']:.1f}",
                row["attempts"],
                " -> ".join(stage["device"] for stage in row["stages"]),
                row["why"] or ("left early" if row["left_early"] else ""),
            )
            for row in rows
        ),
    )


def stats_table(stats: ServiceStats, right: int, known: int) -> Table:
    """The service in a few lines."""
    rows = [
        ("answered", stats.answered),
        ("failed", stats.failed),
        ("tried again", stats.retried),
        ("degraded", stats.degraded),
        ("images/s", f"{stats.images_per_s:.1f}"),
        ("latency", f"p50 {stats.p50_ms:.1f} ms, p99 {stats.p99_ms:.1f} ms"),
        ("plans", ", ".join(f"{name} ({count})" for name, count in stats.plans.items())),
    ]
    if known:
        rows.append(("accuracy", f"{100 * right / known:.1f} % of {known}"))
    rows += [
        (name, f"{device.state}, {device.answered} stages run")
        for name, device in stats.devices.items()
    ]
    return table("service", ("", ""), rows)


def _write(path: Path, outputs: dict[str, list[np.ndarray[Any, Any]]]) -> None:
    import numpy as np

    joined: dict[str, Any] = {name: np.concatenate(found) for name, found in outputs.items()}
    try:
        with path.open("wb") as file:
            np.savez(file, **joined)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from None

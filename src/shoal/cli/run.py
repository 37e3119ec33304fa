"""``shoal run``: answer images by a playbook on a cluster."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from shoal.cli.inputs import Case, Cases, from_arrays, from_images, from_samples
from shoal.cli.output import (
    Json,
    print_json_line,
    show_log,
    stderr,
    stdout,
    table,
)
from shoal.errors import ShoalError, UnservedError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from shoal.plan.cluster import Cluster
    from shoal.plan.plan import Playbook
    from shoal.runtime.answer import Answer
    from shoal.runtime.service import Service
    from shoal.runtime.stats import ServiceStats

SHOWN = 20
"""Answers that are shown one by one; more are counted."""
LEAST_UNSERVED = 3
"""At least so many requests in a row that nobody serves are enough."""

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def run(
    playbook: Annotated[Path, typer.Argument(metavar="PLAYBOOK", help="From 'shoal plan -o'.")],
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    samples: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sample images of a zoo network.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A photo or a folder of them, for networks whose preprocessing the zoo knows "
            "(efficientnet-lite0); --input for others.",
        ),
    ] = None,
    input: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", metavar="FILE", help="Arrays, .npy or .npz; the first axis counts images."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many at most; --samples are repeated as needed.")
    ] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Requests under way at once.")] = None,
    together: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images in a request: more may be answered per second, and each one later "
            "(docs/operations.md).",
        ),
    ] = 1,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help="How long a request may take.")
    ] = 10_000.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write outputs as .npz.")
    ] = None,
    json: Json = False,
) -> None:
    """Answer images on a cluster, in order, and say how each answer came about.

    A request that fails is shown with its reason, the others go on; the exit code is that of the
    first failure. When nobody has served as many in a row as are under way at once, no more are
    sent. With --json: one line for each request ("error" where it failed), and a last line with the
    service's statistics; after Ctrl-C, too.
    """
    from shoal.lab.reporting import reporting
    from shoal.model.store import check_file
    from shoal.plan.cluster import Cluster
    from shoal.plan.playbook import load
    from shoal.runtime.deploy import deploy
    from shoal.runtime.service import MAX_WINDOW, busy_window
    from shoal.runtime.together import check_together

    show_log()
    if out is not None:
        check_file(out)
    loaded = load(playbook)
    check_together(together, loaded)
    cases = _cases(loaded, samples, images or [], input or [], count)
    devices = Cluster.load(cluster)
    tally = Tally(keep_outputs=out is not None)
    _say_missing(loaded, devices)
    with stderr().status("waiting for the devices ..."):
        service = deploy(loaded, devices, deadline_ms=deadline_ms)
    service.watch(partial(_say_change, service))
    stopped: KeyboardInterrupt | None = None
    with service, reporting(service):
        width = min(window or busy_window(service.playbook, together), MAX_WINDOW)
        ends = _watched(_ask(service, cases, width, together), cases.count, json)
        try:
            for number, (case, answer) in enumerate(ends):
                if isinstance(answer, ShoalError):
                    facts = tally.miss(number, case, answer)
                else:
                    facts = tally.take(number, case, answer, cases.classes)
                if json:
                    print_json_line(facts)
        except KeyboardInterrupt as stop:
            stopped = stop
        stats = service.stats()
    if out is not None:
        _write(out, tally.outputs)
    if json:
        summary = {"summary": stats, "right": tally.right, "labelled": tally.labelled}
        print_json_line(summary | {"failed": tally.failed, "reasons": tally.reasons})
    else:
        stdout().print(answers_table(tally.shown, cases.count))
        stdout().print(stats_table(stats, tally, width, together))
    if stopped is not None:
        raise stopped
    if tally.first_failure is not None:
        raise tally.first_failure


class Tally:
    """What is kept of the answers: the first ones, how many were right, outputs if wanted."""

    def __init__(self, keep_outputs: bool) -> None:
        self.shown: list[dict[str, Any]] = []
        self.outputs: dict[str, list[np.ndarray[Any, Any]]] = {}
        self.right = 0
        self.labelled = 0
        self.failed = 0
        self.reasons: dict[str, int] = {}
        self.first_failure: ShoalError | None = None
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

    def miss(self, number: int, case: Case, error: ShoalError) -> dict[str, Any]:
        """Count a request without an answer; it as plain data."""
        facts = {
            "number": number,
            "source": case.source,
            "error": str(error),
            "code": error.exit_code,
        }
        self.failed += 1
        kind = type(error).__name__
        self.reasons[kind] = self.reasons.get(kind, 0) + 1
        self.first_failure = self.first_failure or error
        if self.failed <= SHOWN or number < SHOWN:
            self.shown.append(facts)
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


def _ask(
    service: Service, cases: Cases, width: int, together: int
) -> Iterator[tuple[Case, Answer | ShoalError]]:
    """What became of each case, in order, ``width`` requests of ``together`` cases under way. It
    ends when nobody has served as many in a row."""
    waiting: deque[tuple[Case, Future[Answer] | ShoalError]] = deque()
    unserved = 0
    try:
        readable = _readable(cases)
        while True:
            taken = []
            if len(waiting) <= (width - 1) * together:
                taken = list(islice(readable, together))
                waiting += _submit(service, taken)
            if not taken and not waiting:
                return
            if taken:
                continue
            end = _end(*waiting.popleft())
            yield end
            unserved = unserved + 1 if isinstance(end[1], UnservedError) else 0
            if unserved >= max(width, LEAST_UNSERVED) * together:
                say = f"nobody has served the last {unserved} inputs: no more are sent"
                stderr().print(say, soft_wrap=True, highlight=False)
                return
    finally:
        for _, future in waiting:
            if isinstance(future, Future):
                future.cancel()


def _readable(cases: Cases) -> Iterator[Case | tuple[Case, ShoalError]]:
    """The cases up to the first that cannot be read, and that one with the reason."""
    try:
        yield from cases.cases
    except ShoalError as error:
        yield Case("unreadable", {}), error


def _submit(
    service: Service, taken: list[Case | tuple[Case, ShoalError]]
) -> list[tuple[Case, Future[Answer] | ShoalError]]:
    """Ask for what could be read, in one request."""
    cases = [case for case in taken if isinstance(case, Case)]
    unread = [each for each in taken if not isinstance(each, Case)]  # the last one, if any
    try:
        futures = service.submit_together([case.feeds for case in cases]) if cases else []
    except ShoalError as error:
        return [*((case, error) for case in cases), *unread]
    return [*zip(cases, futures, strict=True), *unread]


def _end(case: Case, future: Future[Answer] | ShoalError) -> tuple[Case, Answer | ShoalError]:
    if isinstance(future, ShoalError):
        return case, future
    try:
        return case, future.result()
    except ShoalError as error:
        return case, error


def _say_missing(playbook: Playbook, cluster: Cluster) -> None:
    """Say at once whom the deployment has to wait for."""
    from shoal.mesh.address import dial, parse_address

    missing = [
        device.name
        for device in cluster.devices
        if device.name in playbook.devices
        and device.address
        and dial(parse_address(device.address))
    ]
    if missing:
        stderr().print(
            f"waiting up to {cluster.wait_s:g} s for {', '.join(missing)} ...", soft_wrap=True
        )


def _say_change(service: Service, name: str, there: bool) -> None:
    """Say that a device went, or is there (again)."""
    moment = time.strftime("%H:%M:%S")
    devices = service.playbook.devices
    what = "is there, and takes part once it is ready"
    if not there:
        left = service.node.name in devices or devices & service.node.link.peers().keys()
        what = "is gone; " + (
            "the others go on" if left else "nobody is left, requests wait until their deadlines"
        )
    stderr().print(f"{moment} {name} {what}", soft_wrap=True, highlight=False)


def _watched(
    answers: Iterator[tuple[Case, Answer | ShoalError]], count: int, quiet: bool
) -> Iterator[tuple[Case, Answer | ShoalError]]:
    """The ends, with a bar on stderr where somebody looks at it."""
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
        "accuracy": answer.accuracy,
        "images": answer.images,
        "stages": [
            {
                "stage": stage.stage,
                "device": stage.device,
                "wait_ms": stage.wait_ms,
                "run_ms": stage.run_ms,
                "bytes_in": stage.bytes_in,
                "bytes_out": stage.bytes_out,
            }
            for stage in answer.trace
        ],
    }


def answers_table(rows: list[dict[str, Any]], count: int) -> Table:
    """The first answers one by one."""
    more = f" (the first {len(rows)} of {count})" if count > len(rows) else ""
    marks = {True: "yes", False: "no", None: ""}
    failed = Text("failed", "bold red")
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
                ran_on(row["stages"]),
                row["why"] or ("left early" if row["left_early"] else ""),
            )
            if "error" not in row
            else (row["source"], failed, "", "", "", "", row["error"])
            for row in rows
        ),
    )


def ran_on(stages: list[dict[str, Any]]) -> str:
    """The devices in turn; those that ran a stage together joined by a plus."""
    together: dict[int, list[str]] = {}
    for stage in stages:
        together.setdefault(stage["stage"], []).append(stage["device"])
    return " -> ".join(" + ".join(sorted(names)) for names in together.values())


def stats_table(stats: ServiceStats, tally: Tally, width: int, together: int) -> Table:
    """The service in a few lines; ``width`` requests of ``together`` images were under way at
    once."""
    each = f" requests of {together} images" if together > 1 else ""
    rows = [
        ("answered", f"{stats.images} in {stats.answered} requests" if each else stats.answered),
        ("failed", _failures(tally)),
        ("tried again", stats.retried),
        ("degraded", stats.degraded),
        ("images/s", f"{stats.images_per_s:.1f}"),
        (
            f"latency, {width}{each} under way",
            f"p50 {stats.p50_ms:.1f} ms, p99 {stats.p99_ms:.1f} ms",
        ),
        ("plans", ", ".join(f"{name} ({count})" for name, count in stats.plans.items())),
    ]
    if tally.labelled:
        share = 100 * tally.right / tally.labelled
        rows.append(("accuracy", f"{share:.1f} % of {tally.labelled}"))
    rows += [
        (name, f"{device.state}, {device.answered} stages run")
        for name, device in stats.devices.items()
    ]
    return table("service", ("", ""), rows)


def _failures(tally: Tally) -> str:
    """How many failed, and why."""
    reasons = ", ".join(f"{kind} ({count})" for kind, count in tally.reasons.items())
    return f"{tally.failed}: {reasons}" if reasons else "0"


def _write(path: Path, outputs: dict[str, list[np.ndarray[Any, Any]]]) -> None:
    import io

    import numpy as np

    from shoal.model.store import write_file

    joined: dict[str, Any] = {name: np.concatenate(found) for name, found in outputs.items()}
    packed = io.BytesIO()
    np.savez(packed, **joined)
    write_file(path, packed.getbuffer())

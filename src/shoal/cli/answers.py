"""What ``shoal run`` tells of answers: one by one, counted, and in tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.text import Text

from shoal.cli.asking import End
from shoal.cli.output import table
from shoal.errors import RequestError, ShoalError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from shoal.runtime.answer import Answer
    from shoal.runtime.stats import DeviceStats, ServiceStats
    from shoal.sim.outcome import DeviceUse, Simulated

    Array: TypeAlias = np.ndarray[Any, Any]

SHOWN = 20
"""Answers that are shown one by one; more are counted."""

TOLD = ("stage", "device", "wait_ms", "run_ms", "bytes_in", "bytes_out")
"""What is told of a stage."""


@dataclass
class Tally:
    """What is kept of the answers: the first ones, and how many were right. ``count`` are asked
    for; ``output`` is the one that names the class, ``classes`` what they are called."""

    count: int
    output: str
    classes: Sequence[str]
    shown: list[dict[str, Any]] = field(default_factory=list)
    told: int = 0
    right: int = 0
    labelled: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_failure: ShoalError | None = None

    @property
    def left(self) -> int:
        """Inputs of which nothing is known: they were not asked for, or given up."""
        return self.count - self.told

    def take(self, end: End) -> dict[str, Any]:
        """Count an end; it as plain data."""
        self.told += 1
        if isinstance(end.outcome, ShoalError):
            return self._miss(end, end.outcome)
        facts = describe(end, end.outcome, self.output, self.classes)
        self.labelled += facts["right"] is not None
        self.right += facts["right"] is True
        if end.number < SHOWN:
            self.shown.append(facts)
        return facts

    def _miss(self, end: End, error: ShoalError) -> dict[str, Any]:
        facts = {
            "number": end.number,
            "request": error.number if isinstance(error, RequestError) else None,
            "source": end.source,
            "error": str(error),
            "code": error.exit_code,
        }
        self.failed += 1
        self.reasons[type(error).__name__] += 1
        self.first_failure = self.first_failure or error
        if self.failed <= SHOWN or end.number < SHOWN:
            self.shown.append(facts)
        return facts


def describe(end: End, answer: Answer, output: str, classes: Sequence[str]) -> dict[str, Any]:
    """An answer as plain data. ``class`` is that of the largest value of ``output`` (see
    :func:`class_of`), ``right`` is None where it or the label is not known; ``nan`` names the
    outputs that hold NaN. Of ``stages`` what only a traced request tells is None else."""
    best = class_of(answer.outputs[output]) if output in answer.outputs else None
    return {
        "number": end.number,
        "request": answer.number,
        "source": end.source,
        "class": best,
        "name": classes[best] if best is not None and best < len(classes) else None,
        "right": None if end.label is None or best is None else best == end.label,
        "nan": [name for name, array in answer.outputs.items() if holds_nan(array)],
        "plan": answer.plan,
        "latency_ms": answer.latency_ms,
        "attempts": answer.attempts,
        "left_early": answer.left_early,
        "degraded": answer.degraded,
        "why": answer.why,
        "accuracy": answer.accuracy,
        "images": answer.images,
        "stages": [{name: getattr(stage, name) for name in TOLD} for stage in answer.trace],
    }


def class_of(scores: Array) -> int | None:
    """The place of the largest of one image's scores; None where they are none: more rows than
    one, a single value, NaN among them, or numbers that name something themselves (integers of
    more than 8 bits)."""
    kind = scores.dtype
    if scores.ndim != 2 or scores.shape[0] != 1 or scores.shape[1] < 2 or holds_nan(scores):
        return None
    if kind.kind != "f" and (kind.kind not in "iu" or kind.itemsize > 1):
        return None
    return int(scores[0].argmax())


def holds_nan(array: Array) -> bool:
    """Whether some number is none."""
    import numpy as np

    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def answers_table(tally: Tally) -> Table:
    """The first answers one by one."""
    rows = tally.shown
    more = f" (the first {len(rows)} of {tally.count})" if tally.count > len(rows) else ""
    marks = {True: "yes", False: "no", None: ""}
    failed = Text("failed", "bold red")
    return table(
        f"answers{more}",
        ("image", "answer", "right", "ms>", "attempts>", "ran on", "remark"),
        (
            (
                row["source"],
                "" if row["class"] is None else row["name"] or row["class"],
                marks[row["right"]],
                f"{row['latency_ms']:.1f}",
                row["attempts"],
                ran_on(row["stages"]),
                _remark(row),
            )
            if "error" not in row
            else (row["source"], failed, "", "", "", "", row["error"])
            for row in rows
        ),
    )


def _remark(row: dict[str, Any]) -> str:
    remarks = [row["why"], "left early" if row["left_early"] and not row["why"] else ""]
    remarks.append(f"NaN in {', '.join(row['nan'])}" if row["nan"] else "")
    return "; ".join(filter(None, remarks))


def ran_on(stages: list[dict[str, Any]]) -> str:
    """The devices in turn; those that ran a stage together joined by a plus, those that ran
    several stages after each other named once, with how many these were."""
    together: dict[int, list[str]] = {}
    for stage in stages:
        together.setdefault(stage["stage"], []).append(stage["device"])
    runs = [
        (" + ".join(names), len(list(same)))
        for names, same in groupby(map(sorted, together.values()))
    ]
    return " -> ".join(f"{names} ({count} stages)" if count > 1 else names for names, count in runs)


def stats_table(stats: ServiceStats, tally: Tally, width: int, together: int) -> Table:
    """The service in a few lines; ``width`` requests of ``together`` images were under way at
    once."""
    each = f" requests of {together} images" if together > 1 else ""
    rows = [
        ("answered", f"{stats.images} in {stats.answered} requests" if each else stats.answered),
        ("failed", _failures(tally)),
        *([("not asked, or given up", tally.left)] if tally.left else []),
        *measures(stats, f"{width}{each} under way"),
    ]
    if tally.labelled:
        share = 100 * tally.right / tally.labelled
        rows.append(("accuracy", f"{share:.1f} % of {tally.labelled}"))
    rows += [(name, ran(device)) for name, device in stats.devices.items()]
    return table("service", ("", ""), rows)


def measures(stats: ServiceStats | Simulated, load: str) -> list[tuple[str, Any]]:
    """What is told of the answers of a service under a load, whether it is one or was simulated."""
    return [
        ("tried again", stats.retried),
        ("degraded", stats.degraded),
        ("images/s", f"{stats.images_per_s:.1f}"),
        (f"latency, {load}", f"p50 {stats.p50_ms:.1f} ms, p99 {stats.p99_ms:.1f} ms"),
        ("plans", counted(stats.plans)),
    ]


def ran(device: DeviceStats | DeviceUse) -> str:
    """What is told of a device."""
    return f"{device.state}, {device.answered} stages run"


def counted(counts: Mapping[str, int]) -> str:
    """Names, each with how often it was."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _failures(tally: Tally) -> str:
    return f"{tally.failed}: {counted(tally.reasons)}" if tally.reasons else "0"

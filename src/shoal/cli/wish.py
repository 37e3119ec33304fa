"""What a user wants, in the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.plan.objective import Objective
    from shoal.plan.size import Size

Aims: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Aims by commas, most important first: throughput (default), latency, bytes, memory, "
        "energy, server-cost, accuracy."
    ),
]
FirstAim: TypeAlias = Annotated[
    str | None, typer.Option(metavar="AIM", help="The first aim, as one of --objective.")
]
NextAims: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="AIM", help="The aim after that; may be given several times."),
]
LeastAccuracy: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--min-accuracy",
        "--floor",
        help="Least share of the whole network's accuracy: plans below it are the last resort.",
    ),
]
LongestMs: TypeAlias = Annotated[
    float | None, typer.Option(help="Longest time of a request that meets no queue.")
]

MostMemory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        "--memory-limit",
        metavar="SIZE",
        help="Most memory for parts on any one device, such as 300MiB, beside what the cluster "
        "file says.",
    ),
]

Survive: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="F",
        help="How many devices may be lost together, whichever, so that answers keep "
        "--min-accuracy.",
    ),
]

TaskName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="What the network is for, by which accuracy is measured: classifier, detector, "
        "segmenter, embedding, sequence, or of CTC sequence:BLANK (default: as its graph shows).",
    ),
]
AgreementFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--agreement",
        metavar="FILE:FUNCTION",
        help="Instead, a Python function of the whole network's outputs and those found, for one "
        "image: how alike they are, from 0 to 1.",
    ),
]


def size_of(option: str, text: str) -> Size:
    """The size that an option is given; UsageError where it is none."""
    from shoal.plan.size import Size

    try:
        return Size.parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def objective_of(
    objective: str | None,
    minimise: str | None = None,
    then: Sequence[str] | None = None,
    min_accuracy: float | None = None,
    max_latency_ms: float | None = None,
    max_memory: str | None = None,
    survive: int | None = None,
    *,
    task: str | None = None,
    agreement: str | None = None,
) -> Objective:
    """The objective of ``--objective`` or of ``--minimise`` and ``--then``, with its limits.

    Raises UsageError where both are given or a size is none, PlanError for an aim, a limit or a
    task that there is not.
    """
    import msgspec

    from shoal.plan.objective import Objective

    if objective is not None and (minimise is not None or then):
        raise UsageError("--objective and --minimise say the same: give one of them")
    if then and minimise is None:
        raise UsageError("--then comes after --minimise: give that as well")
    names = [minimise, *(then or ())] if minimise is not None else []
    wish = Objective.of(",".join(name for name in names if name) or objective)
    limits = {
        "min_accuracy": min_accuracy,
        "max_latency_ms": max_latency_ms,
        "max_memory": None if max_memory is None else size_of("--max-memory", max_memory),
        "survive": survive,
        "task": task,
        "agreement": agreement,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return msgspec.structs.replace(wish, **given)

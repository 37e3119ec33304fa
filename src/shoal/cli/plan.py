"""``shoal plan``: what each way to spread a network would do, and which one to take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from shoal.cli.declared import WithDeclared
from shoal.cli.models import Fixed, Inputs, Model, load_network
from shoal.cli.output import Json, print_json, show_log, stderr, stdout, table
from shoal.cli.wish import (
    AgreementFile,
    Aims,
    FirstAim,
    LeastAccuracy,
    LongestMs,
    MostMemory,
    NextAims,
    Survive,
    TaskName,
    objective_of,
)
from shoal.errors import UsageError
from shoal.plan.size import readable

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.plan.plan import Forecast
    from shoal.plan.recommend import Option, Recommendation
    from shoal.runtime.planning import Planned
    from shoal.strategies.base import Explanation
    from shoal.strategies.making import Candidate

AUTO = "auto"
NAMED = 4
"""Losses that are not stood are named up to so many."""

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(cls=WithDeclared)
def plan(
    ctx: typer.Context,
    model: Model,
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    strategy: Annotated[
        str, typer.Option(help="A strategy by name, or auto: compare all and take the best.")
    ] = AUTO,
    objective: Aims = None,
    minimise: FirstAim = None,
    then: NextAims = None,
    min_accuracy: LeastAccuracy = None,
    max_latency_ms: LongestMs = None,
    max_memory: MostMemory = None,
    survive: Survive = None,
    task: TaskName = None,
    agreement: AgreementFile = None,
    inputs: Inputs = None,
    fixed: Fixed = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the playbook.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show why the strategy chooses which plan.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also explain it in a picture in DIR.")
    ] = None,
    json: Json = False,
) -> None:
    """Forecast what each strategy would do on a cluster, and recommend one.

    Devices that can be reached are measured; for the others what the cluster file states is used.
    """
    from shoal.model.store import check_file
    from shoal.plan.cluster import Cluster
    from shoal.plan.playbook import save
    from shoal.runtime.planning import choose
    from shoal.strategies.making import candidates

    show_log()
    wish = objective_of(
        objective,
        minimise,
        then,
        min_accuracy,
        max_latency_ms,
        max_memory,
        survive,
        task=task,
        agreement=agreement,
    )
    offered = candidates(None if strategy == AUTO else strategy, ctx.obj)
    explaining = explain or plot is not None
    if explaining:
        check_explains(offered)
    if out is not None:
        check_file(out)
    stated = Cluster.load(cluster)
    network = load_network(model, inputs, fixed)
    with stderr().status("planning ...") as status:
        made = choose(
            offered, network, stated, wish, progress=lambda text: status.update(f"{text} ...")
        )
    playbook = made.built.playbook
    if out is not None:
        save(playbook, out)
    explained = made.chosen.explain(playbook) if explaining else None
    drawn = None if explained is None or plot is None else draw(explained, plot)
    if json:
        data = {} if explained is None else explained.data
        print_json({**data, **summary(made, out)})
    else:
        show(network.name, made, explained, [path for path in (drawn, out) if path is not None])


def check_explains(offered: Sequence[Candidate]) -> None:
    """UsageError, before anything is done, unless one strategy was named and explains its plans."""
    from shoal.strategies.base import all_strategies

    if len(offered) != 1 or offered[0].strategy.explain is None:
        able = " or ".join(each.name for each in all_strategies() if each.explain is not None)
        raise UsageError(f"--explain and --plot are for --strategy {able}")


def draw(explained: Explanation, folder: Path) -> Path:
    """The picture of an explanation; UsageError where there is none."""
    if explained.draw is None:
        raise UsageError(
            "--plot: this strategy explains its plans without a picture; give --explain alone"
        )
    return explained.draw(folder)


def show(
    network: str, made: Planned, explained: Explanation | None, written: Sequence[Path]
) -> None:
    """Print what was planned, and the files that were written."""
    console, found = stdout(), made.found
    console.print(forecast_table(network, found))
    lines = [Text(f"{each.strategy}: {note}") for each in found.options for note in each.notes]
    refused = (each for each in found.options if each.refused)
    lines += [Text(f"{each.strategy} is not possible: {each.refused}") for each in refused]
    lines += [Text(f"proved: {made.built.proof}"), Text(found.reason, "bold")]
    for line in lines:
        console.print(line, soft_wrap=True)
    if explained is not None:
        for sheet in explained.sheets:
            console.print(table(sheet.title, sheet.columns, sheet.rows))
        for note in explained.notes:
            console.print(Text(note), soft_wrap=True)
    for path in written:
        console.print(Text(f"wrote {path}"), soft_wrap=True)


def forecast_table(network: str, found: Recommendation) -> Table:
    """A line for each strategy that is possible, best first: the forecast of its first plan."""
    columns = (
        "strategy", "ms>", "images per s>", "bytes per image>", "memory>", "bounded by",
        "stands the loss of", "runs on",
    )  # fmt: skip
    lines = (_line(each, each.forecast) for each in found.options if each.forecast is not None)
    return table(f"forecasts for {network}", columns, lines)


def _line(option: Option, forecast: Forecast) -> tuple[Any, ...]:
    return (
        option.strategy,
        f"{forecast.latency_ms:.1f}",
        f"{forecast.images_per_s:.1f}",
        readable(forecast.bytes_per_image),
        readable(max(forecast.memory.values(), default=0)),
        forecast.slowest,
        lasting(option),
        option.plan.replace("+", " + ") if len(option.devices) > 1 else option.devices[0],
    )


def lasting(option: Option) -> str:
    """Which losses an option stands, of as many devices as it was judged by."""
    size = min(map(len, option.unprotected), default=option.judged + 1)
    most = "any device" if size == 2 else f"any {size - 1} devices"
    if not option.unprotected:
        return most if option.kept == 1 else f"{most}, keeping {option.kept:.3f}"
    sets = ["+".join(names) for names in option.unprotected if len(names) == size]
    named = ", ".join([*sets[:NAMED], *(["..."] if len(sets) > NAMED else [])])
    return f"any but {named}" if size == 1 else f"{most}, not {named} together"


def summary(made: Planned, out: Path | None) -> dict[str, Any]:
    """Everything that is shown, as plain data; ``assumed`` are devices that were not there."""
    found = made.found
    return {
        "recommended": found.strategy,
        "distribute": found.distribute,
        "reason": found.reason,
        "assumed": made.assumed,
        "options": found.options,
        "plans": [
            {"name": plan.name, "spare": plan.spare, "forecast": plan.forecast}
            for plan in made.built.playbook.plans
        ],
        "playbook": None if out is None else str(out),
        "proof": made.built.proof,
    }

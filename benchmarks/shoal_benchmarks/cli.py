"""``shoal bench``: the measurements behind every number in the README."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.output import Json, print_json, stderr, stdout, table

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from shoal_benchmarks.row import Row

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def bench(
    name: Annotated[str | None, typer.Argument(help="Which bench; without it: a list.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer samples; ends within five minutes.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="DIR", help="Also write DIR/NAME.png.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure, and hold the results against the goals.

    Exits with 0 whether goals are met or not: the table says which.
    """
    from shoal_benchmarks.registry import BENCHES, find
    from shoal_benchmarks.row import number

    if name is None:
        if json:
            print_json(BENCHES)
        else:
            stdout().print(table("benches", ("name", "measures"), BENCHES.items()))
        return
    found = find(name)
    from shoal_benchmarks.environment import environment

    where = environment()
    progress = stderr()
    progress.print(where, style="dim", soft_wrap=True)
    rows: list[Row] = []
    try:
        with progress.status(f"measuring {name} ..."):
            for row in found.rows(quick):
                rows.append(row)
                progress.print(f"  {row.name}: {number(row.value)} {row.unit}", style="dim")
    finally:
        # What was measured before a failure or Ctrl-C took its time and is worth seeing.
        if json:
            print_json(rows)
        elif rows:
            stdout().print(rows_table(name, rows))
    if plot is not None:
        from shoal_benchmarks.plot import plot as draw

        progress.print(f"wrote {draw(name, rows, plot, where)}")


def rows_table(name: str, rows: list[Row]) -> Table:
    """The rows for people."""
    from shoal_benchmarks.row import number

    return table(
        f"shoal bench {name}",
        ("name", "value>", "unit", "p10 to p90", "goal", "met"),
        (
            (
                row.name,
                number(row.value),
                row.unit,
                " to ".join(number(end) for end in row.spread) if row.spread else "",
                row.goal or "",
                verdict(row.met),
            )
            for row in rows
        ),
    )


def verdict(met: bool | None) -> Text:
    """Whether a goal was met, in colour; empty without a goal."""
    from rich.text import Text

    if met is None:
        return Text("")
    return Text("yes", "green") if met else Text("no", "bold red")

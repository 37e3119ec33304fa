"""A bench as a picture: bars with their spread, one panel per unit, goals as marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.figure import empty_figure, save
from shoal_benchmarks.row import Row, number

MET, MISSED, PLAIN = "#2a9d8f", "#e76f51", "#8d99ae"


def plot(name: str, rows: Sequence[Row], folder: Path, caption: str) -> Path:
    """Write ``folder/name.png`` and return its path.

    Raises MissingExtraError without matplotlib, UsageError when the folder cannot be written.
    """
    units = list(dict.fromkeys(row.unit for row in rows))
    counts = [sum(row.unit == unit for row in rows) for unit in units]
    figure = empty_figure(1.2 + sum(0.32 * count + 0.7 for count in counts))
    axes = figure.subplots(
        max(len(units), 1), 1, squeeze=False, height_ratios=[count + 1.2 for count in counts] or [1]
    )
    for unit, axis in zip(units, axes[:, 0], strict=False):
        _panel(axis, unit, [row for row in rows if row.unit == unit])
    figure.suptitle(f"shoal bench {name}", x=0.01, ha="left")
    figure.text(0.01, 0.005, caption, fontsize=6, color="#666666")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    return save(figure, folder, name)


def _panel(axis: Any, unit: str, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        colour = PLAIN if row.met is None else MET if row.met else MISSED
        axis.barh(place, row.value, color=colour, height=0.6)
        if row.spread is not None:
            axis.plot(row.spread, (place, place), color="#333333", linewidth=1.2)
        if row.goal is not None:
            axis.plot(float(row.goal.split()[1]), place, "|", color="black", markersize=14)
        axis.annotate(
            f" {number(row.value)}", (max(row.value, *(row.spread or (0.0,))), place), va="center"
        )
    axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel(unit, fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)

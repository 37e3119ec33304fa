"""What exits are worth, for people: tables, and a picture of how right they are when how sure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shoal.figure import empty_figure, save
from shoal.model.exits import Exits
from shoal.plan.size import readable

BINS = 10


def exit_rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each exit alone, and one for the network's end."""
    rows = [
        (each["at"], each["after"], _percent(each["time"]), each["temperature"],
         _percent(each["accuracy"]))
        for each in found["exits"]
    ]  # fmt: skip
    return [*rows, ("", "the end", _percent(1.0), "", _percent(found["accuracy"]))]


def crossing_rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each cut that was narrowed: channels and bytes of an image, before and after."""
    return [
        (each["at"], each["wide_channels"], each["channels"],
         readable(each["wide_bytes"]), readable(each["bytes"]))
        for each in found["exits"]
    ]  # fmt: skip


def drop_rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each loss of accuracy that was asked for."""
    return [
        (f"{each['drop']:g}", _percent(each["accuracy"]), _percent(each["sure"]),
         *map(_percent, each["leaving"]), _percent(each["time"]))
        for each in found["drops"]
    ]  # fmt: skip


def draw(judged: Exits, folder: Path) -> Path:
    """A curve for each exit: the share that is right among images of which it is equally sure. On
    the diagonal it is as right as it says. UsageError where the picture cannot be written."""
    figure = empty_figure(5, 6)
    axes = figure.add_subplot(xlabel="confidence", ylabel="share that is right")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    names = [*(f"after {name}" for name in judged.afters), "the end"]
    for name, column in zip(names, judged.table, strict=True):
        sure = np.abs(column) / 1000
        right = np.array(column) > 0
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        used = [number for number in range(BINS) if (place == number).any()]
        axes.plot(
            [sure[place == number].mean() for number in used],
            [right[place == number].mean() for number in used],
            marker="o",
            label=name,
        )
    axes.legend()
    return save(figure, folder, "exits")


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"

"""The accuracy that is kept over the share that all devices hold, as a picture."""

from __future__ import annotations

from pathlib import Path

from shoal.figure import empty_figure, save
from shoal.strategies.shards.record import Record


def plot(network: str, record: Record, folder: Path) -> Path:
    """Write ``folder/shards.png`` and return its path.

    Raises MissingExtraError without matplotlib, UsageError when the folder cannot be written.
    """
    figure = empty_figure(4.0)
    axis = figure.subplots()
    for size in sorted({point.lost for point in record.curve}):
        points = [point for point in record.curve if point.lost == size]
        rhos = [point.rho for point in points]
        (line,) = axis.plot(rhos, [p.mean for p in points], label=f"{size} lost, mean")
        worst = [p.worst for p in points]
        axis.plot(rhos, worst, "--", color=line.get_color(), label=f"{size} lost, worst")
    axis.set_xlabel("share of each layer that all devices hold")
    axis.set_ylabel("share of the accuracy that is kept")
    axis.set_ylim(-0.02, 1.02)
    axis.set_title(f"{network}: {len(record.devices)} devices", loc="left", fontsize=10)
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return save(figure, folder, "shards")

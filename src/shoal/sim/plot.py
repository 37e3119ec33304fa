"""A simulation as a picture: what came and went over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from shoal.figure import empty_figure, save
from shoal.sim.outcome import Moment, Simulated

Axes: TypeAlias = Any
"""Of matplotlib, which :mod:`shoal.figure` alone knows."""

ENDS = {"answered": "#2a9d8f", "late": "#e9a03b", "refused": "#8d99ae", "lost": "#c1121f"}


def plot(found: Simulated, title: str, folder: Path) -> Path:
    """Write ``folder/simulate.png`` and return its path: what became of requests, queues, devices
    that are alive, and (where there are exits) where requests left and by which thresholds.

    Raises MissingExtraError without matplotlib, UsageError when the folder cannot be written.
    """
    moments = found.moments
    exits = list(found.exits)
    drawn: list[tuple[str, Callable[[Axes], Any]]] = [
        ("requests/s", lambda axis: _ends(axis, moments)),
        ("queue", lambda axis: _queues(axis, moments, list(found.devices))),
        ("devices alive", lambda axis: _alive(axis, moments)),
    ]
    if exits:
        drawn.append(("share of exits", lambda axis: _exits(axis, moments, exits)))
        drawn.append(("thresholds", lambda axis: _thresholds(axis, moments)))
    figure = empty_figure(2.2 * len(drawn))
    axes = figure.subplots(len(drawn), 1, sharex=True)
    for axis, (name, draw) in zip(axes, drawn, strict=True):
        draw(axis)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7, frameon=False, ncols=4)
    axes[0].set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("s")
    figure.tight_layout()
    return save(figure, folder, "simulate")


def plot_curve(points: Sequence[tuple[int, float, float]], title: str, folder: Path) -> Path:
    """Write ``folder/devices.png`` and return its path: images/s by the number of devices, as
    simulated and as forecast. Raises as :func:`plot`."""
    figure = empty_figure(4)
    axis = figure.subplots()
    counts = [count for count, _, _ in points]
    axis.plot(counts, [told for _, told, _ in points], marker="o", label="simulated")
    axis.plot(counts, [stated for _, _, stated in points], "--", color="#888888", label="forecast")
    axis.set_xlabel("devices")
    axis.set_ylabel("images/s")
    axis.set_ylim(bottom=0)
    axis.set_title(title, loc="left", fontsize=10)
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return save(figure, folder, "devices")


def _line(
    axis: Axes, moments: Sequence[Moment], name: str, values: Sequence[float], colour: str | None
) -> None:
    times = [moment.at_s for moment in moments]
    axis.plot(times, values, label=name or None, color=colour, linewidth=1)


def _ends(axis: Axes, moments: Sequence[Moment]) -> None:
    step_s = moments[0].at_s
    _line(axis, moments, "asked", [m.asked / step_s for m in moments], "#000000")
    for name, colour in ENDS.items():
        counts = [getattr(moment, name) for moment in moments]
        if name == "answered" or any(counts):
            _line(axis, moments, name, [count / step_s for count in counts], colour)


def _queues(axis: Axes, moments: Sequence[Moment], devices: Sequence[str]) -> None:
    _line(axis, moments, "at the gateway", [m.pending for m in moments], "#000000")
    for name in devices:
        _line(axis, moments, name, [m.queues[name] for m in moments], None)


def _alive(axis: Axes, moments: Sequence[Moment]) -> None:
    _line(axis, moments, "", [m.alive for m in moments], "#264653")


def _exits(axis: Axes, moments: Sequence[Moment], exits: Sequence[str]) -> None:
    times = [moment.at_s for moment in moments]
    shares = [[m.exits.get(exit, 0) / max(1, m.answered) for m in moments] for exit in exits]
    axis.stackplot(times, *shares, labels=list(exits))


def _thresholds(axis: Axes, moments: Sequence[Moment]) -> None:
    for exit in moments[-1].thresholds:
        _line(axis, moments, exit, [m.thresholds[exit] for m in moments], None)

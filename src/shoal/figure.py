"""Figures that are written to a file: matplotlib (extra ``plot``) without a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shoal.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def empty_figure(height: float, width: float = 9) -> Figure:
    """A figure of so many inches, to be written with :func:`save`; no window, no global state.

    MissingExtraError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a picture needs matplotlib: pip install 'shoal[plot]'") from error
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as ``folder/name.png``; UsageError when that cannot be done."""
    path = folder / f"{name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path

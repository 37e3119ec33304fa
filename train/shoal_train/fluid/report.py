"""A training as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.errors import MissingExtraError, StoreError
from shoal.figure import empty_figure


def table_rows(card: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """For each sub-network: name, share of the width, accuracy together, accuracy apart."""
    fluid = card["fluid"]
    return [
        (
            name,
            f"{100 * about['share']:.0f} %",
            f"{100 * about['test_top1']:.2f} %" + ("" if about["trained"] else " (not trained)"),
            f"{100 * about['apart_test_top1']:.2f} %" if "apart_test_top1" in about else "",
        )
        for name, about in fluid["sub_networks"].items()
    ]


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the accuracy of every sub-network over the log's lines; nothing without matplotlib."""
    try:
        figure = empty_figure(4.5, width=8)
    except MissingExtraError:
        return
    axis = figure.subplots()
    numbers = [row["epoch"] for row in rows]
    for name in rows[-1]["accuracy"] if rows else ():
        axis.plot(numbers, [100 * row["accuracy"][name] for row in rows], label=name, linewidth=1)
    axis.set_xlabel("leg of the training (an epoch, or a turn of one sub-network)")
    axis.set_ylabel("accuracy on images held back, %")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=120, metadata={"Software": None})
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error

"""How a training goes, on the screen."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A ``loop.Watcher``: a bar over all epochs, and a line an epoch. Use it in a ``with``."""

    def __init__(self, console: Console, epochs: int) -> None:
        self.epochs = epochs
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("train", total=1, epoch=0, epochs=epochs, loss=0.0)

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        done = epoch - 1 + step / steps
        self.progress.update(self.task, completed=done, total=self.epochs, epoch=epoch, loss=loss)

    def on_epoch(self, row: dict[str, Any]) -> None:
        self.progress.console.print(
            f"epoch {row['epoch']:3d}/{self.epochs}  loss {row['loss']:.4f}  "
            f"validation {100 * row['score']:.2f} %  {row['seconds']:.0f} s"
        )


class LegBar(Bar):
    """The same for a fluid training, whose log has a line a leg: ``epochs`` is their number."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        accuracy = "  ".join(
            f"{name} {100 * value:.2f}" for name, value in list(row["accuracy"].items())[-8:]
        )
        self.progress.console.print(
            f"{row['epoch']:3d}/{self.epochs}  {row['turn']}  loss {row['loss']:.4f}  "
            f"{accuracy} %  {row['seconds']:.0f} s"
        )


class Doing:
    """A bar for each thing that is done, one after the other. Use it in a ``with``."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("", total=1.0)
        self.what = ""

    def __enter__(self) -> Doing:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def tell(self, what: str, share: float) -> None:
        """Show that the share of ``what`` is done."""
        if what != self.what:
            self.what = what
            self.progress.reset(self.task, total=1.0, description=what)
        self.progress.update(self.task, completed=share)

"""``shoal plan --explain`` and the progress of a calibration, on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from shoal.cli.output import human_bytes, stderr, stdout, table
from shoal.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.plan.plan import Playbook
    from shoal.strategies.split.explain import Explained, Shown

COLUMNS = ("ms>", "images/s>", "bytes/image>", "accuracy>", "device ms>", "link ms>", "server ms>",
           "bounded by")  # fmt: skip
MOST_MBIT = 1e6


@contextmanager
def calibration_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr for the time of a calibration; gives what has to be told of the progress."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("calibrating"), BarColumn(), TextColumn("{task.description}"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task("", total=1.0)

        def tell(share: float, text: str) -> None:
            progress.update(task, completed=share, description=text)

        yield tell


def check_bandwidth(bandwidth: float | None) -> None:
    """UsageError for a bandwidth that is none."""
    if bandwidth is not None and not 0 < bandwidth <= MOST_MBIT:
        raise UsageError(f"--bandwidth {bandwidth:g}: give Mbit/s, above 0 and up to {MOST_MBIT:g}")


def explain(playbook: Playbook, bandwidth: float | None) -> dict[str, Any]:
    """The Pareto front, and what is chosen at each bandwidth, as plain data.

    Raises UsageError for a playbook of another strategy.
    """
    from shoal.strategies.split.explain import SHOWN, at_bandwidth, pareto

    if playbook.strategy != "split":
        raise UsageError(
            f"--explain is for the strategy split, not {playbook.strategy}; name it with --strategy"
        )
    asked = SHOWN if bandwidth is None else (bandwidth,)
    return {
        "front": pareto(playbook),
        "bandwidths": [at_bandwidth(playbook, mbit_s) for mbit_s in asked],
    }


def show(found: dict[str, Any]) -> None:
    """Print what :func:`explain` found."""
    console = stdout()
    front: list[Shown] = found["front"]
    at: list[Explained] = found["bandwidths"]
    console.print(
        table(
            "plans that no other beats by every measure, on the links as they are",
            ("plan", *COLUMNS),
            ((shown.plan, *_cells(shown)) for shown in front),
        )
    )
    if len(at) > 1:
        console.print(_chosen(at))
    else:
        console.print(_all(at[0]))
    for each in at:
        if each.relaxed:
            console.print(Text(f"{each.mbit_s:g} Mbit/s: {each.chosen.why}"), soft_wrap=True)


def _chosen(at: list[Explained]) -> Table:
    """A line for each bandwidth: the plan that is chosen, and what bounds the next one."""
    rows = []
    for each in at:
        mine, others = each.chosen, each.others[:1]
        rest = "".join(f"{o.plan}: {o.bound}, {o.why}" for o in others)
        cells = _cells(mine)
        rows.append((f"{each.mbit_s:g}", mine.plan, *cells[:4], mine.bound, rest))
    columns = ("Mbit/s>", "chosen", *COLUMNS[:4], "bounded by", "what bounds the next one")
    return table("what is chosen at which bandwidth", columns, rows)


def _all(each: Explained) -> Table:
    """A line for each cut: its best plan, what bounds it, and why it is not chosen."""
    rows = [(o.plan, *_cells(o), o.why) for o in (each.chosen, *each.others)]
    title = f"at {each.mbit_s:g} Mbit/s: the chosen plan, and the best of every other cut"
    return table(title, ("plan", *COLUMNS, "why"), rows)


def _cells(shown: Shown) -> tuple[str, ...]:
    return (
        f"{shown.latency_ms:.1f}",
        f"{shown.images_per_s:.1f}",
        human_bytes(shown.bytes),
        f"{shown.accuracy:.3f}",
        f"{shown.device_ms:.1f}",
        f"{shown.link_ms:.1f}",
        f"{shown.server_ms:.1f}",
        shown.bound,
    )


def draw(name: str, playbook: Playbook, found: dict[str, Any], folder: Path) -> Path:
    """The same as a picture in ``folder``; MissingExtraError without matplotlib."""
    from shoal.strategies.split.plot import plot

    return plot(name, playbook, found["front"], folder)

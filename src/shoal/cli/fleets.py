"""``shoal simulate --devices``: a network planned for ever more devices, and what each brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shoal.cli.asked import Asked, tell
from shoal.cli.output import print_json, stderr, stdout, table
from shoal.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.plan.objective import Objective
    from shoal.runtime.simulating import Fleet

MAX_DEVICES = 64
WRONG = ("late", "refused", "lost", "degraded")


def show_fleets(
    model: str,
    inputs: Sequence[str] | None,
    fixed: Sequence[str] | None,
    devices: str,
    asked: Asked,
    strategy: str | None,
    settings: Mapping[str, str],
    wish: Objective,
) -> None:
    """A simulation for each number of devices: show what each brings."""
    from shoal.cli.models import load_network
    from shoal.runtime.simulating import curve
    from shoal.runtime.survey import survey
    from shoal.sim.plot import plot_curve
    from shoal.strategies.making import candidates

    counts = counts_of(devices)
    if model.endswith(".json"):
        raise UsageError(f"{model}: with --devices name the network, which is planned anew")
    offered = candidates(strategy, settings)
    network = load_network(model, inputs, fixed)
    steps: list[Fleet] = []
    with stderr().status("measuring ...") as status:
        seen = survey(network, asked.cluster, progress=lambda text: status.update(f"{text} ..."))
        made = curve(
            counts, offered, network, seen, wish, lambda book: asked.demand_of(book)[0],
            asked.seed, asked.feeds,
        )  # fmt: skip
        for count in counts:
            status.update(f"{count} devices ...")
            steps.append(next(made))
    title = f"{network.name} on {counts[0]} to {counts[-1]} devices"
    points = [
        (s.devices, s.simulated.images_per_s, s.forecast_images_per_s) for s in steps if s.simulated
    ]
    drawn = plot_curve(points, title, asked.folder) if asked.folder and points else None
    if asked.json:
        print_json({"assumed": seen.assumed, "steps": steps})
        return
    stdout().print(curve_table(title, steps))
    notes = [*dict.fromkeys(note for step in steps for note in step.notes)]
    notes += [f"with {s.devices} it is not possible: {s.refused}" for s in steps if s.refused]
    if strategy is None and not any(_distributes(step) for step in steps):
        notes.append(
            "not to distribute is the best for each number: name a --strategy to see what devices "
            "bring"
        )
    tell(notes, [drawn] if drawn is not None else [])


def _distributes(step: Fleet) -> bool:
    """Whether the network leaves the user's own machine."""
    from shoal.strategies.base import find_strategy

    return not step.strategy or find_strategy(step.strategy).distributes


def counts_of(devices: str) -> range:
    """Numbers of devices: ``4``, or ``1..12``; UsageError for anything else."""
    first, dots, last = devices.partition("..")
    try:
        counts = range(int(first), int(last if dots else first) + 1)
    except ValueError:
        counts = range(0)
    if not counts or not 1 <= counts[0] <= counts[-1] <= MAX_DEVICES:
        raise UsageError(
            f"--devices {devices}: write it like 4 or 1..12, at least 1 and at most {MAX_DEVICES}"
        )
    return counts


def curve_table(title: str, steps: Sequence[Fleet]) -> Table:
    """A line for each number of devices that is possible. What went wrong has a column where it
    happened to some request."""
    made = [(step, step.simulated) for step in steps if step.simulated is not None]
    wrong = [what for what in WRONG if any(getattr(found, what) for _, found in made)]
    columns = ("devices>", "strategy", "images/s>", "forecast>", "p50 ms>", "p99 ms>")
    lines = (
        (
            step.devices,
            step.strategy,
            f"{found.images_per_s:.1f}",
            f"{step.forecast_images_per_s:.1f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
            *(getattr(found, what) for what in wrong),
        )
        for step, found in made
    )
    return table(title, (*columns, *(f"{what}>" for what in wrong)), lines)

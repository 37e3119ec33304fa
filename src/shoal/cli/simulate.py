"""``shoal simulate``: what a playbook makes of a load, in virtual time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.answers import counted, measures, ran
from shoal.cli.declared import WithDeclared
from shoal.cli.output import Json, print_json, show_log, stderr, stdout, table
from shoal.cli.wish import Aims
from shoal.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.core.log import Step
    from shoal.plan.cluster import Cluster
    from shoal.plan.network import Feeds
    from shoal.plan.plan import Playbook
    from shoal.runtime.recording import RecordingWriter
    from shoal.runtime.simulating import Fleet
    from shoal.sim.node import Node
    from shoal.sim.outcome import Demand, Simulated

AUTO = "auto"
SECONDS = 60.0
MAX_SECONDS = 7 * 24 * 3600.0
MAX_REQUESTS = 10_000_000
MAX_DEVICES = 64
WRONG = ("late", "refused", "lost", "degraded")

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(cls=WithDeclared)
def simulate(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="PLAYBOOK|MODEL",
            help="The playbook to simulate, from 'shoal plan -o'. With --devices: the network.",
        ),
    ],
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    arrivals: Annotated[
        str | None,
        typer.Option(
            metavar="KIND|FILE",
            help="How requests come at --rate: steady (default), poisson, bursts (three times as "
            "fast for 1 s, then none for 2 s); or a file of times in seconds, one on each line.",
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Requests per second, whoever is busy.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Without --rate: requests under way at once; without both: enough to keep all "
            "devices busy.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help=f"For how long is asked; without it {SECONDS:g}, or the whole seconds that a file "
            "fills.",
        ),
    ] = None,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help="How long a request may take.")
    ] = 10_000.0,
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A fault schedule (YAML), as 'shoal lab' takes it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn: the same, the same run.")] = 0,
    example: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="An image as .npy or .npz, to weigh what is packed (without it: noise). With "
            "--devices the network is also proved on it.",
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="A..B",
            help="Plan MODEL anew for A to B of the cluster's devices, or copies of the last one "
            "where there are fewer, and show what each number brings.",
        ),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(help="With --devices: a strategy, or auto: the best for each number."),
    ] = AUTO,
    objective: Aims = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Record all that the gateway does, for 'shoal replay'."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw what happens over time in DIR.")
    ] = None,
    json: Json = False,
) -> None:
    """Let the nodes and the policy of a playbook answer a load in virtual time.

    Runs take what the playbook forecasts, links carry what the cluster file states. The same
    arguments give the same run. With --devices it is planned for so many devices first.
    """
    from shoal.figure import empty_figure
    from shoal.plan.cluster import Cluster
    from shoal.plan.playbook import load

    show_log()
    if plot is not None:
        empty_figure(1)
    stated = Cluster.load(cluster)
    load_of = _load(arrivals, rate, window, seconds, deadline_ms, seed)
    if devices is not None:
        alone = {"--log": log, "--faults": faults}
        _refuse(alone, "is of one simulation: leave it out with --devices")
        _curve(what, stated, devices, strategy, ctx.obj, objective, load_of, seed, example, plot,
               json)  # fmt: skip
        return
    only = {
        "--strategy": strategy != AUTO,
        "an option of a strategy": ctx.obj or None,
        "--objective": objective,
    }
    _refuse(only, "is for planning anew: give --devices and the network")
    _one(load(what), stated, load_of, faults, seed, example, log, plot, json)


def _refuse(given: dict[str, Any], why: str) -> None:
    """UsageError for the first option that was given."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"{name} {why}")


def _load(
    arrivals: str | None,
    rate: float | None,
    window: int | None,
    seconds: float | None,
    deadline_ms: float,
    seed: int,
) -> Callable[[Playbook], tuple[Demand, str]]:
    """The load for a playbook, and it in words; UsageError for one that makes no sense, DataError
    for a file that does not."""
    from shoal.runtime.service import MAX_WINDOW, busy_window
    from shoal.sim.arrivals import KINDS, trace
    from shoal.sim.outcome import Demand

    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise UsageError(f"--seconds {seconds:g}: write more than 0, at most {MAX_SECONDS:g}")
    if rate is not None and window is not None:
        raise UsageError("--rate and --window exclude each other: give one of them")
    if arrivals is not None and arrivals not in KINDS:
        _refuse({"--rate": rate, "--window": window}, "goes with no file of times: leave it out")
        times = trace(arrivals)
        lasts_s = seconds or math.floor(times[-1]) + 1.0
        within = bisect_left(times, lasts_s)
        if not within or lasts_s > MAX_SECONDS or within > MAX_REQUESTS:
            raise DataError(
                f"{arrivals}: {within} requests come within {lasts_s:g} s, the first at "
                f"{times[0]:g} s; 1 to {MAX_REQUESTS} within {MAX_SECONDS:g} s are possible: count "
                "from 0, or give other --seconds"
            )
        said = f"{Path(arrivals).name}"
        return lambda playbook: (Demand(lasts_s, times, deadline_ms=deadline_ms), said)
    lasts_s = seconds or SECONDS
    if rate is not None:
        if not 0 < rate * lasts_s <= MAX_REQUESTS:
            raise UsageError(
                f"--rate {rate:g}: write more than 0 per second, and so that no more than "
                f"{MAX_REQUESTS} are asked"
            )
        kind = arrivals or "steady"
        return lambda playbook: (
            Demand(lasts_s, KINDS[kind](rate, seed), deadline_ms=deadline_ms),
            f"{rate:g}/s, {kind}",
        )
    if arrivals is not None:
        raise UsageError(f"--arrivals {arrivals} comes at a rate: give --rate as well")

    def windowed(playbook: Playbook) -> tuple[Demand, str]:
        width = min(window or busy_window(playbook), MAX_WINDOW)
        return Demand(lasts_s, None, width, deadline_ms), f"{width} under way"

    return windowed


def _one(
    playbook: Playbook,
    cluster: Cluster,
    load_of: Callable[[Playbook], tuple[Demand, str]],
    schedule: Path | None,
    seed: int,
    example: Path | None,
    log: Path | None,
    folder: Path | None,
    json: bool,
) -> None:
    """One simulation: tell what came of it."""
    import msgspec
    from rich.progress import Progress

    from shoal.runtime.recording import RecordingWriter
    from shoal.runtime.simulating import crossings_of, prepared
    from shoal.sim.faults import load_faults
    from shoal.sim.mishaps import check_faults, left_out
    from shoal.sim.plot import plot
    from shoal.sim.serving import check_devices

    check_devices(playbook, cluster)
    faults = () if schedule is None else load_faults(schedule)
    check_faults(faults, cluster)
    load, said = load_of(playbook)
    crossings, note = crossings_of(playbook, None, _feeds(example, playbook))
    with ExitStack() as stack:
        writer = None
        if log is not None:
            writer = RecordingWriter(log, patient=True)
            stack.callback(writer.close)
        tap = None if writer is None else _tap(writer, cluster.gateway.name)
        simulation, notes = prepared(playbook, cluster, crossings, seed, tap=tap)
        notes = [text for text in (note, *notes) if text]
        notes += [f"the fault {kind} changes nothing here" for kind in left_out(faults)]
        console = stderr()
        hidden = json or not console.is_terminal
        bar = stack.enter_context(Progress(console=console, transient=True, disable=hidden))
        task = bar.add_task("simulating", total=load.seconds)
        found = simulation.run(load, faults, lambda at_s: bar.update(task, completed=at_s))
    title = f"{playbook.network} by {playbook.strategy}, {found.seconds:g} s in virtual time"
    drawn = None if folder is None else plot(found, f"{title}; {said}", folder)
    if json:
        print_json(msgspec.structs.asdict(found) | {"notes": notes})
        return
    stdout().print(table_of(found, title, said))
    _say(notes, [path for path in (drawn, log) if path is not None])


def _tap(writer: RecordingWriter, gateway: str) -> Callable[[Node], Callable[[Step], None] | None]:
    def tap(node: Node) -> Callable[[Step], None] | None:
        if node.name != gateway:
            return None
        writer.start(node.core.origin)
        return writer.take

    return tap


def _feeds(example: Path | None, playbook: Playbook) -> Feeds | None:
    """The first image of a file."""
    from shoal.cli.inputs import Case, from_arrays

    if example is None:
        return None
    case = next(from_arrays([example], playbook, 1).cases)
    if not isinstance(case, Case):
        raise case.error
    return case.feeds


def table_of(found: Simulated, title: str, said: str) -> Table:
    """What came of a load, in the words of ``shoal run``."""
    ends = {"late": ("deadline",), "refused": ("overloaded",)}
    others = tuple(kind for kind in found.reasons if kind not in ("deadline", "overloaded"))
    rows: list[tuple[str, Any]] = [("asked", found.asked), ("answered", found.answered)]
    for what, count in (("late", found.late), ("refused", found.refused), ("lost", found.lost)):
        first = next((found.said[k] for k in ends.get(what, others) if k in found.said), "")
        why = {kind: found.reasons[kind] for kind in others} if what == "lost" else {}
        told = f" {counted(why)}" if why else ""
        rows.append((what, f"{count}:{told} ({first})" if count else 0))
    rows += measures(found, said)
    if found.exits:
        *exits, end = (f"{count / max(1, found.answered):.1%}" for count in found.exits.values())
        numbered = [f"exit {number} {share}" for number, share in enumerate(exits, 1)]
        rows.append(("exits", ", ".join([*numbered, f"the end {end}"])))
    if found.accuracy is not None:
        rows.append(("accuracy", f"{100 * found.accuracy:.1f} % by the calibration"))
    rows += [(name, f"{ran(each)}, busy {each.busy:.0%}") for name, each in found.devices.items()]
    return table(title, ("", ""), rows)


def _say(notes: Sequence[str], written: Sequence[Path]) -> None:
    for text in (*notes, *(f"wrote {path}" for path in written)):
        stdout().print(text, soft_wrap=True)


# -- more devices


def _distributes(step: Fleet) -> bool:
    """Whether the network leaves the user's own machine."""
    from shoal.strategies.base import find_strategy

    return not step.strategy or find_strategy(step.strategy).distributes


def _curve(
    model: str,
    cluster: Cluster,
    devices: str,
    strategy: str,
    settings: Mapping[str, str],
    objective: str | None,
    load_of: Callable[[Playbook], tuple[Demand, str]],
    seed: int,
    example: Path | None,
    folder: Path | None,
    json: bool,
) -> None:
    """A simulation for each number of devices: show what each brings."""
    from shoal.cli.models import load_network
    from shoal.plan.objective import Objective
    from shoal.runtime.simulating import curve
    from shoal.runtime.survey import survey
    from shoal.sim.plot import plot_curve
    from shoal.strategies.making import candidates

    counts = counts_of(devices)
    if model.endswith(".json"):
        raise UsageError(f"{model}: with --devices name the network, which is planned anew")
    wish = Objective.of(objective)
    offered = candidates(None if strategy == AUTO else strategy, settings)
    network = load_network(model, example)
    steps: list[Fleet] = []
    with stderr().status("measuring ...") as status:
        seen = survey(network, cluster, progress=lambda text: status.update(f"{text} ..."))
        made = curve(
            counts, offered, network, seen, wish, lambda book: load_of(book)[0], seed,
            lambda book: _feeds(example, book),
        )  # fmt: skip
        for count in counts:
            status.update(f"{count} devices ...")
            steps.append(next(made))
    title = f"{network.name} on {counts[0]} to {counts[-1]} devices"
    points = [
        (s.devices, s.simulated.images_per_s, s.forecast_images_per_s) for s in steps if s.simulated
    ]
    drawn = plot_curve(points, title, folder) if folder is not None and points else None
    if json:
        print_json({"assumed": seen.assumed, "steps": steps})
        return
    stdout().print(curve_table(title, steps))
    notes = [*dict.fromkeys(note for step in steps for note in step.notes)]
    notes += [f"with {s.devices} it is not possible: {s.refused}" for s in steps if s.refused]
    if strategy == AUTO and not any(_distributes(step) for step in steps):
        notes.append(
            "not to distribute is the best for each number: name a --strategy to see what devices "
            "bring"
        )
    _say(notes, [drawn] if drawn is not None else [])


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

"""``shoal simulate``: what a playbook makes of a load, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.answers import counted, measures, ran
from shoal.cli.asked import SECONDS, Asked, demand_of, refuse, tell
from shoal.cli.declared import WithDeclared
from shoal.cli.fleets import show_fleets
from shoal.cli.models import Fixed, file_of
from shoal.cli.output import Json, print_json, show_log, stderr, stdout, table
from shoal.cli.wish import AgreementFile, Aims, TaskName, objective_of

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.core.log import Step
    from shoal.plan.plan import Playbook
    from shoal.runtime.recording import RecordingWriter
    from shoal.sim.node import Node
    from shoal.sim.outcome import Simulated

AUTO = "auto"

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
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]FILE|SIZES",
            help="An image as .npy or .npz, to weigh what is packed (without it: noise). With "
            "--devices as 'shoal plan' takes it.",
        ),
    ] = None,
    fixed: Fixed = None,
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
    task: TaskName = None,
    agreement: AgreementFile = None,
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
    demand = demand_of(arrivals, rate, window, seconds, deadline_ms, seed)
    image = file_of(inputs or ())
    asked = Asked(Cluster.load(cluster), demand, seed, image, plot, json)
    if devices is not None:
        refuse(
            {"--log": log, "--faults": faults}, "is of one simulation: leave it out with --devices"
        )
        named = None if strategy == AUTO else strategy
        wish = objective_of(objective, task=task, agreement=agreement)
        show_fleets(what, inputs, fixed, devices, asked, named, ctx.obj, wish)
        return
    only = {
        "--strategy": strategy != AUTO,
        "an option of a strategy": ctx.obj or None,
        "--objective": objective,
        "--task": task,
        "--agreement": agreement,
        "--fix": fixed,
        "more than one --input, or sizes": len(inputs or ()) > (image is not None),
    }
    refuse(only, "is for planning anew: give --devices and the network")
    _one(load(what), asked, faults, log)


def _one(playbook: Playbook, asked: Asked, schedule: Path | None, log: Path | None) -> None:
    """One simulation: tell what came of it."""
    import msgspec
    from rich.progress import Progress

    from shoal.runtime.recording import RecordingWriter
    from shoal.runtime.simulating import crossings_of, prepared
    from shoal.sim.faults import load_faults
    from shoal.sim.mishaps import check_faults, left_out
    from shoal.sim.plot import plot
    from shoal.sim.serving import check_devices

    cluster = asked.cluster
    check_devices(playbook, cluster)
    faults = () if schedule is None else load_faults(schedule)
    check_faults(faults, cluster)
    load, said = asked.demand_of(playbook)
    crossings, note = crossings_of(playbook, None, asked.feeds(playbook))
    with ExitStack() as stack:
        writer = None
        if log is not None:
            writer = RecordingWriter(log, patient=True)
            stack.callback(writer.close)
        tap = None if writer is None else _tap(writer, cluster.gateway.name)
        simulation, notes = prepared(playbook, cluster, crossings, asked.seed, tap=tap)
        notes = [text for text in (note, *notes) if text]
        notes += [f"the fault {kind} changes nothing here" for kind in left_out(faults)]
        console = stderr()
        hidden = asked.json or not console.is_terminal
        bar = stack.enter_context(Progress(console=console, transient=True, disable=hidden))
        shown = bar.add_task("simulating", total=load.seconds)
        found = simulation.run(load, faults, lambda at_s: bar.update(shown, completed=at_s))
    title = f"{playbook.network} by {playbook.strategy}, {found.seconds:g} s in virtual time"
    drawn = asked.folder and plot(found, f"{title}; {said}", asked.folder)
    if asked.json:
        print_json(msgspec.structs.asdict(found) | {"notes": notes})
        return
    stdout().print(table_of(found, title, said))
    tell(notes, [path for path in (drawn, log) if path is not None])


def _tap(writer: RecordingWriter, gateway: str) -> Callable[[Node], Callable[[Step], None] | None]:
    def tap(node: Node) -> Callable[[Step], None] | None:
        if node.name != gateway:
            return None
        writer.start(node.core.origin)
        return writer.take

    return tap


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

"""``shoal lab chaos``: a deployment under load while faults fall on it, told second by second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from shoal.cli.models import load_network
from shoal.cli.output import Json, print_json, stderr, stdout, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from shoal_lab.chaos import Moment, Scene, Story
    from shoal_lab.player import Happening


def chaos(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[LAB.YAML]", help="A lab; without it: a gateway and three boards."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, max=60, help="How long.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Which schedule of faults.")] = 7,
    strategy: Annotated[str, typer.Option(help="How the network is spread.")] = "pipeline",
    model: Annotated[
        str, typer.Option(help="An .onnx or .fluid file, or a name of 'shoal zoo list'.")
    ] = "fashion-resnet",
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Plain processes; only kill, freeze and restart.")
    ] = False,
    logs: Annotated[
        Path | None, typer.Option("--logs", metavar="DIR", help="Keep what the hosts print here.")
    ] = None,
    json: Json = False,
) -> None:
    """Keep a deployment under load while random faults fall on its devices and links.

    The first host of the lab holds the gateway; the schedule is the same for the same seed and
    replaces the faults of the lab file. Every answer is compared with the whole network's. Exits
    with 1 if a request was lost, answered twice or answered wrong. Takes the lab down whatever
    happens.
    """
    from shoal.strategies.base import find_strategy
    from shoal_lab.chaos import play, scene
    from shoal_lab.machine import look

    find_strategy(strategy)
    load_network(model)  # refused here, before anything is made
    wanted = scene(
        file, 60 * minutes, seed, look(), model=model, strategy=strategy, loopback=loopback
    )
    console = stderr() if json else stdout()
    console.print(
        f"{len(wanted.spec.hosts)} hosts, {strategy} of {model} on {', '.join(wanted.workers)}, "
        f"asked by {wanted.gate}; {len(wanted.faults)} faults in {60 * minutes:g} s (seed {seed})",
        soft_wrap=True,
    )
    console.print("before the load, which takes about a minute on slow devices:", style="dim")
    story = play(
        wanted,
        loopback=loopback,
        logs=logs,
        on_warning=lambda text: stderr().print(f"warning: {text}", style="yellow"),
        on_step=lambda text: console.print(f"  {text} ...", style="dim", soft_wrap=True),
        on_second=lambda moment: console.print(second_text(moment), soft_wrap=True),
        on_happening=lambda happening: console.print(happening_text(happening), soft_wrap=True),
    )
    if json:
        print_json(facts(wanted, seed, story))
    else:
        _summary(console, story)
    raise typer.Exit(0 if story.totals.met else 1)


def facts(played: Scene, seed: int, story: Story) -> dict[str, Any]:
    """The story as plain data."""
    import msgspec

    made: dict[str, Any] = {
        "lab": played.spec.name,
        "seed": seed,
        "strategy": played.strategy,
        "model": played.model,
        "faults": played.faults,
        "met": story.totals.met,
    }
    told = msgspec.structs.asdict(story)
    del told["records"]  # thousands, and all that they say is in the rest
    return made | told


def second_text(moment: Moment) -> Text:
    """A second as one line."""
    tick = moment.tick
    counts = (
        ("lost", tick.lost, "bold red"),
        ("twice", tick.twice, "bold red"),
        ("wrong", tick.wrong, "bold red"),
        ("degraded", tick.degraded, "yellow"),
    )
    line = Text(f"{moment.at_s:6.0f} s {tick.answered:5d} answers/s")
    if tick.answered:
        line.append(f"  p50 {tick.p50_ms:5.0f} ms  slowest {tick.slowest_ms:6.0f} ms ")
    else:  # no answer took no time
        line.append("  p50     -     slowest      -     ")
    for name, count, style in counts:
        line.append(f" {name} {count}", style if count else "dim")
    absent = [f"{name} {state}" for name, state in tick.states.items() if state != "alive"]
    going_on = "; ".join((*moment.going_on, *absent))
    line.append(f"  {going_on}", "yellow")
    return line


def happening_text(happening: Happening) -> Text:
    """Something that was done to the lab, as one line."""
    failed = f" failed: {happening.error}" if happening.error else ""
    return Text(f"{happening.at_s:8.1f} s  {happening.text}{failed}", "bold")


def _summary(console: Console, story: Story) -> None:
    if story.effects:
        console.print(effects_table(story))
    for loss in [loss for loss in story.losses if not loss.excused][:20]:
        console.print(
            f"lost: asked at {loss.asked_s:.1f} s, failed at {loss.ended_s:.1f} s: {loss.reason}",
            style="red",
            soft_wrap=True,
        )
    console.print(table("all of it", ("", ""), _totals(story)))


def effects_table(story: Story) -> Table:
    """What each fault did."""
    return table(
        "what the faults did",
        ("at>", "fault", "lasted>", "longest silence>", "slowest answer>", "at work again after>"),
        (
            (
                f"{one.at_s:.1f} s",
                one.what,
                "" if one.lasted_s is None else f"{one.lasted_s:.1f} s",
                f"{one.silence_ms:.0f} ms",
                f"{one.slowest_ms:.0f} ms",
                "" if one.back_s is None else f"{one.back_s:.1f} s",
            )
            for one in story.effects
        ),
    )


def _totals(story: Story) -> Iterator[tuple[str, Any]]:
    found = story.totals
    yield "requests", found.asked
    yield "answered", f"{found.answered} ({found.images_per_s:.1f} a second)"

    def count(number: int) -> Text:
        return Text(str(number), "bold red" if number else "green")

    yield "lost", count(found.lost)
    yield "answered twice", count(found.twice)
    yield "wrong", count(found.wrong)
    yield "degraded, and said so", found.degraded
    if found.excused:
        yield "failed while nobody could be reached", found.excused
    times = (f"p50 {found.usual_ms:.0f} ms", f"p99 {found.p99_ms:.0f} ms")
    yield "time of an answer", ", ".join((*times, f"slowest {found.slowest_ms:.0f} ms"))
    if story.energy_j:
        used = ", ".join(f"{host} {joules:.0f} J" for host, joules in story.energy_j.items())
        yield "energy, estimated", used

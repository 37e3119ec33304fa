"""``shoal replay``: play a recording of a node again, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.output import Json, print_json, stdout
from shoal.errors import RecordingError, ReplayError

if TYPE_CHECKING:
    from shoal.core.log import Step
    from shoal.core.node import NodeCore
    from shoal.core.story import Story
    from shoal.sim.replay import Played

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="From --record of 'shoal run' or 'shoal worker', or --log of 'shoal simulate'.",
        ),
    ],
    story: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tell what happened to request N on this node."),
    ] = None,
    gateway: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Whose request N is, for the recording of a worker; without it: of this node.",
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Give a fresh node the events of a recorded one, in virtual time, and compare what it does.

    All that a node decides follows from the events that it takes, so it does the same, unless its
    code or a policy has changed, or a policy is not a pure function: then the first difference is
    shown (exit code 76). Nothing is sent to anybody.
    """
    from shoal.core.story import concerns, tell
    from shoal.sim.replay import play, read

    steps: list[Step] = []

    def keep(core: NodeCore, step: Step) -> None:
        if story is not None and concerns(step, story):
            steps.append(step)

    played = play(read(file), watch=keep)
    if not played.events and played.difference is None:
        raise RecordingError(f"{file}: it breaks off before the node took its first event")
    told = None if story is None else tell(steps, played.node, story, gateway)
    if json:
        facts: dict[str, Any] = {"played": played}
        print_json(facts if told is None else facts | {"story": told})
    else:
        for text in _say(played, told):
            stdout().print(text, soft_wrap=True)
    if played.difference is not None:
        raise ReplayError(
            f"{file}: event {played.difference.number} led to something else than it did in Shoal "
            f"{played.version}"
        )


def _say(played: Played, told: Story | None) -> list[str]:
    lines = [f"{played.events} events of {played.node}, the same {played.actions} actions"]
    if played.ended is None:
        lines.append("the recording breaks off there: its process was killed, or still runs")
    elif played.ended:
        lines.append(f"the recording ends there: {played.ended}")
    found = played.difference
    if found is not None:
        lines[1:] = [
            f"then event {found.number}, after {found.at_s:.6f} s: {found.event}",
            *(f"  then: {text}" for text in found.then or ("nothing",)),
            *(f"  now:  {text}" for text in found.now or ("nothing",)),
            f"  differs in: {found.where}",
        ]
    return lines if told is None else [*lines, str(told)]

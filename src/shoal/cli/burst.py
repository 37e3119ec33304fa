"""The demo's last act, in virtual time: slow boards that are asked three times what they can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from shoal.cli.output import table

if TYPE_CHECKING:
    from rich.console import Group

    from shoal.sim.outcome import Moment

BOARDS, SPEED, MBIT_S = 4, 0.05, 20
"""Each is so much slower than this machine."""
LOADS = (("calm", 0.5), ("burst", 3.0), ("calm again", 0.5))
"""What is asked, of what the boards are forecast to do."""
EACH_S = 10.0
DEADLINE_MS = 1000.0


def act(path: Path, strategy: str) -> dict[str, Any]:
    """Plan, and play it: what came of it, in numbers."""
    import shoal
    from shoal.model.profiles import profile
    from shoal.plan.cluster import Cluster
    from shoal.plan.profiles import Profiles
    from shoal.runtime.simulating import crossings_of, prepared
    from shoal.sim.outcome import Demand
    from shoal.strategies.making import make

    network = shoal.load(path)
    devices = ", ".join(f"{{name: board-{k + 1}, speed: {SPEED}}}" for k in range(BOARDS))
    cluster = Cluster.from_yaml(
        f"devices: [{devices}]\nlinks: {{default: {{mbit_s: {MBIT_S}, rtt_ms: 1}}}}"
    )
    profiles = Profiles.scaled(cluster, profile(network))
    built = make(strategy, network, cluster, profiles, fixed="rate")
    playbook = built.playbook
    crossings, _ = crossings_of(playbook, built.parts)
    simulation, _ = prepared(playbook, cluster, crossings)
    rate = playbook.plans[0].forecast.images_per_s
    demand = Demand(EACH_S * len(LOADS), tuple(_times(rate)), deadline_ms=DEADLINE_MS)
    found = simulation.run(demand)
    first = next(stage.exit for stage in playbook.plans[0].stages if stage.exit is not None)
    scenes = {}
    for number, (name, _) in enumerate(LOADS):
        began_s, end_s = number * EACH_S, (number + 1) * EACH_S + 1e-6
        inside = [moment for moment in found.moments if began_s < moment.at_s <= end_s]
        scenes[name] = scene(inside, first.tensor)
    return {
        "boards": BOARDS,
        "speed": SPEED,
        "forecast_images_per_s": rate,
        "asked": found.asked,
        "answered": found.answered,
        "refused": found.refused,
        "late": found.late,
        "lost": found.lost,
        "accuracy": found.accuracy,
        "scenes": scenes,
    }


def _times(rate: float) -> Iterator[float]:
    """When is asked: at an even pace in each scene."""
    for number, (_, times) in enumerate(LOADS):
        count = round(rate * times * EACH_S)
        yield from (number * EACH_S + EACH_S * k / count for k in range(count))


def scene(moments: Sequence[Moment], first: str) -> dict[str, float]:
    """What was asked and answered in a second, which share was refused or late, and left at the
    ``first`` exit, and how sure that had to be in the end."""
    asked = sum(moment.asked for moment in moments)
    answered = sum(moment.answered for moment in moments)
    left = sum(moment.exits.get(first, 0) for moment in moments)
    return {
        "asked_per_s": asked / EACH_S,
        "answered_per_s": answered / EACH_S,
        "refused": sum(moment.refused for moment in moments) / max(1, asked),
        "late": sum(moment.late for moment in moments) / max(1, asked),
        "first_exit": left / max(1, answered),
        "threshold": moments[-1].thresholds.get(first, 0.0) if moments else 0.0,
    }


def act_text(found: dict[str, Any]) -> Group:
    """What came of it, in words."""
    from rich.console import Group

    rows = [
        (
            name,
            f"{each['asked_per_s']:.0f}",
            f"{each['answered_per_s']:.0f}",
            f"{each['refused']:.0%}",
            f"{each['late']:.1%}",
            f"{each['first_exit']:.0%}",
            f"{each['threshold']:.2f}",
        )
        for name, each in found["scenes"].items()
    ]
    columns = ("", "asked/s>", "answered/s>", "refused>", "late>", "left at exit 1>", "if sure>")
    right = "" if found["accuracy"] is None else f" {found['accuracy']:.1%} of the answers right."
    return Group(
        Text(""),
        Text(
            f"{found['asked']:,} asked, {found['answered']:,} answered, {found['refused']:,} "
            f"refused at once, {found['late']} late, {found['lost']} lost.{right}",
            "bold green" if found["lost"] == 0 else "bold red",
        ),
        table("", columns, rows),
    )

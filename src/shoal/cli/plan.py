"""``shoal plan``: what each way to spread a network would do, and which one to take."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from shoal.cli.explain import calibration_bar, check_bandwidth, draw, show
from shoal.cli.explain import explain as explanation
from shoal.cli.models import Example, Model, load_network
from shoal.cli.output import Json, human_bytes, print_json, show_log, stderr, stdout, table
from shoal.cli.wish import objective_of
from shoal.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.model.network import Network
    from shoal.model.strength import Strength
    from shoal.plan.cluster import Cluster
    from shoal.plan.objective import Objective
    from shoal.plan.plan import Playbook
    from shoal.plan.recommend import Option, Recommendation

AUTO = "auto"
SPLIT = "split"


@dataclass(frozen=True)
class Planned:
    """What was planned: the playbook, what it was chosen from, the devices of which what is stated
    was taken for true, and how much the proof of its plans says."""

    playbook: Playbook
    found: Recommendation
    assumed: tuple[str, ...]
    proof: Strength


app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def plan(
    model: Model,
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    strategy: Annotated[
        str, typer.Option(help="A strategy by name, or auto: compare all and take the best.")
    ] = AUTO,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Aims by commas, most important first: throughput (default), latency, bytes, "
            "memory, energy, server-cost, accuracy."
        ),
    ] = None,
    minimise: Annotated[
        str | None,
        typer.Option(metavar="AIM", help="The first aim, as one of --objective."),
    ] = None,
    then: Annotated[
        list[str] | None,
        typer.Option(metavar="AIM", help="The aim after that; may be given several times."),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            "--min-accuracy",
            "--floor",
            help="Least share of the whole network's accuracy: plans below it are the last resort.",
        ),
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Longest time of a request that meets no queue.")
    ] = None,
    example: Example = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Images for the strategy split (docs/split.md)."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the strategy: stages=4."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the playbook.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what split chooses at which bandwidth, and why.")
    ] = False,
    bandwidth: Annotated[
        float | None,
        typer.Option(metavar="MBIT", help="With --explain: all cuts at this bandwidth (Mbit/s)."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --explain: also write DIR/split.png.")
    ] = None,
    json: Json = False,
) -> None:
    """Forecast what each strategy would do on a cluster, and recommend one.

    Devices that can be reached are measured; for the others what the cluster file states is used.
    """
    from shoal.model.store import check_file
    from shoal.plan.cluster import Cluster
    from shoal.plan.playbook import save

    show_log()
    wish = objective_of(objective, minimise, then or (), min_accuracy, max_latency_ms)
    options = parse_settings(settings or [])
    if calibrate is not None:
        if "calibrate" in options:
            raise UsageError("--calibrate and --set calibrate say the same: give one of them")
        options["calibrate"] = str(calibrate)
    explaining = explain or bandwidth is not None or plot is not None
    refuse_nonsense(strategy, options, explaining)
    check_bandwidth(bandwidth)
    if out is not None:
        check_file(out)
    stated = Cluster.load(cluster)
    network = load_network(model, example)
    if strategy == SPLIT:
        calibrate_first(network, wish, options)
    made = build(strategy, network, stated, wish, options)
    playbook, found = made.playbook, made.found
    if out is not None:
        save(playbook, out)
    explained = explanation(playbook, bandwidth) if explaining else None
    drawn = draw(SPLIT, playbook, explained, plot) if plot and explained else None
    if json:
        told = summary(found, playbook, made.assumed, out)
        print_json({**told, "proof": made.proof, **(explained or {})})
        return
    console = stdout()
    console.print(forecast_table(network.name, found))
    for offer in found.options:
        for note in offer.notes:
            console.print(Text(f"{offer.strategy}: {note}"), soft_wrap=True)
    console.print(Text(f"proved: {made.proof}"), soft_wrap=True)
    console.print(Text(found.reason, "bold"), soft_wrap=True)
    if explained is not None:
        show(explained)
    for path in (drawn, out):
        if path is not None:
            console.print(Text(f"wrote {path}"), soft_wrap=True)


def refuse_nonsense(strategy: str, options: Mapping[str, Any], explaining: bool) -> None:
    """UsageError or PlanError for what does not go together, before anything is done."""
    from shoal.strategies.base import check_options, find_strategy

    if explaining and strategy != SPLIT:
        raise UsageError("--explain, --bandwidth and --plot are for --strategy split")
    if strategy != AUTO:
        check_options(find_strategy(strategy), options)
    elif options:
        raise UsageError("--set and --calibrate are for one strategy: name it with --strategy")


def build(
    strategy: str, network: Network, stated: Cluster, wish: Objective, options: Mapping[str, Any]
) -> Planned:
    """Measure the cluster, and build and judge the playbook of a strategy (or of the best)."""
    from shoal.model.store import PartStore
    from shoal.plan.recommend import option, recommend
    from shoal.runtime.survey import survey
    from shoal.strategies.base import compare, make

    store, found = PartStore(), None
    with stderr().status("looking at the cluster ...") as status:
        seen = survey(
            network, stated, store=store, progress=lambda text: status.update(f"{text} ...")
        )
        if strategy == AUTO:
            status.update("comparing strategies ...")
            found = compare(network, seen.cluster, seen.profiles, wish)
            strategy = found.strategy
        status.update(f"building and proving the plans of {strategy} ...")
        built = make(strategy, network, seen.cluster, seen.profiles, wish, store=store, **options)
        if found is None:
            gateway = seen.cluster.gateway.name
            found = recommend([option(strategy, built.playbook, gateway, wish, built.notes)], wish)
    return Planned(built.playbook, found, seen.assumed, built.proof or network.strength())


def calibrate_first(network: Network, wish: Objective, options: dict[str, Any]) -> None:
    """Calibrate, with a bar to look at; the strategy then finds what was measured."""
    if "calibrate" not in options:
        return
    from shoal.strategies.split.build import CONFIDENCE, calibration
    from shoal.strategies.split.images import open_folder

    images = open_folder(options["calibrate"], network.inputs)
    with calibration_bar() as tell:
        calibration(network, images, wish, options.get("confidence", CONFIDENCE), tell)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs; values are numbers where they look like numbers.

    Raises UsageError for one without ``=``, and for a name that is given twice.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not name or not sign:
            raise UsageError(f"--set {setting}: write it like --set stages=4")
        if name in parsed:
            raise UsageError(f"--set {name} is given twice: say it once")
        parsed[name] = value
        for kind in (float, int):
            with suppress(ValueError):
                parsed[name] = kind(value)
    return parsed


def forecast_table(network: str, found: Recommendation) -> Table:
    """A line for each strategy, best first: the forecast of its first plan."""
    columns = (
        "strategy", "ms>", "images/s>", "bytes/image>", "memory>", "bounded by",
        "stands the loss of", "runs on",
    )  # fmt: skip
    return table(f"forecasts for {network}", columns, (_line(option) for option in found.options))


def _line(option: Option) -> tuple[Any, ...]:
    forecast = option.forecast
    if forecast is None:
        return (option.strategy, "", "", "", "", "", "", f"not possible: {option.refused}")
    lasting = "any device"
    if option.unprotected:
        lasting = f"any but {', '.join(option.unprotected)}"
    return (
        option.strategy,
        f"{forecast.latency_ms:.1f}",
        f"{forecast.images_per_s:.1f}",
        human_bytes(forecast.bytes_per_image),
        human_bytes(max(forecast.memory.values(), default=0)),
        forecast.slowest,
        lasting,
        option.plan if len(option.devices) > 1 else option.devices[0],
    )


def summary(
    found: Recommendation, playbook: Playbook, assumed: tuple[str, ...], out: Path | None
) -> dict[str, Any]:
    """Everything that is shown, as plain data; ``assumed`` are devices that were not there."""
    return {
        "recommended": found.strategy,
        "distribute": found.distribute,
        "reason": found.reason,
        "assumed": assumed,
        "options": found.options,
        "plans": [
            {"name": plan.name, "spare": plan.spare, "forecast": plan.forecast}
            for plan in playbook.plans
        ],
        "playbook": None if out is None else str(out),
    }

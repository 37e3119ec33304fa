"""``shoal plan``: what each way to spread a network would do, and which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.models import Model, load_network
from shoal.cli.output import Json, human_bytes, print_json, show_log, stderr, stdout, table

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.model.network import Network
    from shoal.plan.cluster import Cluster
    from shoal.plan.objective import Objective
    from shoal.plan.plan import Plan, Playbook
    from shoal.plan.profiles import Profiles
    from shoal.strategies.base import Built, Store

AUTO = "auto"
ALONE = "local"
"""The strategy that does not distribute."""

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    model: Model,
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="The cluster file (YAML).")],
    strategy: Annotated[
        str, typer.Option(help="A strategy by name, or auto: compare all and take the best.")
    ] = AUTO,
    objective: Annotated[
        str,
        typer.Option(help="What matters, first first: throughput, latency, bytes, memory, energy."),
    ] = "throughput",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the playbook.")
    ] = None,
    json: Json = False,
) -> None:
    """Forecast what each strategy would do on a cluster, and recommend one.

    Devices that can be reached are measured; for the others what the cluster file states is used.
    """
    from shoal.model.store import PartStore
    from shoal.plan.cluster import Cluster
    from shoal.plan.objective import Objective
    from shoal.plan.playbook import save
    from shoal.runtime.survey import survey
    from shoal.strategies.base import find_strategy, strategy_names

    show_log()
    wish = Objective.of(objective)
    names = strategy_names() if strategy == AUTO else (find_strategy(strategy).name,)
    loaded = Cluster.load(cluster)
    network = load_network(model)
    store = PartStore()
    with stderr().status("looking at the cluster ...") as status:
        profiles = survey(
            network, loaded, store=store, progress=lambda text: status.update(f"{text} ...")
        )
        status.update("planning ...")
        made, refused = build_all(names, network, loaded, profiles, wish)
    best = recommend(made, refused, wish)
    keep(made[best], store)
    if out is not None:
        save(made[best].playbook, out)
    if json:
        print_json(summary(made, refused, best, wish, out))
        return
    console = stdout()
    console.print(forecast_table(network.name, made, refused, best))
    for name, built in made.items():
        for note in built.notes:
            console.print(f"{name}: {note}", soft_wrap=True)
    console.print(sentence(made, best, wish), style="bold", soft_wrap=True)
    if out is not None:
        console.print(f"wrote {out}", soft_wrap=True)


def build_all(
    names: tuple[str, ...],
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
) -> tuple[dict[str, Built], dict[str, str]]:
    """What each strategy makes of it, and the reasons of those that cannot."""
    from shoal.errors import PlanError
    from shoal.strategies.base import make

    made: dict[str, Built] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            made[name] = make(name, network, cluster, profiles, objective)
        except PlanError as error:
            refused[name] = str(error)
    return made, refused


def keep(built: Built, store: Store) -> None:
    """Put the parts where 'shoal run' finds them."""
    for part in built.parts.values():
        store.add_part(part)


def recommend(made: dict[str, Built], refused: dict[str, str], objective: Objective) -> str:
    """The strategy to take: the best forecast; of equals the one that distributes least.

    Raises PlanError with every reason when nothing can be done.
    """
    from shoal.errors import PlanError

    if not made:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise PlanError(f"no strategy can do this ({reasons})")
    # Simplest first, as ties keep their order.
    names = sorted(made, key=lambda name: (name != ALONE, len(made[name].playbook.devices)))
    return names[objective.order([first(made[name].playbook).forecast for name in names])[0]]


def first(playbook: Playbook) -> Plan:
    """The plan that is followed while everybody is alive."""
    return playbook.plans[0]


def sentence(made: dict[str, Built], best: str, objective: Objective) -> str:
    """The recommendation in words."""
    plan = first(made[best].playbook)
    expected = f"{plan.forecast.latency_ms:.1f} ms, {plan.forecast.images_per_s:.1f} images/s"
    broken = objective.broken(plan.forecast)
    limits = f"; it breaks your limits: {', '.join(broken)}" if broken else ""
    if len(made) == 1:
        return f"{best}: {expected}{limits}"
    if best == ALONE:
        return f"recommended: do not distribute; this machine alone is best ({expected}){limits}"
    return f"recommended: {best} ({expected}){limits}"


def forecast_table(
    network: str, made: dict[str, Built], refused: dict[str, str], best: str
) -> Table:
    """A line for each strategy: the forecast of its first plan, and how many stand by."""
    rows: list[tuple[Any, ...]] = []
    for name, built in made.items():
        plan = first(built.playbook)
        forecast = plan.forecast
        rows.append(
            (
                f"{name} *" if name == best else name,
                f"{forecast.latency_ms:.1f}",
                f"{forecast.images_per_s:.1f}",
                human_bytes(forecast.bytes_per_image),
                human_bytes(max(forecast.memory.values(), default=0)),
                len(built.playbook.plans) - 1,
                way(plan),
            )
        )
    rows += [(name, "", "", "", "", "", f"not possible: {why}") for name, why in refused.items()]
    columns = ("strategy", "ms>", "images/s>", "bytes/image>", "memory>", "spares>", "runs on")
    return table(f"forecasts for {network}", columns, rows)


def way(plan: Plan) -> str:
    """The devices of each stage: ``a -> b or c``."""
    between = {"one": " or ", "all": " and "}
    return " -> ".join(between[stage.spread].join(stage.parts) for stage in plan.stages)


def summary(
    made: dict[str, Built],
    refused: dict[str, str],
    best: str,
    objective: Objective,
    out: Path | None,
) -> dict[str, Any]:
    """Everything that is shown, as plain data."""
    return {
        "recommended": best,
        "distribute": best != ALONE,
        "objective": objective,
        "strategies": {
            name: {
                "forecast": first(built.playbook).forecast,
                "broken_limits": objective.broken(first(built.playbook).forecast),
                "stages": [tuple(stage.parts) for stage in first(built.playbook).stages],
                "plans": [plan.name for plan in built.playbook.plans],
                "notes": built.notes,
            }
            for name, built in made.items()
        },
        "refused": refused,
        "playbook": None if out is None else str(out),
    }

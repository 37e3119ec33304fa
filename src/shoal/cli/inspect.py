"""``shoal inspect``: what a network is made of, and where it can be cut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from shoal.cli.models import Fixed, Inputs, Model, load_network
from shoal.cli.output import Json, bar, print_json, show_log, stdout, table
from shoal.plan.size import readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from shoal.model.bundle import Bundle
    from shoal.model.exits import Exits
    from shoal.model.network import Network
    from shoal.model.preprocessing import Preprocessing
    from shoal.model.spec import TensorSpec

NAMES_SHOWN = 3
SUBNETS_SHOWN = 32
CHART_WIDTH, CHART_HEIGHT = 100, 8

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def inspect(
    model: Model,
    inputs: Inputs = None,
    fixed: Fixed = None,
    cuts: Annotated[bool, typer.Option("--cuts", help="List every cut.")] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the bytes that cross, along the network.")
    ] = False,
    json: Json = False,
) -> None:
    """Show inputs, outputs, size and cuts of a network, and how well its parts can be proved."""
    from shoal.model.bundle import Bundle

    show_log()
    network = load_network(model, inputs, fixed)
    if json:
        print_json(summary(network))
        return
    console = stdout()
    console.print(facts_table(network))
    if isinstance(network, Bundle):
        console.print(subnets_table(network))
    if network.exits is not None:
        console.print(exits_table(network, network.exits))
    if plot:
        console.print(chart([cut.bytes for cut in network.cuts]))
    if cuts:
        console.print(cuts_table(network))


def summary(network: Network) -> dict[str, Any]:
    """Everything that is shown, as plain data."""
    from shoal.task import guess

    return {
        "name": network.name,
        "hash": network.hash,
        "nodes": len(network.nodes),
        "weight_bytes": network.weight_bytes,
        "inputs": network.inputs,
        "outputs": network.outputs,
        "cuts": network.cuts,
        "proof": network.strength(),
        "preprocessing": network.preprocessing,
        "task": guess(network)._asdict(),
        "exits": None if network.exits is None else exits_summary(network, network.exits),
    }


def exits_summary(network: Network, exits: Exits) -> dict[str, Any]:
    """The exits, as plain data: at which cut each stands, and the share that it answers rightly."""
    from shoal.model.exits import places

    at = places(exits, network.cuts, network.name)
    *accuracies, end = exits.accuracies
    return {
        "heads": [
            {"at": place, "accuracy": accuracy, **msgspec.to_builtins(head)}
            for place, accuracy, head in zip(at, accuracies, exits.heads, strict=True)
        ],
        "end": end,
        "images": exits.images,
        "against": exits.against,
    }


def facts_table(network: Network) -> Table:
    """The network in a few lines."""
    cuts = network.cuts
    single = sum(len(cut.tensors) == 1 for cut in cuts)
    rows = [
        ("hash", network.hash[:16]),
        *(("input", shown(spec)) for spec in network.inputs),
        *(("output", shown(spec, network.spec(spec.name) is None)) for spec in network.outputs),
        ("nodes", len(network.nodes)),
        ("weights", readable(network.weight_bytes)),
        ("cuts", f"{len(cuts)}, {single} of them with a single tensor"),
    ]
    if cuts:
        narrow = min(cuts, key=lambda cut: cut.bytes)
        wide = max(cuts, key=lambda cut: cut.bytes)
        rows.append(("narrowest", f"{readable(narrow.bytes)} at {narrow.at}"))
        rows.append(("widest", f"{readable(wide.bytes)} at {wide.at}"))
    if network.preprocessing is not None:
        rows.append(("photos", _photos(network.preprocessing)))
    if network.exits is not None:
        exits = network.exits
        rows.append(
            ("exits", f"{len(exits.heads)}, held against {exits.truth} on {exits.images} images")
        )
    rows.append(("for", purpose(network)))
    rows.append(("proved", str(network.strength())))
    return table(network.name, ("", ""), rows)


def _photos(how: Preprocessing) -> str:
    """How a photo becomes an input, in a few words."""
    fit = f"crop {how.crop:g}" if how.fit == "crop" else how.fit
    values = f"(pixel / {how.scale:g} - {_numbers(how.mean)}) / {_numbers(how.std)}"
    named = f"{len(how.labels)} labels" if how.labels else "no labels"
    return f"{fit}, {how.resample}, {how.colour or 'rgb or grey'}, {values}, {named}"


def _numbers(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values)
    return shown if len(values) == 1 else f"[{shown}]"


def purpose(network: Network) -> str:
    """What a network is for, and what shows that."""
    from shoal.task import guess

    found = guess(network)
    return f"{found.name or 'not clear (--task)'}: {found.why}"


def subnets_table(bundle: Bundle) -> Table:
    """The sub-networks of a bundle and how accurate each is: its groups run together, and each
    device's by themselves with the logits added. Of many, the first."""
    found: dict[str, dict[str, str]] = {}
    groups = {}
    for subnet in bundle.subnets:
        way = "apart" if subnet.variant == "logits" else "together"
        found.setdefault(subnet.name, {})[way] = f"{100 * subnet.accuracy:.2f} %"
        groups[subnet.name] = len(subnet.groups)
    names = list(found)[:SUBNETS_SHOWN]
    more = f" (the first {len(names)} of {len(found)})" if len(found) > len(names) else ""
    return table(
        f"sub-networks of {len(bundle.groups)} groups{more}",
        ("name", "groups>", "together>", "apart (logits added)>"),
        (
            (name, groups[name], found[name].get("together", ""), found[name].get("apart", ""))
            for name in names
        ),
    )


def exits_table(network: Network, exits: Exits) -> Table:
    """The exits, and the share of the images of the calibration that each answers rightly."""
    found = exits_summary(network, exits)
    rows = [(each["at"], each["after"], each["accuracy"]) for each in found["heads"]]
    return table(
        "exits",
        ("at>", "after", "accuracy>"),
        (
            (at, after, f"{100 * accuracy:.2f} %")
            for at, after, accuracy in (*rows, (len(network.nodes), "the end", found["end"]))
        ),
    )


def cuts_table(network: Network) -> Table:
    """All cuts, with a bar each so that narrow places are seen at once."""
    widest = max((cut.bytes for cut in network.cuts), default=1) or 1
    narrow = sorted(cut.bytes for cut in network.cuts)[: max(1, len(network.cuts) // 10)]
    return table(
        "cuts",
        ("at>", "after", "tensors", "bytes>", ""),
        (
            (
                cut.at,
                network.nodes[cut.at - 1].op,
                _names(cut.names),
                readable(cut.bytes),
                Text(bar(cut.bytes / widest), "green" if cut.bytes in narrow else "blue"),
            )
            for cut in network.cuts
        ),
    )


def chart(values: Sequence[float], width: int = CHART_WIDTH, height: int = CHART_HEIGHT) -> str:
    """Columns over the cuts in order. Where there are more cuts than columns, each column shows
    the narrowest of its cuts, as that is the one to choose."""
    if not values:
        return "no cuts"
    count = min(width, len(values))
    edges = [k * len(values) // count for k in range(count + 1)]
    columns = [min(values[a:b]) for a, b in pairwise(edges)]
    top = max(columns) or 1
    levels = [max(round(column / top * height * 8), 1) for column in columns]
    lines = []
    for row in reversed(range(height)):
        cells = (min(max(level - row * 8, 0), 8) for level in levels)
        mark = readable(top) if row == height - 1 else "0" if row == 0 else ""
        lines.append(f"{mark:>10} │" + "".join(" ▁▂▃▄▅▆▇█"[cell] for cell in cells))
    lines.append(f"{'':>10} └" + "─" * count)
    return "\n".join(lines)


def shown(spec: TensorSpec, by_content: bool = False) -> str:
    """A tensor as people write it: ``input float32 [batch, 3, 224, 224]``. What is free may be so
    ``by_content``: as many as are found."""
    free = "?" if by_content else "batch"
    dims = ", ".join(free if dim is None else str(dim) for dim in spec.shape)
    return f"{spec.name} {spec.dtype} [{dims}]"


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

"""``shoal profile``: how long each range of a network takes on this device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.models import Fixed, Inputs, Model, load_network
from shoal.cli.output import Json, bar, print_json, stderr, stdout, table
from shoal.plan.size import readable

if TYPE_CHECKING:
    from rich.table import Table

    from shoal.model.network import Network
    from shoal.model.profiles import NetworkProfile

SLOWEST = 15

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def profile(
    model: Model,
    inputs: Inputs = None,
    fixed: Fixed = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    provider: Annotated[
        str, typer.Option(help="Execution provider of ONNX Runtime.")
    ] = "CPUExecutionProvider",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Measure again, whatever is known.")
    ] = False,
    nodes: Annotated[bool, typer.Option("--nodes", help="Show every node.")] = False,
    json: Json = False,
) -> None:
    """Measure a network on this device, node by node.

    The result is kept in Shoal's cache, by content and device, and used by 'shoal plan': for 30
    days, or for 10 minutes if the machine was busy with something else.
    """
    from shoal.model.profiles import profile as measure

    network = load_network(model, inputs, fixed)
    with stderr().status(f"measuring {network.name} ..."):
        found = measure(network, threads=threads, provider=provider, refresh=refresh)
    if json:
        print_json(found)
        return
    console = stdout()
    console.print(facts_table(network, found))
    console.print(nodes_table(network, found, everything=nodes))


def facts_table(network: Network, found: NetworkProfile) -> Table:
    """The profile in a few lines."""
    whole = found.range_memory(0, len(network.nodes))
    error = found.error
    rows = [
        ("device", found.device),
        ("whole network", f"{found.whole_ms:.2f} ms, {1e3 / found.whole_ms:.1f} images/s"),
        ("measured", _when(found)),
        ("memory", readable(whole)),
        ("several at once", _batching(network, found)),
        (
            "error",
            f"{100 * error.median:.1f} % (median), {100 * error.p90:.1f} % (p90), "
            f"over {error.ranges} real parts",
        ),
    ]
    return table(f"{network.name} on this device", ("", ""), rows)


def _batching(network: Network, found: NetworkProfile) -> str:
    """Whether several images may be run at once, and whether that pays."""
    from shoal.plan.batching import common_batch

    if network.mixes is not None:
        return f"never: {network.mixes}"
    if not found.batch_ratio:
        return "was not measured"
    batch = common_batch([found.batch_ratio])
    gains = ", ".join(
        f"{count}: {100 * (ratio - 1):+.0f} %" for count, ratio in found.batch_ratio.items()
    )
    verdict = f"{batch} pay" if batch > 1 else "does not pay"
    return f"{verdict} (time of an image in a run of {gains})"


def _when(found: NetworkProfile) -> str:
    from shoal.model.profiles import QUIET

    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.measured_at))
    text = f"{moment}, {100 * found.noise:.0f} % noise"
    if found.noise > QUIET:
        text += ": this machine was busy with something else, measure again when it is quiet"
    return text


def nodes_table(network: Network, found: NetworkProfile, everything: bool) -> Table:
    """The slowest nodes, or all in order."""
    numbers = range(len(network.nodes))
    shown = sorted(numbers, key=lambda k: -found.node_ms[k])[: None if everything else SLOWEST]
    top = max(found.node_ms) or 1.0
    return table(
        "nodes" if everything else f"the {len(shown)} slowest nodes",
        ("node>", "operator", "makes", "ms>", "share>", ""),
        (
            (
                number,
                network.nodes[number].op,
                network.nodes[number].makes[0],
                f"{found.node_ms[number]:.3f}",
                f"{100 * found.node_ms[number] / found.whole_ms:.1f} %",
                bar(found.node_ms[number] / top),
            )
            for number in sorted(shown)
        ),
    )

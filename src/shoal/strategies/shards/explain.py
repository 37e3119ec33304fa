"""What ``shards`` shows of a playbook: who holds what, what is kept without whom, and the curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import msgspec

from shoal.plan.plan import Playbook
from shoal.plan.size import readable
from shoal.strategies.base import Explanation, Sheet
from shoal.strategies.shards.plot import plot
from shoal.strategies.shards.prepare import ShardOptions
from shoal.strategies.shards.record import Record, Step, read_record

NAME = 12
"""Characters of a name that are shown."""
WHOLE = 0.05
"""What every device does of a region is told from this share on."""


def explain(playbook: Playbook, options: ShardOptions) -> Explanation:
    """Per layer who holds what, per device what it holds and computes, and what is kept."""
    record = read_record(playbook)
    sheets = [_steps(record), _devices(record, playbook)]
    if any(step.packed for step in record.steps):
        sheets.append(_packings(record))
    if record.losses or record.promised < 1:
        sheets.append(_losses(record))
    if record.repairs:
        sheets.append(_repairs(record))
    if record.curve:
        sheets.append(_curve(record))
    return Explanation(
        data={"shards": msgspec.to_builtins(record)},
        sheets=tuple(sheets),
        notes=(*_basis(record), *(f"not dealt: {why}" for why in record.whys)),
        draw=partial(plot, playbook.network, record) if record.curve else None,
    )


def _basis(record: Record) -> list[str]:
    """What the numbers stand on, and what words mean."""
    notes = [
        f"nodes {_nodes(step)}: whatever is dealt, every device does {step.whole:.0%} of the "
        "multiplications"
        for step in record.steps
        if step.whole >= WHOLE
    ]
    if any(not step.layers for step in record.steps):
        notes.append("one device: held by all, run by one; its multiplications are not counted")
    if record.stands is not None:
        notes.append(f"kept: seen; promised: {record.stands.words}")
    if codecs := sorted({step.codec for step in record.steps} - {"raw"}):
        notes.append(f"packed: with {', '.join(codecs)}, by what some images make")
    if record.curve:
        notes.append("rho: the share of each layer that all devices hold; 1 is the whole network")
    return notes


def _steps(record: Record) -> Sheet:
    """A line for each layer; what a region sends stands in the first of its lines."""
    rows = []
    for step in record.steps:
        nodes, sent = _nodes(step), readable(_crossing(step, step.packed or step.sends))
        if not step.layers:
            rows.append((nodes, "one device", _short(step.tensor), "whole", "", ""))
        for layer in step.layers:
            joined = _JOINED[step.op]
            dealt = " ".join(map(str, layer.dealt))
            rows.append(
                (nodes, joined, _short(layer.name), f"{layer.common} of {layer.units}", dealt, sent)
            )
            nodes = joined = sent = ""
    alone = f"{' '.join(record.devices)} alone"
    columns = ("nodes", "slices are", "layer", "all hold>", alone, "sent>")
    return Sheet("who holds what of an image's channels", columns, tuple(rows))


def _packings(record: Record) -> Sheet:
    """A line for each region whose slices are packed, and one for all of them."""
    rows: list[tuple[str, ...]] = []
    totals = [0.0, 0.0]
    for step in (step for step in record.steps if step.packed and step.sends):
        sizes = [_crossing(step, each) for each in (step.sends, step.packed)]
        rows.append((_nodes(step), step.codec, *map(readable, sizes)))
        totals = [total + size for total, size in zip(totals, sizes, strict=True)]
    rows.append(("all", "", *map(readable, totals)))
    columns = ("nodes", "codec", "as it is>", "packed>")
    return Sheet("what is exchanged for an image", columns, tuple(rows))


def _short(name: str) -> str:
    """The end of a long name, which tells most of it."""
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"


def _nodes(step: Step) -> str:
    return f"{step.start} to {step.end - 1}" if step.end - step.start > 1 else f"{step.start}"


_JOINED = {"sum": "added", "channels": "put together", "coded": "coded"}


def _crossing(step: Step, sizes: Sequence[float]) -> float:
    """Bytes that cross links for an image, all to all, where devices give so many."""
    return math.fsum(sizes) * step.takers


def _devices(record: Record, playbook: Playbook) -> Sheet:
    memory = playbook.plans[0].forecast.memory
    rows = []
    for index, name in enumerate(record.devices):
        weights = sum(step.bytes[index] for step in record.steps)
        macs = math.fsum(step.macs[index] for step in record.steps if step.macs)
        sent = math.fsum(
            (step.packed or step.sends)[index] * step.takers for step in record.steps if step.sends
        )
        rows.append(
            (
                name,
                readable(memory.get(name, 0)),
                readable(_memory(playbook, name)),
                readable(weights),
                f"{macs / 1e6:.2f} M",
                readable(sent),
            )
        )
    columns = ("device", "memory>", "with spares>", "weights>", "multiplications>", "sends>")
    return Sheet("what each device holds, and does for an image", columns, tuple(rows))


def _memory(playbook: Playbook, device: str) -> int:
    """Bytes of all parts that a device loads."""
    stages = (stage for plan in playbook.in_place for stage in plan.stages)
    held = {stage.parts[device] for stage in stages if device in stage.parts}
    return sum(playbook.parts[part].memory for part in held)


def _losses(record: Record) -> Sheet:
    rebuilt = any(loss.rebuilt_share is not None for loss in record.losses)
    rows: list[tuple[str, ...]] = []
    if record.promised < 1:
        nobody = ("nobody", f"{record.share:.3f}", f"{record.promised:.3f}")
        rows.append((*nobody, "", "") if rebuilt else nobody)
    for loss in record.losses:
        row = [", ".join(loss.devices), f"{loss.share:.3f}", f"{loss.promised:.3f}"]
        later = (loss.rebuilt_share, loss.rebuilt_promised) if rebuilt else ()
        row += ["" if value is None else f"{value:.3f}" for value in later]
        rows.append(tuple(row))
    columns = ("lost", "kept>", "promised>", *(("rebuilt>", "promised then>") if rebuilt else ()))
    return Sheet("what is kept without whom", columns, tuple(rows))


def _repairs(record: Record) -> Sheet:
    """A line for each device that something is brought to."""
    rows = []
    for each in record.repairs:
        way = "in the place of its own" if each.instead else "beside its own"
        lost = each.lost
        for name, size in each.weights.items():
            graph = readable(each.graphs.get(name, 0))
            rows.append((lost, name, readable(size), graph, way if each.fits else "no room"))
            lost = ""
    columns = ("lost for good", "brought to", "weights>", "graphs>", "held")
    return Sheet("what is brought to the others", columns, tuple(rows))


def _curve(record: Record) -> Sheet:
    sizes = sorted({point.lost for point in record.curve})
    rows = [
        (f"{rho:g}", *_cells(record, rho, sizes))
        for rho in dict.fromkeys(point.rho for point in record.curve)
    ]
    columns = [name for size in sizes for name in (f"{size} lost: mean>", "worst>")]
    return Sheet("what would be kept with --rho", ("rho>", *columns), tuple(rows))


def _cells(record: Record, rho: float, sizes: Sequence[int]) -> list[str]:
    at = {point.lost: point for point in record.curve if point.rho == rho}
    return [f"{value:.3f}" for size in sizes for value in (at[size].mean, at[size].worst)]

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


def explain(playbook: Playbook, options: ShardOptions) -> Explanation:
    """Per layer who holds what, per device what it holds and computes, and what is kept."""
    record = read_record(playbook)
    sheets = [_steps(record), _devices(record, playbook)]
    if record.losses:
        sheets.append(_losses(record))
    if record.repairs:
        sheets.append(_repairs(record))
    if record.curve:
        sheets.append(_curve(record))
    return Explanation(
        data={"shards": msgspec.to_builtins(record)},
        sheets=tuple(sheets),
        notes=record.whys,
        draw=partial(plot, playbook.network, record) if record.curve else None,
    )


def _steps(record: Record) -> Sheet:
    rows = []
    for step in record.steps:
        nodes = f"{step.start}-{step.end}"
        if not step.layers:
            rows.append((nodes, "one device", step.tensor, "", "", "", ""))
        for layer in step.layers:
            joined = "added" if step.op == "sum" else "put together"
            dealt = " ".join(map(str, layer.dealt))
            sent = readable(_sent(step))
            rows.append(
                (nodes, joined, layer.name, str(layer.units), str(layer.common), dealt, sent)
            )
    columns = ("nodes", "slices are", "layer", "units>", "held by all>",
               f"by {' '.join(record.devices)} alone", "bytes/image>")  # fmt: skip
    return Sheet("who holds what", columns, tuple(rows))


def _sent(step: Step) -> float:
    """Bytes that cross links for an image, all to all."""
    return math.fsum(step.sends) * (len(step.sends) - 1)


def _devices(record: Record, playbook: Playbook) -> Sheet:
    memory = playbook.plans[0].forecast.memory
    rows = []
    for index, name in enumerate(record.devices):
        weights = sum(step.bytes[index] for step in record.steps)
        macs = math.fsum(step.macs[index] for step in record.steps if step.macs)
        sent = math.fsum(step.sends[index] for step in record.steps if step.sends)
        to_all = sent * (len(record.devices) - 1)
        rows.append(
            (
                name,
                readable(memory.get(name, 0)),
                readable(weights),
                f"{macs / 1e6:.2f}",
                readable(to_all),
            )
        )
    columns = ("device", "memory>", "weights>", "million multiplications>", "sends/image>")
    return Sheet("what each device holds and does", columns, tuple(rows))


def _losses(record: Record) -> Sheet:
    rebuilt = any(loss.rebuilt_share is not None for loss in record.losses)
    rows = []
    for loss in record.losses:
        row = [", ".join(loss.devices), f"{loss.share:.3f}", f"{loss.promised:.3f}"]
        later = (loss.rebuilt_share, loss.rebuilt_promised) if rebuilt else ()
        row += ["" if value is None else f"{value:.3f}" for value in later]
        rows.append(tuple(row))
    title = f"what is kept of the accuracy without whom, on {record.images} images"
    columns = ("lost", "kept>", "promised>", *(("rebuilt>", "promised then>") if rebuilt else ()))
    return Sheet(title, columns, tuple(rows))


def _repairs(record: Record) -> Sheet:
    rows = []
    for each in record.repairs:
        sizes = [f"{readable(size)} to {name}" for name, size in each.weights.items() if size]
        weights, graphs = sum(each.weights.values()), sum(each.graphs.values())
        way = "in the place of what is there" if each.instead else "beside what is there"
        way = way if each.fits else "no room"
        rows.append((each.lost, readable(weights), readable(graphs), ", ".join(sizes), way))
    columns = ("lost for good", "weights>", "graphs>", "of the weights", "held")
    return Sheet("what is brought to the others", columns, tuple(rows))


def _curve(record: Record) -> Sheet:
    sizes = sorted({point.lost for point in record.curve})
    rows = [
        (f"{rho:g}", *_cells(record, rho, sizes))
        for rho in dict.fromkeys(point.rho for point in record.curve)
    ]
    columns = [f"{size} lost, {what}>" for size in sizes for what in ("mean", "worst")]
    title = "what would be kept if all devices held this share of each layer"
    return Sheet(title, ("rho>", *columns), tuple(rows))


def _cells(record: Record, rho: float, sizes: Sequence[int]) -> list[str]:
    at = {point.lost: point for point in record.curve if point.rho == rho}
    return [f"{value:.3f}" for size in sizes for value in (at[size].mean, at[size].worst)]

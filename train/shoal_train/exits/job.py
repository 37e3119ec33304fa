"""Exits for a network that is trained already: from its file and images to one with exits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

import shoal
from shoal.allowance import whole_cores
from shoal.errors import DataError, ModelFileError, ProofError, UsageError
from shoal.model import limits
from shoal.model.confidence import AGREEMENT, CRITERIA
from shoal.model.cuts import Cut
from shoal.model.engine import Engine
from shoal.model.exits import LABELS, NETWORK, ExitHead, Exits
from shoal.model.graph import Graph, whole
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.model.staged import staged
from shoal.model.store import check_file, write_file
from shoal.plan.thresholds import expected, thresholds_for
from shoal.strategies.labels import check_labels
from shoal_train.exits.agreement import agree, agreeing
from shoal_train.exits.cuts import chosen, shares
from shoal_train.exits.heads import averaging, dense, packed
from shoal_train.exits.learn import Floats, column, features, fit, logits_of, temperature
from shoal_train.exits.material import Material, Some, ends, gather
from shoal_train.folder import fed

DROPS = (0.0, 0.25, 0.5, 1.0)
"""Points of accuracy, for the report."""
TOGETHER = 32
"""Images that are run at once."""
TOLERANCE = 1e-3
"""Between the logits that were learned and those of the file, relative to the largest."""

Telling = Callable[[str, float], None]
"""Is told what is being done, and which share of it is done."""


@dataclass(frozen=True)
class Job:
    """What is wanted. ``at`` are cuts or ``auto``, ``cells`` those along each side of a tensor that
    a head sees apart, ``images`` those that are learned from at most, ``drop`` points of accuracy
    that may be lost."""

    network: Network
    out: Path
    data: str
    at: str = "auto"
    cells: int = 4
    epochs: int = 12
    images: int = 20_000
    criterion: str = "softmax"
    drop: float = 0.5
    seed: int = 7
    threads: int | None = None


@dataclass(frozen=True)
class Trained:
    """The exits that were made, ``judged`` on images of their own, and what each stage takes of the
    network's time (``costs``, shares)."""

    exits: Exits
    judged: Exits
    costs: tuple[float, ...]
    cuts: tuple[Cut, ...]


def run(job: Job, tell: Telling) -> Trained:
    """Train the exits and write the network with them; what writing, loading and proving raise."""
    if job.criterion not in CRITERIA:
        raise UsageError(f"--criterion {job.criterion[:60]}: use {', '.join(CRITERIA)}")
    check_file(job.out)
    network = job.network
    _, output = ends(network)
    if network.weight_bytes > limits.FILE_BYTES // 2:
        raise ModelFileError(
            f"{network.name!r} has {network.weight_bytes} bytes of weights, which are written in "
            f"one file: {limits.FILE_BYTES // 2} are possible"
        )
    tell("measuring the network", 0.0)
    node_ms = profile(network).node_ms
    cuts = chosen(network, job.at, node_ms)
    material = gather(job.data, network, job.images, job.seed, lambda what: tell(what, 0.0))
    graph = network.graph.copy()
    found = [averaging(network, cut, job.cells, graph) for cut in cuts]
    names = [each.features for each in found]
    seen = _see(job, graph, [node for each in found for node in each.nodes], names, material, tell)
    labelled = material.learn.labels is not None
    answers = {
        lot: some.labels if some.labels is not None else seen[lot][output.name].argmax(axis=1)
        for lot, some in _lots(material).items()
    }
    if material.learn.labels is not None:
        own = seen["learn"][output.name].argmax(axis=1)
        check_labels(material.learn.labels.tolist(), own.tolist(), job.data)
    if len(np.unique(answers["table"])) < 2:
        raise DataError(
            f"{job.data}: all images that exits are calibrated on are of one class; give images of "
            "all classes that the network tells apart"
        )
    logits: dict[str, list[Floats]] = {lot: [] for lot in ("temperatures", "table", "judged")}
    heads: list[ExitHead] = []
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    for number, each in enumerate(found):
        what = f"exit {number + 1} of {len(found)}"
        learned = seen["learn"]
        weights, bias = fit(
            learned[each.features],
            learned[output.name],
            material.learn.labels,
            job.epochs,
            job.seed + number,
            partial(tell, what),
        )
        for lot, rows in logits.items():
            rows.append(seen[lot][each.features] @ weights + bias)
        warm = temperature(logits["temperatures"][-1], answers["temperatures"])
        name = dense(graph, each, weights, bias, output)
        if job.criterion == AGREEMENT:
            name = agree(graph, name, warm, heads[-1] if heads else None, output)
        heads.append(ExitHead(each.after, name, output.name, job.criterion, warm))

    warmths = [*(head.temperature for head in heads), 1.0]
    for lot, rows in logits.items():
        rows.append(logits_of(seen[lot][output.name]))
        if job.criterion == AGREEMENT:
            rows[:] = agreeing(rows, warmths)

    def told(lot: str) -> Exits:
        columns = [
            column(rows, answers[lot], job.criterion, warmth)
            for rows, warmth in zip(logits[lot], warmths, strict=True)
        ]
        return Exits(tuple(heads), tuple(columns), LABELS if labelled else NETWORK)

    exits = told("table")
    content = packed(network, graph, exits)
    tell("proving", 0.0)
    _prove(content, network, material.table, [rows[:TOGETHER] for rows in logits["table"][:-1]])
    write_file(job.out, content)
    return Trained(exits, told("judged"), tuple(shares(node_ms, cuts)), tuple(cuts))


def _lots(material: Material) -> dict[str, Some]:
    return {lot: getattr(material, lot) for lot in ("learn", "temperatures", "table", "judged")}


def _see(
    job: Job,
    graph: Graph,
    nodes: Sequence[Any],
    names: Sequence[str],
    material: Material,
    tell: Telling,
) -> dict[str, dict[str, Floats]]:
    """The features and the network's own scores for all images, by lot."""
    network = job.network
    taken, output = ends(network)
    asked = tuple(dict.fromkeys((*names, output.name)))
    with_nodes = replace(graph, nodes=[*graph.nodes, *nodes])
    session = Engine(job.threads or whole_cores()).load(*whole(with_nodes, asked))
    size = TOGETHER if taken.shape[0] is None and network.stacks else 1
    return {
        lot: features(session, taken, asked, some, size, partial(tell, "looking at images"))
        for lot, some in _lots(material).items()
    }


def _prove(content: bytes, network: Network, some: Some, wanted: Sequence[Floats]) -> None:
    """ProofError unless the file is the network, with the exits that were learned."""
    made = shoal.load(content, name=network.name)
    assert made.exits is not None
    parts = staged(made, made.exits)
    (taken,), (output,) = made.inputs, made.outputs
    for row in range(min(TOGETHER, len(some))):
        tensors = {taken.name: fed(some.inputs[row : row + 1], taken)}
        own = network.run(tensors)[output.name]
        for part in parts:
            tensors |= part.run({name: tensors[name] for name in part.inputs})
        pairs = [(tensors[output.name], own)]
        pairs += [
            (tensors[name], rows[row : row + 1])
            for name, rows in zip(made.exits.tensors, wanted, strict=True)
        ]
        for found, meant in pairs:
            apart = np.abs(found.astype(np.float64) - meant).max()
            if not apart <= TOLERANCE * max(1.0, np.abs(meant).max()):
                raise ProofError(
                    f"{network.name!r}: an exit of the file gives other answers than were learned "
                    f"(by {apart:.2g}); report this network"
                )


def summary(trained: Trained, drop: float) -> dict[str, Any]:
    """What came of it, as plain data: each exit alone, and for some losses of accuracy thresholds
    (chosen on the calibration table) and what follows (on images that had no say)."""
    exits, judged = trained.exits, trained.judged
    *alone, end = judged.accuracies
    rows = []
    for points in sorted({*DROPS, drop}):
        least = max(0.0, exits.accuracies[-1] - points / 100)
        thresholds = thresholds_for(exits, least, trained.costs)
        found = expected(judged, thresholds)
        rows.append(
            {
                "drop": points,
                "thresholds": thresholds,
                **msgspec.to_builtins(found),
                "time": found.cost(trained.costs),
            }
        )
    return {
        "against": exits.against,
        "images": {"table": exits.images, "judged": judged.images},
        "accuracy": end,
        "exits": [
            {
                "at": cut.at,
                "bytes": cut.bytes,
                "time": sum(trained.costs[: number + 1]),
                "accuracy": accuracy,
                **msgspec.to_builtins(each),
            }
            for number, (cut, accuracy, each) in enumerate(
                zip(trained.cuts, alone, exits.heads, strict=True)
            )
        ],
        "drops": rows,
    }

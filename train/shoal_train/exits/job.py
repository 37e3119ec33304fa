"""Exits for a network that is trained already: from its file and images to one with exits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

import shoal
from shoal.errors import DataError, ModelFileError, ProofError, UsageError
from shoal.model import limits, preprocessing
from shoal.model.confidence import AGREEMENT, CRITERIA
from shoal.model.cuts import Cut
from shoal.model.exits import LABELS, NETWORK, ORIGINAL, ExitHead, Exits
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.model.staged import staged
from shoal.model.store import check_file, write_file
from shoal.plan.thresholds import expected, thresholds_for
from shoal.strategies.labels import check_labels
from shoal_train.exits.agreement import agree, agreeing
from shoal_train.exits.change import Change, changed, checked
from shoal_train.exits.cuts import chosen, shares
from shoal_train.exits.heads import dense, packed
from shoal_train.exits.learn import Floats, column, fit, logits_of, temperature
from shoal_train.exits.material import Some, ends, gather
from shoal_train.exits.place import TOGETHER, Place, see
from shoal_train.folder import fed
from shoal_train.tuning import check_rate

DROPS = (0.0, 0.25, 0.5, 1.0)
"""Points of accuracy, for the report."""
TOLERANCE = 1e-3
"""Between the logits that were learned and those of the file, relative to the largest."""

Telling = Callable[[str, float], None]
"""Is told what is being done, and which share of it is done."""


@dataclass(frozen=True)
class Job:
    """What is wanted. ``at`` are cuts or ``auto``, ``cells`` those along each side of a tensor that
    a head sees apart, ``images`` those that are learned from at most, ``drop`` points of accuracy
    that may be lost. With ``joint`` the network is trained together with its exits;
    ``bottleneck`` channels (or ``auto``) are left where they stand (None: all). Both at
    ``learning_rate`` at the highest."""

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
    joint: bool = False
    bottleneck: str | None = None
    learning_rate: float = 0.001


@dataclass(frozen=True)
class Trained:
    """The exits that were made, ``judged`` on images of their own, what each stage takes of the
    network's time (``costs``, shares), and the ``place`` where they stand. Of the same images the
    network answered the share ``before`` rightly when it was given."""

    exits: Exits
    judged: Exits
    costs: tuple[float, ...]
    place: Place
    before: float


def run(job: Job, tell: Telling) -> Trained:
    """Train the exits and write the network with them; what writing, loading and proving raise."""
    if job.criterion not in CRITERIA:
        raise UsageError(f"--criterion {job.criterion[:60]}: use {', '.join(CRITERIA)}")
    check_rate(job.learning_rate)
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
    cuts = tuple(chosen(network, job.at, node_ms))
    changes = job.joint or job.bottleneck is not None
    lefts = checked(network, cuts, job.joint, job.cells, job.bottleneck) if changes else ()
    material = gather(job.data, network, job.images, job.seed, lambda what: tell(what, 0.0))
    lots = {lot: getattr(material, lot) for lot in ("learn", "temperatures", "table", "judged")}
    looking = partial(tell, "looking at images")
    place = Place(network, cuts, cuts)
    looked = see(place, job.cells, lots, job.threads, looking)
    taught = looked.lots["learn"][output.name]
    own = {lot: rows[output.name].argmax(axis=1) for lot, rows in looked.lots.items()}
    labelled = material.learn.labels is not None
    answers = {
        lot: some.labels if some.labels is not None else own[lot] for lot, some in lots.items()
    }
    if material.learn.labels is not None:
        check_labels(material.learn.labels.tolist(), own["learn"].tolist(), job.data)
    if len(np.unique(answers["table"])) < 2:
        raise DataError(
            f"{job.data}: all images that exits are calibrated on are of one class; give images of "
            "all classes that the network tells apart"
        )
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    if changes:
        rate = job.learning_rate
        change = Change(job.joint, lefts, job.epochs, rate, job.seed, job.threads)
        place = changed(change, place, looked, material, answers, tell)
        network = place.network
        if lefts:
            node_ms = profile(network).node_ms
        del looked  # the averages of two networks need not be in memory at once
        looked = see(place, job.cells, lots, job.threads, looking)
    graph, found, seen = looked.graph, looked.averagings, looked.lots
    logits: dict[str, list[Floats]] = {lot: [] for lot in ("temperatures", "table", "judged")}
    heads: list[ExitHead] = []
    for number, each in enumerate(found):
        what = f"exit {number + 1} of {len(found)}"
        weights, bias = fit(
            seen["learn"][each.features],
            taught,
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
        (after,) = place.cuts[number].names
        heads.append(ExitHead(after, name, output.name, job.criterion, warm))

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
        against = LABELS if labelled else ORIGINAL if changes else NETWORK
        return Exits(tuple(heads), tuple(columns), against)

    exits = told("table")
    content = packed(network, graph, exits)
    tell("proving", 0.0)
    _prove(content, network, material.table, [rows[:TOGETHER] for rows in logits["table"][:-1]])
    write_file(job.out, content)
    preprocessing.tell(Path(job.out), job.network.preprocessing)
    before = float((own["judged"] == answers["judged"]).mean())
    return Trained(exits, told("judged"), tuple(shares(node_ms, place.cuts)), place, before)


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
        "before": trained.before,
        "exits": [
            {
                "at": cut.at,
                "bytes": cut.bytes,
                "wide_bytes": wide.bytes,
                "channels": _channels(cut),
                "wide_channels": _channels(wide),
                "time": sum(trained.costs[: number + 1]),
                "accuracy": accuracy,
                **msgspec.to_builtins(each),
            }
            for number, (cut, wide, accuracy, each) in enumerate(
                zip(trained.place.cuts, trained.place.seen, alone, exits.heads, strict=True)
            )
        ],
        "drops": rows,
    }


def _channels(cut: Cut) -> int:
    """Of a narrow tensor, or of one that might be narrowed: the size of its second axis."""
    return cut.tensors[0].shape[1] or 1

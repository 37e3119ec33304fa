"""What ``shards`` does before it builds: read the user's images, and how the network answers."""

from __future__ import annotations

import logging

import numpy as np

from shoal.codec.codecs import find_codec
from shoal.codec.named import exact
from shoal.errors import DataError, PlanError, UsageError
from shoal.model.network import Network
from shoal.plan.cluster import Cluster
from shoal.plan.network import Array, tensor_bytes
from shoal.plan.objective import Objective
from shoal.strategies.base import Progress
from shoal.strategies.images import open_folder
from shoal.strategies.labels import check_label, check_labels, labels_count
from shoal.strategies.options import Options
from shoal.strategies.promised import check_says
from shoal.strategies.shards.failures import Sample, one_by_one
from shoal.strategies.shards.trials import batches
from shoal.strategies.shards.trials import rows as count
from shoal.task import Judge, Task, task_of

CONFIDENCE = 0.95
CODED = "coded"
FILLS = ("mean", "zero", "rebuilt", CODED)
REPAIR_S, LONGEST_S = 10.0, 86_400.0
DEALT = ("pays", "all", "inner")
MOST_BYTES = 512 << 20
"""What the images of a calibration, and the answers that they are judged by, may take in memory."""

log = logging.getLogger("shoal")


class ShardOptions(Options, frozen=True):
    """The options of ``shards``.

    ``calibrate`` is a folder of images, on which is measured what is kept when devices are lost:
    without it no loss is survived unless ``rho`` is 1 or layers are coded. ``confidence`` is that
    of the accuracy promised. ``rho`` is the share of each layer that all devices hold (None: in
    each layer as much as the promise takes). ``fill`` says what stands in for what is missing: its
    ``mean`` over the images, ``zero``, or, from when it is known who is lost, what is ``rebuilt``
    of the rest. With ``coded`` nothing is missing: what is lost follows from what the others hold.
    ``deal`` says what is dealt: what ``pays``, ``all`` that can be, or of that only what is
    ``inner``: summed before it leaves a region. What devices exchange is packed with ``codec``
    (None: with one of a few where that pays and the promise is kept, else ``raw``). A device that
    is away for ``repair`` seconds (None: for ``REPAIR_S``) is lost for good, and what only it held
    is brought to the others (0: never); where layers are coded nothing is missing, and nothing is
    brought.
    """

    calibrate: str | None = None
    confidence: float = CONFIDENCE
    rho: float | None = None
    fill: str = FILLS[0]
    deal: str = DEALT[0]
    repair: float | None = None
    codec: str | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise PlanError(
                f"confidence: {self.confidence:g} is none; write 0.5 (a best guess) up to 0.999"
            )
        if self.rho is not None and not 0 <= self.rho <= 1:
            raise PlanError(f"rho: {self.rho:g} is no share; write 0 (nothing is held by all) to 1")
        if self.repair is not None and not 0 <= self.repair <= LONGEST_S:
            raise PlanError(
                f"repair: no device is lost for good after {self.repair:g} s; write up to "
                f"{LONGEST_S:g}, or 0 for never"
            )
        if self.fill not in FILLS:
            raise PlanError(f"fill: there is no {self.fill!r}; use one of {', '.join(FILLS)}")
        if self.deal not in DEALT:
            raise PlanError(f"deal: there is no {self.deal!r}; use one of {', '.join(DEALT)}")
        if self.codec is not None:
            self._check_codec(self.codec)
        if self.fill == CODED and self.rho is not None:
            raise PlanError("rho: nothing is held by all where layers are coded; leave it out")
        if self.fill == CODED and self.deal == "inner":
            raise PlanError("deal: nothing is added where layers are coded; use pays or all")
        if self.fill == CODED and self.repair:
            raise PlanError(
                "repair: what a lost device held is brought to nobody where layers are coded, as "
                "nothing is missing; leave it out"
            )

    @property
    def repair_s(self) -> float:
        """Seconds after which a device that is away is lost for good; 0: never."""
        return REPAIR_S if self.repair is None else self.repair

    def _check_codec(self, codec: str) -> None:
        try:
            find_codec(codec)
        except (UsageError, ValueError) as error:
            raise PlanError(f"codec: {error}") from None
        if exact(codec):
            return
        if self.fill == CODED:
            raise PlanError(
                f"codec: {codec!r} loses something of each slice, and what is worked out of coded "
                "ones would be off by many times that; use lossless or raw, or another fill"
            )
        if self.calibrate is None:
            raise PlanError(
                f"codec: {codec!r} loses something of each slice, and what is kept of the accuracy "
                "is measured on images: give some with --calibrate FOLDER, or use lossless or raw"
            )


def lost(objective: Objective, options: ShardOptions, devices: int) -> int:
    """How many devices may be lost together: where the objective does not say, one with images,
    else none. PlanError where nobody would be left."""
    asked = objective.survive
    if asked is None:
        return 1 if options.calibrate is not None or options.fill == CODED else 0
    if asked >= devices:
        raise PlanError(
            f"survive: with {asked} of {devices} devices lost nobody is left to answer; ask for "
            f"{devices - 1} at most"
        )
    return asked


def prepare(
    network: Network,
    cluster: Cluster,
    objective: Objective,
    progress: Progress,
    options: ShardOptions,
) -> Sample | None:
    """The images of the folder with their labels, and what the whole network answers; None where
    no folder is given. Raises DataError for images that say nothing."""
    lost(objective, options, len(cluster.computing))
    if options.calibrate is None:
        return None
    coded = options.fill == CODED  # nothing is missing, so nothing is measured
    task = None if coded else task_of(network, objective.task, objective.agreement)
    images = open_folder(options.calibrate, network.inputs, network.preprocessing)
    rows: list[Array] = []
    labels: list[int] = []
    answer = 0 if task is None else tensor_bytes(network.outputs)
    for feeds, label in images:
        (row,) = feeds.values()
        rows.append(row)
        labels += [label] if label is not None else []
        if (row.nbytes + answer) * (len(rows) + 1) > MOST_BYTES:
            log.warning("only the first %d of %d images are used", len(rows), images.count)
            break
    progress(0.5, f"{len(rows)} images are read")
    stacked = np.concatenate(rows)
    if task is None:
        return Sample(stacked, None, ())
    told = tuple(labels) if labels_count(images, task) else None
    sample = Sample(stacked, told, judged(network, task, stacked), task.measured)
    _check(sample, task)
    progress(1.0, f"{len(rows)} images are answered")
    return sample


def judged(network: Network, task: Task, images: Array) -> tuple[Judge, ...]:
    """What judges answers to each image by the whole network's."""
    (whole,) = network.split((), prove=False)
    session = whole.session()
    return tuple(
        task.judge(outputs)
        for feeds in batches(network, images)
        for outputs in one_by_one(whole.run_on(session, feeds), count(feeds))
    )


def _check(sample: Sample, task: Task) -> None:
    check_says(sum(judge.says for judge in sample.judges), len(sample), task.measured)
    if task.classes is None:
        return
    for label in sample.labels or ():
        check_label(label, task.classes)
    answers = [judge.top1 for judge in sample.judges if judge.top1 is not None]
    if len(set(answers)) < 2:
        raise DataError(
            "the network answers all images with one class, so they do not tell what is lost "
            "without a device; give images of several classes"
        )
    if sample.labels is not None:
        check_labels(sample.labels, answers, "calibrate")

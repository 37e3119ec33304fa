"""What ``split`` does before it builds: read the user's images and calibrate on them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from shoal.errors import PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.network import Feeds, Network
from shoal.plan.objective import Objective
from shoal.strategies.base import Progress
from shoal.strategies.images import open_folder
from shoal.strategies.options import Options
from shoal.strategies.split.calibrate import calibrate
from shoal.strategies.split.calibration import Calibration
from shoal.strategies.split.wish import least_accuracy, limits_in_order
from shoal.task import Task, task_of

CONFIDENCE = 0.95
RELAX = "latency,throughput,bytes,energy"
MOST_MBIT = 1e6


class SplitOptions(Options, frozen=True):
    """The options of ``split``.

    ``calibrate`` is a folder of images: without it nothing is rounded or compressed.
    ``confidence`` is that of the accuracy promised. ``relax`` names limits in the order in which
    they are given up where not all can be met. ``batch`` requests may be run at once on a server
    (None: as many as pay there, as far as that was measured), which waits ``batch_wait_ms`` for
    them. What is chosen is explained at ``bandwidth`` Mbit/s (None: at several).
    """

    calibrate: str | None = None
    confidence: float = CONFIDENCE
    relax: str = RELAX
    batch: int | None = None
    batch_wait_ms: float = 0.0
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        limits_in_order(self.relax)
        if not 0.5 <= self.confidence < 1:
            raise PlanError(
                f"confidence: {self.confidence:g} is none; write 0.5 (a best guess) up to 0.999"
            )
        if not (self.batch is None or 1 <= self.batch <= 1024) or not (
            0 <= self.batch_wait_ms <= 60_000
        ):
            raise PlanError(
                f"batch: {self.batch} requests within {self.batch_wait_ms:g} ms is not possible; "
                "write 1 to 1024 within 0 to 60000 ms"
            )
        if self.bandwidth is not None and not 0 < self.bandwidth <= MOST_MBIT:
            raise PlanError(
                f"bandwidth: {self.bandwidth:g}: give Mbit/s, above 0 and up to {MOST_MBIT:g}"
            )


@dataclass(frozen=True)
class Calibrated:
    """What was found out on the user's images for what the network is for, and those of them whose
    outcomes are known."""

    task: Task
    found: Calibration
    first: tuple[Feeds, ...]


def prepare(
    network: Network,
    cluster: Cluster,
    objective: Objective,
    progress: Progress,
    options: SplitOptions,
) -> Calibrated | None:
    """Calibrate on the folder of images, if there is one: kept in the cache, so that it is there
    when it was made before. PlanError where it is not clear what the network is for."""
    if not cluster.gateway.compute:
        raise PlanError(
            f"the device of the strategy 'split' is the gateway's own, and "
            f"{cluster.gateway.name!r} does not compute; set 'gateway: {{compute: true}}' in the "
            "cluster file"
        )
    if options.calibrate is None:
        return None
    task = task_of(network, objective.task, objective.agreement)
    images = open_folder(options.calibrate, network.inputs, network.preprocessing)
    least = least_accuracy(objective)
    found = calibrate(network, images, task, least, options.confidence, progress)
    shown = islice(images, max(found.first, default=-1) + 1)
    first = tuple(feeds for number, (feeds, _) in enumerate(shown) if number in found.first)
    return Calibrated(task, found, first)

"""The network between a weak device and its servers: every useful cut and precision, calibrated."""

from __future__ import annotations

from itertools import islice

from shoal.errors import PlanError
from shoal.plan.batching import common_batch, ratios
from shoal.plan.cluster import Cluster
from shoal.plan.network import Feeds, Network
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.strategies.base import Built
from shoal.strategies.split.assemble import Assembly, importance
from shoal.strategies.split.calibrate import FIRST, Progress, calibrate
from shoal.strategies.split.calibration import Calibration
from shoal.strategies.split.cuts import places
from shoal.strategies.split.images import ASKED, Images, open_folder
from shoal.strategies.split.options import Ground, options, useful
from shoal.strategies.split.proof import prove_calibrated
from shoal.strategies.split.statistics import images_needed
from shoal.strategies.split.wish import least_accuracy, wish

CONFIDENCE = 0.95
RELAX = "latency,throughput,bytes,energy"


class Split:
    """The strategy ``split``."""

    name = "split"

    def build(
        self,
        network: Network,
        cluster: Cluster,
        profiles: Profiles,
        objective: Objective,
        /,
        *,
        calibrate: str | None = None,
        confidence: float = CONFIDENCE,
        relax: str = RELAX,
        batch: int | None = None,
        batch_wait_ms: float = 0.0,
    ) -> Built:
        """Every cut and way to pack that is the best one under some circumstances, the device
        alone, and the image as it is to a server. The gateway is the device.

        ``calibrate`` is a folder of images: without it nothing is rounded or compressed.
        ``confidence`` is that of the accuracy promised. ``relax`` names limits in the order in
        which they are given up where not all can be met. ``batch`` requests may be run at once on
        a server (None: as many as pay there, as far as that was measured), which waits
        ``batch_wait_ms`` for them.
        """
        _check(cluster, confidence, batch, batch_wait_ms)
        found, images = None, None
        if calibrate is not None:
            images = open_folder(calibrate, network.inputs)
            found = calibration(network, images, objective, confidence)
        ground = Ground(network, cluster, profiles, cluster.names, found.whole_ms if found else 0.0)
        weighed = wish(objective, relax, ground.power_w() is not None)
        made = options(ground.device, places(network), found, confidence, least_accuracy(objective))
        counts = useful(ground, made, weighed)
        assembly = Assembly(ground, objective, batch or _batch(ground), batch_wait_ms)
        able = [assembly.take(made[0]), assembly.take(made[1])]
        if not any(able):
            raise PlanError(
                f"neither {ground.device} nor every one of {', '.join(ground.servers)} has the "
                "memory for the whole network; raise a limit or use the strategy 'pipeline'"
            )
        if not able[0]:
            assembly.notes.append(
                f"{ground.device} has not the memory for the whole network: there is no answer "
                "when no server is there"
            )
        left_out = [
            made[index]
            for index in importance(counts, made)
            if index > 1 and not assembly.take(made[index])
        ]
        if left_out:
            assembly.notes.append(
                f"for {len(left_out)} more plans there was not the memory; raise a limit"
            )
        playbook = assembly.playbook(weighed, objective)
        first: list[Feeds] = []
        if found is not None and images is not None:
            kept = {
                option.name: option.entry for option in made if option.entry and option.entry.first
            }
            first = [feeds for feeds, _ in islice(images, FIRST)]
            prove_calibrated(playbook, assembly.shelf.parts, network, kept, first)
        notes = [*_say(found, objective, confidence), *assembly.notes]
        if (batch or 1) > 1 and not network.stacks:
            notes.append("requests are run one by one: an answer would depend on the others")
        return Built(playbook, assembly.shelf.parts, tuple(notes), tuple(first))


def calibration(
    network: Network,
    images: Images,
    objective: Objective,
    confidence: float = CONFIDENCE,
    progress: Progress = lambda share, text: None,
) -> Calibration:
    """The calibration that the strategy takes for this objective: kept, so that it is there when
    it was made before."""
    return calibrate(network, images, least_accuracy(objective), confidence, progress)


def _batch(ground: Ground) -> int:
    """How many requests are best run at once on every server."""
    (whole,) = ground.network.split((), prove=False)
    if not whole.info.stacks:
        return 1
    memory = whole.info.memory
    return common_batch(
        [ratios(name, memory, ground.cluster, ground.profiles) for name in ground.servers]
    )


def _check(cluster: Cluster, confidence: float, batch: int | None, batch_wait_ms: float) -> None:
    gateway = cluster.gateway
    if not gateway.compute:
        raise PlanError(
            f"the device of the strategy 'split' is the gateway's own, and {gateway.name!r} does "
            "not compute; set 'gateway: {compute: true}' in the cluster file"
        )
    if not 0.5 <= confidence < 1:
        raise PlanError(f"confidence: {confidence:g} is none; write 0.5 (a best guess) up to 0.999")
    if (batch is not None and not 1 <= batch <= 1024) or not 0 <= batch_wait_ms <= 60_000:
        raise PlanError(
            f"batch: {batch} requests within {batch_wait_ms:g} ms is not possible; write 1 to "
            "1024 within 0 to 60000 ms"
        )


def _say(found: Calibration | None, objective: Objective, confidence: float) -> list[str]:
    """What the user should know of the calibration."""
    if found is None:
        return ["nothing is rounded or compressed: give images with --calibrate FOLDER"]
    least = least_accuracy(objective)
    what = "the right answers" if found.labelled else "the answers"
    notes = [
        f"calibrated on {found.count} images in {found.seconds:.0f} s: each plan keeps at least "
        f"{least:.3g} of {what} of the whole network, with {confidence:.3g} confidence"
    ]
    if found.count < ASKED:
        notes.append(
            f"only {found.count} images: with {ASKED} or more, more could be promised and fewer "
            "bits used"
        )
    needed = images_needed(least, confidence)
    if found.count < needed:
        few = f"{needed:.0f}" if needed < 1e6 else "no number of"
        notes.append(
            f"to promise {least:.4g} of any rounded plan it takes {few} images, all answered "
            "alike: only exact plans are used"
        )
    elif not any(not e.exact and e.accuracy(confidence) >= least for e in found.entries):
        notes.append("no way to round keeps that accuracy: only exact plans are used")
    return notes


strategy = Split()

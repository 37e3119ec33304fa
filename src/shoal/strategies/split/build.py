"""The network between a weak device and its servers: every useful cut and precision, calibrated."""

from __future__ import annotations

from shoal.errors import PlanError
from shoal.plan.batching import best_batch
from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.plan.statistics import images_needed
from shoal.strategies.base import Built, Strategy
from shoal.strategies.images import ASKED
from shoal.strategies.promised import Promised
from shoal.strategies.split.assemble import Assembly, importance
from shoal.strategies.split.calibration import Calibration
from shoal.strategies.split.cuts import places
from shoal.strategies.split.options import Ground, useful
from shoal.strategies.split.options import options as options_for
from shoal.strategies.split.prepare import Calibrated, SplitOptions, prepare
from shoal.strategies.split.proof import prove_calibrated
from shoal.strategies.split.sheets import explain
from shoal.strategies.split.wish import least_accuracy, wish

NAME = "split"


def build(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
    options: SplitOptions,
    prepared: Calibrated | None,
) -> Built:
    """Every cut and way to pack that is the best one under some circumstances, the device alone,
    and the image as it is to a server. The gateway is the device."""
    found = prepared.found if prepared is not None else None
    first = prepared.first if prepared is not None else ()
    ground = Ground(network, cluster, profiles, cluster.names, found.whole_ms if found else 0.0)
    weighed = wish(objective, options.relax, ground.power_w() is not None)
    least = least_accuracy(objective)
    made = options_for(ground.device, places(network), found, options.confidence, least)
    counts = useful(ground, made, weighed)
    (whole,) = network.split((), prove=False)
    stacks = whole.info.stacks is True
    usual = best_batch(ground.servers, whole.info.memory, stacks, cluster, profiles)
    stands = None if found is None else promised(found, options.confidence)
    assembly = Assembly(ground, objective, options.batch or usual, options.batch_wait_ms, stands)
    able = [assembly.take(made[0]), assembly.take(made[1])]
    if not any(able):
        raise PlanError(
            f"neither {ground.device} nor every one of {', '.join(ground.servers)} has the memory "
            "for the whole network; raise a limit or use a strategy that holds a part on each"
        )
    if not able[0]:
        assembly.notes.append(
            f"{ground.device} has not the memory for the whole network: there is no answer when no "
            "server is there"
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
    if prepared is not None:
        kept = {each.name: each.entry for each in made if each.entry and each.entry.first}
        prove_calibrated(
            playbook, assembly.ledger.parts, network, kept, prepared.first, prepared.task
        )
    notes = [*_say(found, least, options.confidence), *assembly.notes]
    if (options.batch or 1) > 1 and not network.stacks:
        notes.append("requests are run one by one: an answer would depend on the others")
    return Built(playbook, assembly.ledger.parts, tuple(notes), first)


def promised(found: Calibration, confidence: float) -> Promised:
    """What the promise of a calibration stands on."""
    return Promised(found.measured, found.count, found.counted, confidence, found.labelled)


def _say(found: Calibration | None, least: float, confidence: float) -> list[str]:
    if found is None:
        return ["nothing is rounded or compressed: give images with --calibrate FOLDER"]
    kept = promised(found, confidence).least(least)
    notes = [f"calibrated in {found.seconds:.0f} s: each plan, looked at by itself, keeps {kept}"]
    if found.counted < ASKED:
        notes.append(
            f"only {found.counted} images: with {ASKED} or more, more could be promised and fewer "
            "bits used"
        )
    needed = images_needed(least, confidence)
    if found.counted < needed:
        few = f"{needed:.0f}" if needed < 1e6 else "no number of"
        notes.append(
            f"to promise {least:.4g} of any rounded plan it takes {few} images, all answered "
            "alike: only exact plans are used"
        )
    elif not any(not e.exact and e.accuracy(confidence) >= least for e in found.entries):
        notes.append("no way to round keeps that accuracy: only exact plans are used")
    return notes


strategy = Strategy(NAME, build, prepare, explain, SplitOptions)

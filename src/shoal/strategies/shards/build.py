"""The layers of a network dealt over devices, so that a lost one costs little."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from shoal.codec.named import exact
from shoal.errors import PlanError
from shoal.model.network import Network
from shoal.model.shards import regions
from shoal.plan.cluster import Cluster
from shoal.plan.network import Feeds
from shoal.plan.network import Network as AnyNetwork
from shoal.plan.objective import Objective
from shoal.plan.plan import PolicySpec
from shoal.plan.profiles import Profiles
from shoal.plan.statistics import images_needed
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.ledger import Ledger, memory_limits
from shoal.strategies.shards.choose import Ways, choose
from shoal.strategies.shards.coded import coded
from shoal.strategies.shards.costs import Packing
from shoal.strategies.shards.explain import explain
from shoal.strategies.shards.failures import Sample, failure_sets
from shoal.strategies.shards.layout import REMEDY, lacking, no_room
from shoal.strategies.shards.packing import packing
from shoal.strategies.shards.plans import Made
from shoal.strategies.shards.prepare import CODED, ShardOptions, lost, prepare
from shoal.strategies.shards.promise import confidence_of
from shoal.strategies.shards.record import coded_record, record
from shoal.strategies.shards.reliability import told
from shoal.strategies.shards.repair import MOST_DEVICES, Repair, Repairing
from shoal.strategies.shards.settle import Wish
from shoal.strategies.shards.sharing import laid_out
from shoal.strategies.shards.telling import say, say_coded, say_repairs
from shoal.strategies.whole import last_resort

NAME = "shards"
LEAST_ACCURACY = 0.95
"""What is promised of the whole network's accuracy where the objective says nothing."""
JUDGED = 128
"""Most images on which losses are compared; the promise is measured on the others."""
PROVED = 4
"""Images on which all plans are proved besides."""


def build(
    network: AnyNetwork,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
    options: ShardOptions,
    prepared: Sample | None,
) -> Built:
    """One plan, which goes on without whoever is lost, and the whole network on any device that
    has the memory for it as the last resort."""
    if not isinstance(network, Network):
        raise PlanError(f"{network.name!r} is no network whose layers can be dealt")
    devices = tuple(device.name for device in cluster.computing)
    if len(devices) < 2:
        raise PlanError("there is one device only, and layers are dealt to several; add another")
    least = LEAST_ACCURACY if objective.min_accuracy is None else objective.min_accuracy
    limits = memory_limits(cluster, objective)
    most = lost(objective, options, len(devices))
    if options.fill == CODED:
        return _coded(network, cluster, profiles, limits, most, options, prepared)
    wish = Wish(most, least, _for_one(limits, len(devices), most, options), options)
    judged, held = (None, None) if prepared is None else prepared.halves(JUDGED)
    _check(wish, held)
    found = regions(network)

    def lay(packing: Packing) -> Ways:
        return laid_out(network, cluster, profiles, devices, found.regions, wish, packing)

    ground, layout, deck, promise, settled = choose(lay, judged, held, wish)
    ledger = Ledger(limits)
    for each in (settled.made, *(each.made for each in settled.mended)):
        _put(ledger, each, wish.remedy)
    plan = settled.made.plan
    forecast = msgspec.structs.replace(plan.forecast, missing=settled.missing)
    plans = [msgspec.structs.replace(plan, forecast=forecast)]
    plans += [each.made.plan for each in settled.mended]
    resort = last_resort(network, cluster, profiles, ledger)
    plans += resort
    repairs: list[Repair] = []
    if options.repair_s and len(devices) <= MOST_DEVICES:
        repairing = Repairing(ground, layout, deck, settled, ledger, limits, promise, least)
        repairs = repairing.repairs(options.repair_s)
    parts = dict(ledger.parts)
    for made in (each.made for each in repairs if each.made is not None):
        plans.append(made.plan)
        parts |= made.parts
    spec = PolicySpec(NAME, record(ground, layout, settled, promise, found, repairs).plain())
    notes = [
        *say(found, promise, settled, resort),
        *told(ground, layout),
        *say_repairs(repairs, options.repair_s),
    ]
    if options.repair_s and len(devices) > MOST_DEVICES:
        notes.append(
            f"what a device held that is lost for good is brought to nobody: that is done "
            f"among {MOST_DEVICES} devices at the most"
        )
    shown = () if prepared is None else _first(network, prepared)
    return replace(built(NAME, network, spec, plans, parts, notes), images=shown)


def _coded(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    limits: Mapping[str, float],
    most: int,
    options: ShardOptions,
    prepared: Sample | None,
) -> Built:
    """The same with coded layers, of which nothing is missing."""
    shown = () if prepared is None else _first(network, prepared)
    packed = packing(options.codec or "raw")
    code = coded(network, cluster, profiles, limits, most, options.deal != "pays", shown, packed)
    ledger = Ledger(limits)
    _put(ledger, code.made, REMEDY)
    resort = last_resort(network, cluster, profiles, ledger)
    spec = PolicySpec(NAME, coded_record(code).plain())
    notes = say_coded(code, resort)
    made = built(NAME, network, spec, [code.made.plan, *resort], ledger.parts, notes)
    return replace(made, images=shown)


def _for_one(
    limits: Mapping[str, float], devices: int, most: int, options: ShardOptions
) -> dict[str, float]:
    """The memory for the shards of one plan: where what is missing is rebuilt there is another plan
    for each set of lost devices."""
    copies = 1
    if options.fill == "rebuilt" and options.rho != 1.0:
        copies += sum(0 not in each for each in failure_sets(devices, most))
    return {name: limit / copies for name, limit in limits.items()}


def _check(wish: Wish, held: Sample | None) -> None:
    """PlanError for a promise that cannot be given."""
    options = wish.options
    lossy = options.codec is not None and not exact(options.codec)
    if (not wish.most or options.rho == 1.0) and not lossy:
        return
    if held is None:
        raise PlanError(
            "what is kept when a device is lost is measured on images: give some with --calibrate "
            "FOLDER, or have all devices hold everything with --rho 1"
        )
    confidence = options.confidence
    fixed = options.rho is not None or not wish.most
    needed = images_needed(wish.least, confidence if fixed else confidence_of(0, confidence))
    if len(held) < needed and wish.least < 1:
        choosing = min(needed, JUDGED)
        raise PlanError(
            f"to promise {wish.least:g} with {options.confidence:g} confidence it takes "
            f"{needed + choosing:.0f} images, {choosing:.0f} of them to choose by: give more, or "
            "ask for less"
        )


def _put(ledger: Ledger, made: Made, remedy: str) -> None:
    """Let all devices hold their shards; PlanError where one has no room."""
    if ledger.put(made.held):
        return
    room = ledger.room
    over = [
        lacking(name, need, room[name])
        for name, need in ledger.needs(made.held).items()
        if need > room.get(name, math.inf)
    ]
    raise PlanError(no_room(over, remedy))


def _first(network: Network, sample: Sample) -> tuple[Feeds, ...]:
    name = network.inputs[0].name
    return tuple({name: sample.images[k : k + 1]} for k in range(min(PROVED, len(sample))))


strategy = Strategy(NAME, build, prepare, explain, ShardOptions)

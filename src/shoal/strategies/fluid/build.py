"""The playbook of a bundle: together for accuracy, each for itself for throughput, and both for
whoever is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from shoal.errors import PlanError, ProofError
from shoal.model.bundle import Bundle, SubNetwork, Variant
from shoal.model.proof import difference
from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective
from shoal.plan.plan import Plan, PolicySpec
from shoal.plan.profiles import Profiles
from shoal.plan.prove import run_plan
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.fluid.costs import shares
from shoal.strategies.fluid.deal import Groups, deal, teams
from shoal.strategies.fluid.offers import Offer, offers, within_memory
from shoal.strategies.fluid.plans import Ground
from shoal.strategies.fluid.policy import CALM_S, HIGH_S, LOW_S
from shoal.strategies.labels import classes_only
from shoal.strategies.ledger import memory_limits
from shoal.strategies.options import Options, flag

TOLERANCE = 1e-5
"""How far a plan may be off the same sub-network in one piece, relative to the largest output."""
EQUAL = 0.002
"""Ways to run the same groups whose accuracies differ by less are as accurate as each other."""


NAME = "fluid"


class Marks(Options, frozen=True):
    """When devices go together and apart (see :mod:`shoal.strategies.fluid.policy`): below
    ``low_s`` seconds of work for ``calm_s`` seconds they answer together, above ``high_s`` each for
    itself."""

    high_s: float = HIGH_S
    low_s: float = LOW_S
    calm_s: float = CALM_S

    def __post_init__(self) -> None:
        for name, value in msgspec.structs.asdict(self).items():
            if not 0 <= value < 1e6:
                raise PlanError(f"{name}: {value!r} is no time in seconds; write {flag(name)} 0.5")
        if self.low_s >= self.high_s:
            raise PlanError(
                f"low_s ({self.low_s:g}) must be below high_s ({self.high_s:g}), both in seconds"
            )


def build(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
    options: Marks,
) -> Built:
    """Plans for every set of devices that may be left, the most accurate first.

    Of the ways to run the same groups together that are about as accurate, the better one by
    forecast comes first. ``objective.min_accuracy`` is the floor (a share of the accuracy of
    the whole network).
    """
    if not isinstance(network, Bundle):
        raise PlanError(
            f"{network.name!r} has no sub-networks that answer alone; train a bundle with "
            "'shoal train fluid', or use another strategy"
        )
    classes_only(objective, "groups of a bundle answer by the logits of classes")
    floor = objective.min_accuracy or 0.0
    speeds = {device.name: 1e3 / _whole_ms(profiles, device.name) for device in cluster.computing}
    dealt = deal(network.subnets, network.groups, speeds)
    offered = offers(network.subnets, dealt)
    kept, used, notes = within_memory(offered, memory_limits(cluster, objective), network.part)
    ground = Ground(network, cluster, profiles, shares(network, used))
    ordered = ranked(ground, kept, objective)
    for plan, subnet in ordered:
        prove_subnet(network, plan, subnet)
    plans = [plan for plan, _ in ordered]
    policy = PolicySpec("fluid", {"floor": floor, **msgspec.structs.asdict(options)})
    notes += _notes(plans, dealt, floor)
    return built(NAME, network, policy, plans, used, notes)


def ranked(
    ground: Ground, offered: Sequence[Offer], objective: Objective
) -> list[tuple[Plan, SubNetwork]]:
    """The plans of all offers in order of preference: those of several devices first, the most
    accurate set of devices first; of the ways in which one set answers about as accurately as by
    its best, the better one by forecast."""
    made = [(ground.plan(offer.subnet, offer.devices), offer.subnet) for offer in offered]
    sets: dict[frozenset[str], list[tuple[Plan, SubNetwork]]] = {}
    for pair in made:
        sets.setdefault(pair[0].devices, []).append(pair)
    ordered = []
    for ways in sets.values():
        best = max(plan.forecast.accuracy for plan, _ in ways)
        as_good = [pair for pair in ways if pair[0].forecast.accuracy >= best * (1 - EQUAL)]
        order = objective.order([plan.forecast for plan, _ in as_good])
        rest = sorted(
            (pair for pair in ways if pair not in as_good),
            key=lambda pair: -pair[0].forecast.accuracy,
        )
        ordered.append([*(as_good[index] for index in order), *rest])
    ordered.sort(key=lambda ways: (len(ways[0][0].devices) == 1, -ways[0][0].forecast.accuracy))
    flat = [pair for ways in ordered for pair in ways]
    return [
        (msgspec.structs.replace(plan, spare=bool(rank) and len(plan.devices) > 1), subnet)
        for rank, (plan, subnet) in enumerate(flat)
    ]


def prove_subnet(bundle: Bundle, plan: Plan, subnet: SubNetwork) -> float:
    """The difference of a plan, run in this process on what the bundle was proved on, to its
    sub-network in one piece (for ``logits``, to the sum of its owners alone); ProofError when it
    is more than ``TOLERANCE``, or when the sub-network gives no numbers."""
    pieces = subnet.owners if subnet.variant is Variant.LOGITS else (subnet.groups,)
    alone = [bundle.part(bundle.alone(groups).stages[0].parts["0"]) for groups in pieces]
    sessions = [part.session() for part in alone]
    parts = {part: bundle.part(part) for stage in plan.stages for part in stage.parts.values()}
    worst = 0.0
    for case in bundle.cases():
        given = run_plan(plan, parts, case.feeds)
        expected = [
            part.run_on(session, case.feeds) for part, session in zip(alone, sessions, strict=True)
        ]
        for spec in bundle.outputs:
            whole = np.sum([outputs[spec.name] for outputs in expected], axis=0, dtype=spec.dtype)
            if not np.isfinite(whole).all():
                raise ProofError(
                    f"the sub-network {subnet.name!r} gives no numbers (NaN or infinity), so plan "
                    f"{plan.name!r} cannot be proved; train the bundle again"
                )
            worst = max(worst, difference(whole, given[spec.name]))
    if not worst <= TOLERANCE:
        raise ProofError(
            f"plan {plan.name!r} differs from the sub-network {subnet.name!r} in one piece by "
            f"{worst:.2e} of its largest output, {TOLERANCE:.0e} is allowed; the bundle must not "
            "serve: export it again"
        )
    return worst


def _whole_ms(profiles: Profiles, device: str) -> float:
    profile = profiles.device(device).network
    return max(1e-6, profile.range_ms(0, len(profile.node_ms)))


def _notes(plans: Sequence[Plan], dealt: Mapping[str, Groups], floor: float) -> list[str]:
    singles = [plan for plan in plans if len(plan.devices) == 1]
    able = [plan for plan in singles if plan.forecast.accuracy >= floor]
    notes = []
    if len(able) > 1:
        rate = sum(plan.forecast.images_per_s for plan in able)
        least = min(plan.forecast.accuracy for plan in able)
        notes.append(
            f"each for itself, {len(able)} devices answer {rate:.1f} images/s with at least "
            f"{least:.3f} of the accuracy"
        )
    if floor and len(able) < len(singles):
        names = ", ".join(next(iter(plan.devices)) for plan in singles if plan not in able)
        notes.append(
            f"{names} would be below the floor of {floor:g} if alone: only the last resort"
        )
    team = teams(dealt)
    return notes + [
        f"{name} has the same groups as {team[index % len(team)]}: it answers alone only (train "
        "more groups to use it together with the others)"
        for index, name in enumerate(dealt)
        if name not in team
    ]


strategy = Strategy(NAME, build, options=Marks)

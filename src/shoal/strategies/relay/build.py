"""The playbook of a network with exits, of which any holder may run the next task."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shoal.errors import PlanError
from shoal.model.exits import CALIBRATION, Exits
from shoal.model.network import Network
from shoal.model.staged import staged
from shoal.plan.cluster import Cluster
from shoal.plan.forecast import Duty, StageDuty, forecast
from shoal.plan.network import Network as AnyNetwork
from shoal.plan.network import Part, tensor_bytes
from shoal.plan.objective import Objective
from shoal.plan.plan import Exit, Forecast, Plan, PolicySpec, Stage
from shoal.plan.profiles import Profiles
from shoal.plan.thresholds import NEVER, Expected, expected, kept, thresholds_keeping
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.labels import classes_only
from shoal.strategies.ledger import Ledger, memory_limits
from shoal.strategies.relay.explain import explain
from shoal.strategies.relay.options import RelayOptions
from shoal.strategies.relay.rate import Can, surest, told
from shoal.strategies.relay.settings import Settings
from shoal.strategies.relay.topology import dead_end, neighbours
from shoal.strategies.whole import last_resort

NAME = "relay"
LEAST_ACCURACY = 0.99
"""What is kept of the whole network's accuracy where the objective says nothing."""
RAISED = (0.9, 0.75, 0.5, 0.25, 0.0)
"""How far sought thresholds are raised to 1: from the surest on, as long as they keep what was
asked on images that they were not sought by."""


def build(
    network: AnyNetwork,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
    options: RelayOptions,
) -> Built:
    """One plan whose stages are the tasks between exits, held by all who have the memory, and the
    whole network on whoever has room for it as the last resort. PlanError for a network without
    exits, thresholds that do not fit them, tasks for which nobody has the memory, and holders that
    may give to nobody."""
    if not isinstance(network, Network) or network.exits is None:
        raise PlanError(
            f"{network.name!r} has no exits; make some with 'shoal train exits', or use another "
            "strategy"
        )
    classes_only(objective, "an exit answers where it is sure of a class")
    exits = network.exits
    parts = staged(network, exits)
    ledger = Ledger(memory_limits(cluster, objective))
    holders = _holders(parts, cluster, profiles, ledger)
    sought, held = (exits, exits) if options.given is not None else _halves(exits)
    thresholds, sure = _promised(
        network, sought, held, parts, cluster, profiles, objective, options
    )
    found = expected(held, thresholds)
    plan = _plan(network, parts, holders, thresholds, found, sure, cluster, profiles)
    names = [device.name for device in cluster.computing if device.name in plan.devices]
    near = neighbours(names, options.topology)
    if end := dead_end(holders, near):
        task, name = end
        raise PlanError(
            f"{name!r} holds task {task} of {len(parts)} and may give to nobody who holds the next "
            f"one in the topology {options.topology!r}; use 'mesh', raise a memory limit, or put "
            "devices in another order in the cluster file"
        )
    settings = Settings(
        rules=options.rules,
        sizes=tuple(float(_entering(network, parts, index)) for index in range(len(parts))),
        fixed=options.fixed,
        loosest=options.loosest,
        least_gap_s=0.25 / plan.forecast.images_per_s,
        neighbours=near,
        bytes_per_s=min(
            (profiles.link(a, b).bytes_per_s for a in names for b in names if a != b), default=1e9
        ),
    )
    spec = PolicySpec(NAME, {**msgspec.to_builtins(settings), CALIBRATION: exits.table})
    plans = [plan, *last_resort(network, cluster, profiles, ledger)]
    notes = _notes(held, options, found, sure, holders, len(plans) > 1)
    if options.rate is not None:

        def can(tried: tuple[float, ...]) -> Can:
            what = expected(held, tried)
            of = _plan(network, parts, holders, tried, what, sure, cluster, profiles).forecast
            return Can(tried, of.images_per_s, what.accuracy, of.slowest)

        following = surest(options.rate, thresholds, options.loosest, can)
        notes.append(told(options.rate, can(thresholds), following, options.fixed))
    return built(NAME, network, spec, plans, ledger.parts, notes)


def _holders(
    parts: Sequence[Part], cluster: Cluster, profiles: Profiles, ledger: Ledger
) -> list[list[str]]:
    """Who holds each task: all who have the memory for all of them; then each of the others what it
    has room for, first what the fewest hold."""
    held: list[list[str]] = [[] for _ in parts]
    some = []
    for device in cluster.computing:
        if ledger.put([(device.name, part) for part in parts]):
            for names in held:
                names.append(device.name)
        else:
            some.append(device.name)
    for name in some:
        for index in sorted(range(len(parts)), key=lambda k: (len(held[k]), k)):
            if ledger.put([(name, parts[index])]):
                held[index].append(name)
    lacking = [str(index) for index, names in enumerate(held) if not names]
    if lacking:
        raise PlanError(
            f"no device has the memory for task {', '.join(lacking)} of {len(parts)}; raise a "
            "limit, or make more exits, so that tasks are smaller"
        )
    return held


def _promised(
    network: Network,
    sought: Exits,
    held: Exits,
    parts: Sequence[Part],
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
    options: RelayOptions,
) -> tuple[tuple[float, ...], float]:
    """Thresholds, and the share of the accuracy that they keep for sure: those that were given, or
    those that were ``sought`` by half of the images, raised until they keep what was asked on those
    that are ``held`` back.

    Tests in a fixed order, of which the first that fails is the last, need no correction for their
    number (Maurer, Hothorn and Lehmacher, 1995). They only show what was asked, so no more is
    promised where one has failed.
    """
    if options.given is not None:
        return options.given, kept(held, options.given, options.confidence)
    share = LEAST_ACCURACY if objective.min_accuracy is None else objective.min_accuracy
    name = cluster.computing[0].name
    costs = [profiles.device(name).network.range_ms(*part.range) for part in parts]
    try:
        found = thresholds_keeping(sought, share, costs, options.confidence)
    except PlanError as error:
        raise PlanError(f"{network.name!r}: {error}") from None
    promised, keeps = (NEVER,) * len(found), 1.0
    for raised in RAISED:
        surer = tuple(each + raised * max(0.0, 1 - each) for each in found)
        sure = kept(held, surer, options.confidence)
        if sure < share:
            return promised, share if any(each < NEVER for each in promised) else 1.0
        promised, keeps = surer, sure
    return promised, keeps


def _halves(exits: Exits) -> tuple[Exits, Exits]:
    """The exits with every second image of their calibration, and with the others; of a single one
    there are no halves."""
    if exits.images < 2:
        return exits, exits
    first, second = (
        msgspec.structs.replace(exits, table=tuple(column[start::2] for column in exits.table))
        for start in (0, 1)
    )
    return first, second


def _plan(
    network: Network,
    parts: Sequence[Part],
    holders: Sequence[Sequence[str]],
    thresholds: Sequence[float],
    found: Expected,
    sure: float,
    cluster: Cluster,
    profiles: Profiles,
) -> Plan:
    assert network.exits is not None, "it was looked at"
    heads = network.exits.heads
    stages: list[Stage] = []
    duties: list[StageDuty] = []
    reached = 1.0
    answer = tensor_bytes(network.outputs)
    for index, (part, names) in enumerate(zip(parts, holders, strict=True)):
        last = index == len(heads)
        leave = None if last else _exit(heads[index], thresholds[index])
        outputs = part.outputs if last else parts[index + 1].inputs
        stages.append(Stage(dict.fromkeys(names, part.hash), part.inputs, outputs, exit=leave))
        size = answer if last else _entering(network, parts, index + 1)
        each = {
            name: Duty(profiles.device(name).network.range_ms(*part.range), size, part.info.memory)
            for name in names
        }
        duties.append(StageDuty(each, reached=reached, exit_bytes=answer))
        reached -= found.leaving[index]
    given = tensor_bytes(network.inputs)
    whole = forecast(duties, cluster, profiles, given, sure)
    able = sorted(set[str].intersection(*map(set, holders)))
    if able:
        alone = forecast([_alone(duties, able, answer)], cluster, profiles, given, sure)
        whole = _quicker(whole, alone)
    return Plan(NAME, tuple(stages), whole, tolerance=network.tolerance)


def _quicker(passed: Forecast, alone: Forecast) -> Forecast:
    """What is forecast where tasks go anywhere, with the rate of the case that each device runs all
    of what it is given, where that is higher: nothing is handed on to where it takes longer."""
    if alone.images_per_s <= passed.images_per_s:
        return passed
    of = {name: getattr(alone, name) for name in ("images_per_s", "bytes_per_image", "slowest")}
    return msgspec.structs.replace(passed, **of)


def _alone(duties: Sequence[StageDuty], able: Sequence[str], answer: float) -> StageDuty:
    """All tasks as one, for those who are ``able`` to do all: what an image takes in the mean."""
    return StageDuty(
        {
            name: Duty(sum(stage.reached * stage.duties[name].run_ms for stage in duties), answer)
            for name in able
        }
    )


def _exit(head: object, threshold: float) -> Exit:
    return msgspec.convert(
        {
            **{k: getattr(head, k) for k in ("tensor", "output", "criterion", "temperature")},
            "threshold": threshold,
        },
        Exit,
    )


def _entering(network: Network, parts: Sequence[Part], index: int) -> int:
    """Bytes that enter a task, for one image."""
    wanted = set(parts[index].inputs)
    specs = [spec for part in parts for spec in part.specs.values() if spec.name in wanted]
    return tensor_bytes(list({spec.name: spec for spec in specs}.values()))


def _notes(
    exits: Exits,
    options: RelayOptions,
    found: Expected,
    sure: float,
    holders: Sequence[Sequence[str]],
    resort: bool,
) -> list[str]:
    leaving = ", ".join(f"{100 * share:.0f} %" for share in found.leaving)
    notes = [
        f"on {exits.images} images that thresholds were not sought by, "
        f"{100 * found.accuracy:.2f} % are right "
        f"({100 * exits.accuracies[-1]:.2f} % without exits), held against {exits.truth}",
        f"{sure:.4f} of the accuracy is kept, with {options.confidence:g} confidence",
        f"of these {leaving} leave at the exits and at the end",
    ]
    few = [str(k) for k, names in enumerate(holders) if len(names) == 1]
    if few and not resort:
        notes.append(f"task {', '.join(few)} is held by one device only: nothing stands in for it")
    return notes


strategy = Strategy(NAME, build, explain=explain, options=RelayOptions, rank=20)

"""Proof before service: every plan is run on probe inputs, in process, against the whole network.

A plan is allowed to differ by its tolerance, relative to the largest output; a plan without
one is an approximation, and only the shapes of its outputs are held against the network's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from shoal.codec.join import join
from shoal.errors import ProofError
from shoal.model.proof import difference
from shoal.plan.network import Array, Feeds, Network, Part
from shoal.plan.plan import Plan, Playbook, Spread, Stage

_Path: TypeAlias = tuple[tuple[object, ...], ...]


def prove(
    playbook: Playbook, parts: Mapping[str, Part], network: Network, seeds: Sequence[int] = (0,)
) -> dict[str, float]:
    """The largest relative difference of each plan to the whole network, by plan name.

    Raises ProofError when a plan differs by more than its tolerance, gives other shapes, or when
    a part is not at hand. Exits are ignored: every probe goes through all stages.
    """
    worst = dict.fromkeys((plan.name for plan in playbook.plans), 0.0)
    for seed in seeds:
        feeds = network.probe(seed)
        (part,) = network.split((), prove=False)
        whole = part.run_on(part.session(), feeds)
        runner = _Runner(parts)
        for plan in playbook.plans:
            difference = _difference(plan, runner.run(plan, feeds), whole)
            worst[plan.name] = max(worst[plan.name], difference)
    return worst


def run_plan(plan: Plan, parts: Mapping[str, Part], feeds: Mapping[str, Array]) -> Feeds:
    """Run a plan in process, all devices alive, no early exits; ProofError for absent parts."""
    return _Runner(parts).run(plan, feeds)


class _Runner:
    """Runs plans on one probe; what plans have in common is run once."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts
        self._done: dict[_Path, Feeds] = {}

    def run(self, plan: Plan, feeds: Mapping[str, Array]) -> Feeds:
        """The outputs of the last stage of ``plan``."""
        at_hand: Feeds = dict(feeds)
        path: _Path = ()
        for index, stage in enumerate(plan.stages):
            path = (*path, _signature(stage))
            if path not in self._done:
                place = f"plan {plan.name!r}, stage {index}"
                self._done[path] = self._stage(place, stage, at_hand)
            at_hand = self._done[path]
        return at_hand

    def _stage(self, place: str, stage: Stage, at_hand: Feeds) -> Feeds:
        """The outputs of one stage, those carried through it too."""
        given = {name: at_hand[name] for name in stage.inputs if name in at_hand}
        if stage.join is None:
            made = self._part(place, next(iter(stage.parts.values())), given)
        else:
            runs = {device: self._part(place, part, given) for device, part in stage.parts.items()}
            made = next(iter(runs.values()))
            slices = {device: run[stage.join.tensor.name] for device, run in runs.items()}
            made = {**made, stage.join.tensor.name: join(slices, stage.join)}
        made = {**given, **made}
        absent = sorted(set(stage.outputs) - made.keys())
        if absent:
            raise ProofError(f"{place}: its part does not give {', '.join(absent)}; build it again")
        return {name: made[name] for name in stage.outputs}

    def _part(self, place: str, name: str, given: Feeds) -> Feeds:
        part = self._parts.get(name)
        if part is None:
            raise ProofError(f"{place}: the part {name} is not at hand; build the playbook again")
        absent = sorted(set(part.inputs) - given.keys())
        if absent:
            raise ProofError(
                f"{place}: the part {name} needs {', '.join(absent)}, which the stage is not given"
            )
        session = part.session()  # not kept: a playbook has more parts than memory should hold
        return part.run_on(session, {key: given[key] for key in part.inputs})


def _signature(stage: Stage) -> tuple[object, ...]:
    """What decides the outputs of a stage, its inputs given."""
    parts: object = tuple(stage.parts.items())
    if stage.spread is Spread.ONE:
        parts = next(iter(stage.parts.values()))
    return (parts, stage.inputs, stage.outputs, id(stage.join))


def _difference(plan: Plan, given: Feeds, whole: Feeds) -> float:
    """The largest relative difference of any output; ProofError beyond the tolerance."""
    worst = 0.0
    for name, expected in whole.items():
        array = given[name]
        if array.shape != expected.shape or array.dtype != expected.dtype:
            raise ProofError(
                f"plan {plan.name!r} gives {name!r} as {array.dtype} {list(array.shape)}, the "
                f"whole network as {expected.dtype} {list(expected.shape)}"
            )
        worst = max(worst, difference(expected, array))
    if plan.tolerance is not None and not worst <= plan.tolerance:
        raise ProofError(
            f"plan {plan.name!r} differs from the whole network by {worst:.2e} of its largest "
            f"output, {plan.tolerance:.0e} is allowed; its parts must not serve: report this "
            "with the model"
        )
    return worst

"""Proof before service: every plan is run in process, against the whole network, on the inputs
that the network itself was proved on, and on the user's images where there are any.

A plan is allowed to differ by its tolerance, relative to the largest output; a plan without
one is an approximation, and only the shapes of its outputs are held against the network's. Where
the batch is free, that holds for one image and for two, as requests may be run together. What a
codec makes of tensors on their way is part of the plan, so it is part of the proof.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from shoal.codec.frame import pack, unpack
from shoal.codec.join import join
from shoal.errors import InputError, ModelError, ProofError, ShoalError
from shoal.plan.network import Array, Case, Feeds, Network, Part
from shoal.plan.plan import Plan, Playbook, Spread, Stage

_Path: TypeAlias = tuple[tuple[object, ...], ...]


def prove(
    playbook: Playbook,
    parts: Mapping[str, Part],
    network: Network,
    seeds: Sequence[int] = (0,),
    more: Sequence[Case] = (),
) -> dict[str, float]:
    """The largest relative difference of each plan to the whole network, by plan name, for the
    network's cases with each of ``seeds``, and for ``more``.

    Raises ProofError when a plan differs by more than its tolerance, gives other shapes, or when
    a part is not at hand. Exits are ignored: all goes through all stages.
    """
    cases = [case for seed in seeds for case in network.cases(seed)] + list(more)
    runner = _Runner(parts)
    worst = {}
    for plan in playbook.plans:
        found = runner.run(plan, [case.feeds for case in cases])
        worst[plan.name] = max(
            _difference(plan, given, case) for given, case in zip(found, cases, strict=True)
        )
    return worst


def run_plan(
    plan: Plan,
    parts: Mapping[str, Part],
    feeds: Mapping[str, Array],
    absent: Collection[str] = (),
) -> Feeds:
    """Run a plan in process, without the devices that are ``absent``, no early exits; ProofError
    for parts that are not at hand, and where too few devices are left."""
    (given,) = _Runner(parts, absent).run(plan, [feeds])
    return given


class _Runner:
    """Runs plans on a few probes; what plans have in common is run once, and each session that is
    made takes all probes."""

    def __init__(self, parts: Mapping[str, Part], absent: Collection[str] = ()) -> None:
        self._parts = parts
        self._absent = absent
        self._done: dict[_Path, list[Feeds]] = {}

    def run(self, plan: Plan, probes: Sequence[Mapping[str, Array]]) -> list[Feeds]:
        """The outputs of the last stage of ``plan`` for each probe."""
        at_hand = [_travelled(feeds, plan.codec, f"plan {plan.name!r}") for feeds in probes]
        path: _Path = ((plan.codec,),)
        for index, stage in enumerate(plan.stages):
            path = (*path, _signature(stage))
            if path not in self._done:
                place = f"plan {plan.name!r}, stage {index}"
                self._done[path] = self._stage(place, stage, at_hand)
            at_hand = self._done[path]
        return at_hand

    def _stage(self, place: str, stage: Stage, at_hand: Sequence[Feeds]) -> list[Feeds]:
        """The outputs of one stage as they arrive, those carried through it too."""
        given = [{name: feeds[name] for name in stage.inputs if name in feeds} for feeds in at_hand]
        holders = [(name, part) for name, part in stage.parts.items() if name not in self._absent]
        left = [name for name, _ in holders]
        if not left or (stage.join is not None and not stage.join.enough(left)):
            raise ProofError(f"{place}: {', '.join(left) or 'nobody'} cannot run it alone")
        if stage.spread is Spread.ONE:
            holders = holders[:1]
        names = [device for device, _ in holders]
        fed = _beside(stage, names, given)
        runs = [self._outputs(place, stage, part, fed) for _, part in holders]
        outputs = []
        for arrived in zip(*runs, strict=True):  # of one probe, from each holder
            made = dict(arrived[0])
            if stage.join is not None:
                name = stage.join.tensor.name
                slices = {
                    device: run[name] for (device, _), run in zip(holders, arrived, strict=True)
                }
                try:
                    made[name] = join(slices, stage.join)
                except InputError as error:
                    raise ProofError(f"{place}: {error}") from None
            outputs.append(made)
        return outputs

    def _outputs(self, place: str, stage: Stage, part: str, given: Sequence[Feeds]) -> list[Feeds]:
        """What one holder of a stage sends, as it arrives."""
        outputs = []
        for feeds, made in zip(given, self._part(place, part, given), strict=True):
            all_of_it = {**feeds, **made}
            absent = sorted(set(stage.outputs) - all_of_it.keys())
            if absent:
                raise ProofError(
                    f"{place}: its part does not give {', '.join(absent)}; build it again"
                )
            sent = {name: all_of_it[name] for name in stage.outputs}
            outputs.append(_travelled(sent, stage.codec, place))
        return outputs

    def _part(self, place: str, name: str, given: Sequence[Feeds]) -> list[Feeds]:
        part = self._parts.get(name)
        if part is None:
            raise ProofError(f"{place}: the part {name} is not at hand; build the playbook again")
        absent = sorted(set(part.inputs) - given[0].keys())
        if absent:
            raise ProofError(
                f"{place}: the part {name} needs {', '.join(absent)}, which the stage is not given"
            )
        session = part.session()  # not kept: a playbook has more parts than memory should hold
        try:
            return [
                part.run_on(session, {key: feeds[key] for key in part.inputs}) for feeds in given
            ]
        except (InputError, ModelError) as error:
            raise ProofError(f"{place}: the part {name} does not run: {error}") from None


def _travelled(tensors: Mapping[str, Array], codec: str, place: str) -> Feeds:
    """Tensors as they are after they were packed with ``codec`` and unpacked."""
    if codec == "raw":
        return dict(tensors)
    try:
        return unpack(pack(tensors, codec))
    except ShoalError as error:
        raise ProofError(f"{place}: the codec {codec!r} cannot carry this: {error}") from None


def _signature(stage: Stage) -> tuple[object, ...]:
    """What decides the outputs of a stage, its inputs given."""
    parts: object = tuple(stage.parts.items())
    if stage.spread is Spread.ONE:
        parts = next(iter(stage.parts.values()))
    return (parts, stage.inputs, stage.outputs, stage.codec, id(stage.join))


def _difference(plan: Plan, given: Feeds, case: Case) -> float:
    """The largest relative difference of any output; ProofError beyond the tolerance."""
    worst = 0.0
    for name, expected in case.expected.items():
        array = given[name]
        if array.shape != expected.shape or array.dtype != expected.dtype:
            raise ProofError(
                f"plan {plan.name!r} gives {name!r} as {array.dtype} {list(array.shape)}, the "
                f"whole network as {expected.dtype} {list(expected.shape)}"
            )
        worst = max(worst, case.difference(name, array))
    if plan.tolerance is not None and not worst <= plan.tolerance:
        raise ProofError(
            f"plan {plan.name!r} differs from the whole network by {worst:.2e} of its largest "
            f"output, {plan.tolerance:.0e} is allowed; its parts must not serve: report this "
            "with the model"
        )
    return worst


def _beside(stage: Stage, holders: Sequence[str], given: Sequence[Feeds]) -> Sequence[Feeds]:
    """What a holder is given, with who is away if its part reckons with that."""
    join = stage.join
    if join is None or not join.away:
        return given
    away = np.array([name not in holders for name in join.slices], np.float32)
    return [{**feeds, join.away: away} for feeds in given]

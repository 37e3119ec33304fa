"""Proof before service: every plan is run in process, against the whole network, on the inputs
that the network itself was proved on, and on the user's images where there are any.

A plan is allowed to differ by its tolerance, relative to the largest output; a plan without
one is an approximation, and only the shapes of its outputs are held against the network's. Where
the batch is free, that holds for one image and for two, as requests may be run together. What a
codec makes of tensors on their way is part of the plan, so it is part of the proof.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from shoal.codec.home import arrived
from shoal.codec.home import given as given_of
from shoal.codec.join import join
from shoal.errors import InputError, ModelError, ProofError, ShoalError
from shoal.plan.network import Array, Case, Feeds, Network, Part
from shoal.plan.plan import Home, Plan, Playbook, Spread, Stage

Homes: TypeAlias = Mapping[str, Home | None]
"""What of the output of each holder of a stage stays with it."""
_Path: TypeAlias = tuple[tuple[object, ...], ...]
_TOGETHER = 8
"""Sets of absent devices that are proved in one go: what they make is in memory at once."""


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
    (given,) = _Runner(parts, [absent]).run(plan, [feeds])
    return given


def sent(
    plan: Plan, parts: Mapping[str, Part], feeds: Mapping[str, Array]
) -> list[dict[str, Feeds]]:
    """What each holder gives others at each stage of a plan that is run in process, before it is
    packed; of a stage that one of its holders runs, what the first gives."""
    found: dict[int, dict[str, Feeds]] = {id(stage): {} for stage in plan.stages}

    def watch(stage: Stage, device: str, tensors: Feeds) -> None:
        found[id(stage)][device] = tensors

    _Runner(parts, watch=watch).run(plan, [feeds])
    return list(found.values())


def prove_without(
    plan: Plan,
    parts: Mapping[str, Part],
    network: Network,
    sets: Sequence[Collection[str]],
    more: Sequence[Case] = (),
) -> float:
    """The largest relative difference of a plan to the whole network while the devices of any one
    of these ``sets`` are absent, for the network's cases and for ``more``. Raises ProofError as
    :func:`prove` does, and where a set leaves too few devices."""
    worst = 0.0
    for case, start in itertools.product((*network.cases(), *more), range(0, len(sets), _TOGETHER)):
        some = sets[start : start + _TOGETHER]
        for found in _Runner(parts, some).run(plan, [case.feeds] * len(some)):
            worst = max(worst, _difference(plan, found, case))
    return worst


class _Runner:
    """Runs plans on a few probes, each without the devices of its set of ``absent`` ones (none are
    named: nobody is); what plans have in common is run once, and each session that is made takes
    all probes. ``watch`` is told what each holder gives others, before it is packed."""

    def __init__(
        self,
        parts: Mapping[str, Part],
        absent: Sequence[Collection[str]] = (),
        watch: Callable[[Stage, str, Feeds], None] | None = None,
    ) -> None:
        self._parts = parts
        self._absent = absent
        self._watch = watch
        self._done: dict[_Path, list[Feeds]] = {}

    def run(self, plan: Plan, probes: Sequence[Mapping[str, Array]]) -> list[Feeds]:
        """The outputs of the last stage of ``plan`` for each probe."""
        at_hand = [_travelled(feeds, plan.codec, None, f"plan {plan.name!r}") for feeds in probes]
        path: _Path = ((plan.codec,),)
        for index, stage in enumerate(plan.stages):
            homes = {device: plan.home(index, device) for device in stage.parts}
            path = (*path, _signature(stage, homes))
            if path not in self._done:
                place = f"plan {plan.name!r}, stage {index}"
                self._done[path] = self._stage(place, stage, homes, at_hand)
            at_hand = self._done[path]
        return at_hand

    def _stage(
        self, place: str, stage: Stage, homes: Homes, at_hand: Sequence[Feeds]
    ) -> list[Feeds]:
        """The outputs of one stage as they arrive, those carried through it too."""
        given = [{name: feeds[name] for name in stage.inputs if name in feeds} for feeds in at_hand]
        there = [
            self._there(place, stage, absent) for absent in self._absent or [()] * len(at_hand)
        ]
        came: list[dict[str, Feeds]] = [{} for _ in at_hand]
        for device, part in stage.parts.items():
            mine = [number for number, names in enumerate(there) if device in names]
            fed = [_beside(stage, there[number], given[number]) for number in mine]
            for number, made in zip(mine, self._outputs(place, stage, part, fed), strict=True):
                if self._watch is not None:
                    self._watch(stage, device, given_of(made, homes[device]))
                came[number][device] = _travelled(made, stage.codec, homes[device], place)
        return [_joined(place, stage, runs) for runs in came]

    def _there(self, place: str, stage: Stage, absent: Collection[str]) -> Sequence[str]:
        """Who runs a stage."""
        left = [name for name in stage.parts if name not in absent]
        if not left or (stage.join is not None and not stage.join.enough(left)):
            raise ProofError(f"{place}: {', '.join(left) or 'nobody'} cannot run it alone")
        return left[:1] if stage.spread is Spread.ONE else left

    def _outputs(self, place: str, stage: Stage, part: str, given: Sequence[Feeds]) -> list[Feeds]:
        """What one holder of a stage makes."""
        outputs: list[Feeds] = []
        for feeds, made in zip(given, self._part(place, part, given), strict=True):
            all_of_it = {**feeds, **made}
            absent = sorted(set(stage.outputs) - all_of_it.keys())
            if absent:
                raise ProofError(
                    f"{place}: its part does not give {', '.join(absent)}; build it again"
                )
            outputs.append({name: all_of_it[name] for name in stage.outputs})
        return outputs

    def _part(self, place: str, name: str, given: Sequence[Feeds]) -> list[Feeds]:
        if not given:
            return []
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


def _travelled(tensors: Mapping[str, Array], codec: str, home: Home | None, place: str) -> Feeds:
    """Tensors as they are after they were packed with ``codec`` and unpacked, with what stays at
    ``home``."""
    try:
        return arrived(tensors, codec, home)
    except ShoalError as error:
        raise ProofError(f"{place}: the codec {codec!r} cannot carry this: {error}") from None


def _signature(stage: Stage, homes: Homes) -> tuple[object, ...]:
    """What decides the outputs of a stage, its inputs given."""
    parts: object = tuple(stage.parts.items())
    if stage.spread is Spread.ONE:
        parts = next(iter(stage.parts.values()))
    stays = frozenset(homes.values())
    return (parts, stage.inputs, stage.outputs, stage.codec, id(stage.join), stays)


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


def _joined(place: str, stage: Stage, runs: Mapping[str, Feeds]) -> Feeds:
    """What the holders of a stage gave, as the next one has it."""
    made = dict(next(iter(runs.values())))
    if stage.join is not None:
        name = stage.join.tensor.name
        try:
            made[name] = join({device: run[name] for device, run in runs.items()}, stage.join)
        except InputError as error:
            raise ProofError(f"{place}: {error}") from None
    return made


def _beside(stage: Stage, holders: Sequence[str], given: Feeds) -> Feeds:
    """What a holder is given, with who is away if its part reckons with that."""
    join = stage.join
    if join is None or not join.away:
        return given
    away = np.array([name not in holders for name in join.slices], np.float32)
    return {**given, join.away: away}

"""What tensors weigh on the wire: as a playbook states them, or as its parts make them here."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from shoal.codec.frame import pack
from shoal.codec.home import arrived
from shoal.codec.home import given as sent_of
from shoal.codec.join import join
from shoal.codec.weigh import weigh
from shoal.model.spec import TensorSpec
from shoal.plan.network import Feeds
from shoal.plan.plan import Plan, Playbook, Stage


class Made(NamedTuple):
    """The tensors ``names`` as ``part`` made them (as they are asked with where that is empty),
    without the last ``stays`` entries, which only their own device has."""

    part: str
    names: tuple[str, ...]
    stays: int = 0


class Crossing(NamedTuple):
    """A body as it travels: its bytes, and how long this machine packs and unpacks it."""

    size: int
    pack_ms: float = 0.0
    unpack_ms: float = 0.0


Crossings: TypeAlias = dict[tuple[Made, str], Crossing]
"""By body and codec."""


class Runnable(Protocol):
    """A part that can be run here."""

    @property
    def inputs(self) -> tuple[str, ...]: ...

    def session(self) -> Any: ...

    def run_on(self, session: Any, feeds: Feeds, /) -> Feeds: ...


class _Leg(NamedTuple):
    """What one device gives after a stage (None: what is asked), and all codecs that may pack it:
    what is kept goes on by other plans too."""

    made: Made
    codecs: frozenset[str]
    stage: Stage | None = None
    device: str = ""


def stated(playbook: Playbook) -> Crossings:
    """What the playbook alone tells: all that travels raw in tensors whose shapes it holds, those
    of the network and of joins."""
    joins = (stage.join for stage in _stages(playbook) if stage.join is not None)
    known = {spec.name: spec for spec in (*playbook.inputs, *playbook.outputs)}
    known |= {each.tensor.name: each.tensor for each in joins}
    return {
        (leg.made, "raw"): Crossing(sum(_stated_bytes(known[name], leg) for name in leg.made.names))
        for leg in _legs(playbook)
        if "raw" in leg.codecs and known.keys() >= set(leg.made.names)
    }


def missing(playbook: Playbook, crossings: Crossings) -> set[str]:
    """The names of tensors of which nothing says what they weigh as they are packed."""
    return {
        name
        for leg in _legs(playbook)
        for codec in leg.codecs
        if (leg.made, codec) not in crossings
        for name in leg.made.names
    }


def noise(playbook: Playbook) -> Feeds:
    """Inputs of one image that is none: every number is as likely as any other (from 0 to 1, or of
    8 bits)."""
    dice = np.random.default_rng(0)
    feeds = {}
    for spec in playbook.inputs:
        shape, kind = [1 if size is None else size for size in spec.shape], np.dtype(spec.dtype)
        drawn = dice.random(shape) if kind.kind == "f" else dice.integers(0, 128, shape)
        feeds[spec.name] = drawn.astype(kind)
    return feeds


def measured(playbook: Playbook, parts: Mapping[str, Runnable], feeds: Feeds) -> Crossings:
    """What travels when ``feeds`` are asked: every plan is run here, once."""
    legs: dict[tuple[Made, str], frozenset[str]] = {}
    for leg in _legs(playbook):
        legs[leg.made, leg.device] = legs.get((leg.made, leg.device), frozenset()) | leg.codecs
    found: Crossings = {}
    asked = Made("", tuple(feeds))
    _weigh(found, asked, feeds, legs[asked, ""])
    for plan in playbook.plans:
        at_hand: Feeds = dict(feeds)
        for number in range(len(plan.stages)):
            at_hand = _run(found, legs, plan, number, parts, at_hand)
    return found


def _stages(playbook: Playbook) -> Iterator[Stage]:
    return (stage for plan in playbook.plans for stage in plan.stages)


def _legs(playbook: Playbook) -> Iterator[_Leg]:
    codecs: dict[tuple[str, ...], set[str]] = {}
    asked = tuple(spec.name for spec in playbook.inputs)
    for plan in playbook.plans:
        codecs.setdefault(asked, set()).add(plan.codec)
        for stage in plan.stages:
            codecs.setdefault(stage.outputs, set()).add(stage.codec)
    yield _Leg(Made("", asked), frozenset(codecs[asked]))
    numbered = ((plan, k) for plan in playbook.plans for k in range(len(plan.stages)))
    for plan, number in numbered:
        stage = plan.stages[number]
        for device, part in stage.parts.items():
            made = Made(part, stage.outputs, plan.stays(number, device))
            yield _Leg(made, frozenset(codecs[stage.outputs]), stage, device)
            if stage.exit is not None:
                left = Made(part, (stage.exit.output,))
                yield _Leg(left, frozenset({stage.codec}), stage, device)


def _stated_bytes(spec: TensorSpec, leg: _Leg) -> int:
    """Bytes of a tensor for one image, or of the slice of it that is given."""
    shape = [1 if size is None else size for size in spec.shape]
    join = None if leg.stage is None else leg.stage.join
    if join is not None and join.tensor.name == spec.name:
        part = join.slices[leg.device]
        alone = {"channels": len(part.channels) - part.stays, "coded": join.block}
        shape[join.axis] = alone.get(join.op, shape[join.axis]) + part.stays - leg.made.stays
    return math.prod(shape) * np.dtype(spec.dtype).itemsize


def _run(
    found: Crossings,
    legs: Mapping[tuple[Made, str], frozenset[str]],
    plan: Plan,
    number: int,
    parts: Mapping[str, Runnable],
    at_hand: Feeds,
) -> Feeds:
    """What a stage gives to the next, after each holder's bodies were weighed."""
    stage = plan.stages[number]
    before = plan.stages[number - 1].join if number else None
    if before is not None and before.away:
        at_hand = {**at_hand, before.away: np.zeros(len(before.slices), np.float32)}
    outputs: dict[str, Feeds] = {}
    given: dict[str, Feeds] = {}
    for device, name in stage.parts.items():
        if name not in outputs:
            part = parts[name]
            made = part.run_on(part.session(), {key: at_hand[key] for key in part.inputs})
            outputs[name] = {**at_hand, **made}
        given[device] = {key: outputs[name][key] for key in stage.outputs}
        home = plan.home(number, device)
        leg = Made(name, stage.outputs, 0 if home is None else home.stays)
        _weigh(found, leg, sent_of(given[device], home), legs[leg, device])
        given[device] = arrived(given[device], stage.codec, home)
        if stage.exit is not None:
            left = {stage.exit.output: outputs[name][stage.exit.tensor]}
            _weigh(found, Made(name, tuple(left)), left, {stage.codec})
    together = dict(next(iter(given.values())))
    if stage.join is not None:
        tensor = stage.join.tensor.name
        slices = {device: tensors[tensor] for device, tensors in given.items()}
        together[tensor] = join(slices, stage.join)
    return together


def _weigh(found: Crossings, made: Made, tensors: Feeds, codecs: Collection[str]) -> None:
    for codec in codecs:
        if (made, codec) not in found:
            found[made, codec] = _crossing(tensors, codec)


def _crossing(tensors: Feeds, codec: str) -> Crossing:
    if codec == "raw":  # what that takes is in what each byte costs
        return Crossing(pack(tensors, codec).size)
    return Crossing(*weigh(tensors, codec))

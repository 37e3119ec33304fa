"""What the user should know of a playbook that was built, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.model.shards import Found
from shoal.plan.plan import Plan
from shoal.plan.size import readable
from shoal.strategies.images import ASKED
from shoal.strategies.shards.coded import Code
from shoal.strategies.shards.packing import loses
from shoal.strategies.shards.plans import Made
from shoal.strategies.shards.promise import Promise
from shoal.strategies.shards.record import because
from shoal.strategies.shards.repair import Repair
from shoal.strategies.shards.settle import Settled

SHOWN = 5
"""Kinds of nodes that are dealt nowhere are named up to so many."""
SLOW = 2.0
"""Of equal blocks, a device is named that takes so many times as long as the quickest."""


def _any(count: int) -> str:
    return "any device" if count == 1 else f"any {count} devices"


def say(
    found: Found, promise: Promise | None, settled: Settled, resort: Sequence[Plan]
) -> list[str]:
    """What is promised, what it stands on, what is not dealt, and what is left in the end, with the
    last ``resort``."""
    notes = []
    sets = settled.missing
    if not sets:
        notes.append(
            "nobody may be missing where layers are dealt: nothing is known of what is kept"
        )
    elif promise is None:
        notes.append(f"nothing is missing with {_any(len(sets[-1].devices))} lost")
    else:
        notes.append(
            f"with {_any(len(sets[-1].devices))} lost a plan keeps "
            f"{promise.stands.least(settled.worst)}"
        )
        if settled.mended:
            first = min(each.accuracy for each in settled.missing)
            notes.append(
                f"until it is known who is lost, in the requests under way, it is {first:.3f}"
            )
        if promise.counted < ASKED:
            notes.append(f"with {2 * ASKED} images or more, more could be promised")
    packed = say_packed(settled.made)
    return [*notes, *packed, *_not(found, "dealt"), *_in_the_end(settled.made.plan, resort)]


def say_packed(made: Made) -> list[str]:
    """With what slices are packed, what that saves and what it loses."""
    plan = made.plan
    codecs = sorted({stage.codec for stage in plan.stages} - {"raw"})
    if not codecs:
        return []
    crossing = plan.forecast.bytes_per_image
    kept = "answers are the same"
    if loses(plan):
        kept = (
            f"with nobody lost at least {plan.forecast.accuracy:.3f} of the accuracy is kept, and "
            "all of it with --codec raw"
        )
    return [
        f"slices are packed ({', '.join(codecs)}): {readable(crossing)} cross links for an image, "
        f"{readable(made.unpacked)} if they were not; {kept}"
    ]


def say_coded(code: Code, resort: Sequence[Plan]) -> list[str]:
    """The same of layers that are coded: that it is exact, how much it was off, who slows it."""
    plan, devices = code.made.plan, code.ground.devices
    sets = plan.forecast.missing
    lost = f"with any {len(sets[-1].devices)} lost" if sets else "with nobody lost"
    times = [
        code.ground.profile(name).range_ms(0, len(code.ground.network.nodes)) for name in devices
    ]
    notes = [
        f"answers are exact {lost}: the real parts, proved without each set of devices, were off "
        f"the whole network by {code.off:.1e} of its largest output at most"
    ]
    notes += [
        f"blocks are equal in size, and {name} takes {own / min(times):.1f} times as long as the "
        "quickest device: all wait for it; leave it out if the others suffice"
        for name, own in zip(devices, times, strict=True)
        if own > SLOW * min(times)
    ]
    packed = say_packed(code.made)
    return [*notes, *packed, *_not(code.found, "coded"), *_in_the_end(plan, resort)]


def _not(found: Found, done: str) -> list[str]:
    whys = because(found.whys)
    notes = [f"not {done}: {why}" for why in whys[:SHOWN]]
    if len(whys) > SHOWN:
        notes.append(f"{len(whys) - SHOWN} more kinds of nodes are not {done}: see --explain")
    return notes


def _in_the_end(plan: Plan, resort: Sequence[Plan]) -> list[str]:
    together_ms = plan.forecast.latency_ms
    notes = [
        f"one device alone answers in {each.forecast.latency_ms:.1f} ms, all together in "
        f"{together_ms:.1f} ms: dealing does not pay here"
        for each in resort
        if each.forecast.latency_ms <= together_ms
    ]
    if not resort:
        notes.append("no device has the memory for the whole network besides: no last resort")
    return notes


def say_repairs(repairs: Sequence[Repair], after_s: float) -> list[str]:
    """What is done once a device is lost for good."""
    able = [each for each in repairs if each.made is not None]
    notes = []
    if able:
        most = max(sum(each.weights.values()) for each in able)
        notes.append(
            f"a device that is away for {after_s:g} s is lost for good: what only it held "
            f"({readable(most)} at the most) is brought to the others, and nothing is missing then"
        )
    if turns := [each.lost for each in able if each.instead]:
        notes.append(
            f"when {' or '.join(turns)} is lost for good, there is no memory for that beside what "
            "the others hold: this makes room, and nothing is answered until they have loaded it"
        )
    if unable := [each.lost for each in repairs if each.made is None]:
        notes.append(
            f"when {' or '.join(unable)} is lost for good nothing is brought to the others: they "
            "have no room for what it held; raise a memory limit"
        )
    return notes

"""What the user should know of a playbook that was built, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.model.shards import Found
from shoal.plan.plan import Plan
from shoal.plan.size import readable
from shoal.strategies.images import ASKED
from shoal.strategies.shards.promise import Promise
from shoal.strategies.shards.repair import Repair
from shoal.strategies.shards.settle import Settled

SHOWN = 5
"""Nodes that are dealt nowhere are named up to so many."""


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
        notes.append(f"nothing is missing while up to {len(sets[-1].devices)} are lost")
    else:
        notes.append(
            f"with up to {len(sets[-1].devices)} lost at least {settled.worst:.3f} of "
            f"{'the right answers' if promise.held.labels is not None else 'the answers'} is kept, "
            f"with {promise.confidence:.3g} confidence: measured on {len(promise.held)} images"
        )
        if settled.mended:
            first = min(each.accuracy for each in settled.missing)
            notes.append(
                f"until it is known who is lost, in the requests under way, it is {first:.3f}"
            )
        if len(promise.held) < ASKED:
            notes.append(f"with {2 * ASKED} images or more, more could be promised")
    notes += [f"node {why.node} ({why.op}) is not dealt: {why.words}" for why in found.whys[:SHOWN]]
    if len(found.whys) > SHOWN:
        notes.append(f"{len(found.whys) - SHOWN} more nodes are not dealt: see --explain")
    together_ms = settled.made.plan.forecast.latency_ms
    notes += [
        f"one device alone answers in {plan.forecast.latency_ms:.1f} ms, all together in "
        f"{together_ms:.1f} ms: dealing does not pay here"
        for plan in resort
        if plan.forecast.latency_ms <= together_ms
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

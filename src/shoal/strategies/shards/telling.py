"""What the user should know of a playbook that was built, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.model.shards import Found
from shoal.plan.plan import Plan
from shoal.strategies.images import ASKED
from shoal.strategies.shards.promise import Promise
from shoal.strategies.shards.record import because, counted
from shoal.strategies.shards.settle import Settled

SHOWN = 5
"""Kinds of nodes that are dealt nowhere are named up to so many."""


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
            f"with {_any(len(sets[-1].devices))} lost, at least {settled.worst:.3f} of the "
            f"accuracy is kept, with {promise.confidence:.3g} confidence: counted by the "
            f"{counted(promise.counted, len(promise.held))}"
        )
        if settled.mended:
            first = min(each.accuracy for each in settled.missing)
            notes.append(
                f"until it is known who is lost, in the requests under way, it is {first:.3f}"
            )
        if len(promise.held) < ASKED:
            notes.append(f"with {2 * ASKED} images or more, more could be promised")
    whys = because(found.whys)
    notes += [f"not dealt: {why}" for why in whys[:SHOWN]]
    if len(whys) > SHOWN:
        notes.append(f"{len(whys) - SHOWN} more kinds of nodes are not dealt: see --explain")
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

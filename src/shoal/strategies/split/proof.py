"""Proof of rounded plans: they must answer the calibration's images as they did then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.codec.frame import pack, unpack
from shoal.errors import ProofError
from shoal.plan.network import Array, Feeds, Network, Part
from shoal.plan.plan import Plan, Playbook
from shoal.plan.statistics import divergence, probabilities
from shoal.strategies.split.calibration import Entry, Outcome

APART = 2e-3
"""Bits by which a divergence may be another than at calibration, and share by which the first two
classes may be apart and change places: the engine fuses differently where a network is cut
elsewhere, and a value that lies between two steps may then go the other way."""

_KEPT = 4


def prove_calibrated(
    playbook: Playbook,
    parts: Mapping[str, Part],
    network: Network,
    entries: Mapping[str, Entry],
    images: Sequence[Feeds],
) -> None:
    """Run each plan in ``entries`` (by name) on the first images of its calibration, as it is
    written in ``playbook``; ProofError when it does not do what was found then."""
    sessions: dict[str, Any] = {}

    def run(name: str, feeds: Feeds) -> Feeds:
        if name not in sessions:
            if len(sessions) >= _KEPT:
                sessions.clear()  # plans with the same cut come together
            sessions[name] = parts[name].session()
        return parts[name].run_on(sessions[name], feeds)

    output = network.outputs[0].name
    (whole,) = network.split((), prove=False)
    session = whole.session()
    expected = [whole.run_on(session, feeds)[output] for feeds in images]
    plans = [plan for plan in playbook.plans if plan.name in entries]
    for plan in sorted(plans, key=lambda plan: entries[plan.name].at):
        for index, outcome in enumerate(entries[plan.name].first[: len(images)]):
            at_hand = unpack(pack(images[index], plan.codec))
            for stage in plan.stages:
                made = run(next(iter(stage.parts.values())), at_hand)
                at_hand = unpack(pack(made, stage.codec))
            _check(plan, index, expected[index], at_hand[output], outcome)


def _check(plan: Plan, index: int, expected: Array, found: Array, outcome: Outcome) -> None:
    scores = found.reshape(1, -1)
    apart = float(divergence(expected.reshape(1, -1), scores)[0])
    shares = probabilities(scores)[0]
    top1 = int(shares.argmax())
    named = shares[outcome.top1] if outcome.top1 < shares.size else 0.0
    if abs(apart - outcome.divergence) <= APART and shares[top1] - named <= APART:
        return
    raise ProofError(
        f"plan {plan.name!r} answers image {index} of its calibration with class {top1} and "
        f"{apart:.4f} bits from the whole network; it was class {outcome.top1} and "
        f"{outcome.divergence:.4f} bits then: its accuracy is not what was promised, calibrate "
        "again"
    )

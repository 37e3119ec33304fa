"""Proof of rounded plans: they must answer the calibration's images as they did then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.codec.frame import pack, unpack
from shoal.errors import ProofError
from shoal.plan.network import Feeds, Network, Part
from shoal.plan.plan import Plan, Playbook
from shoal.strategies.split.calibration import Entry, Outcome
from shoal.task import Agreement, Task

APART = 2e-3
"""How far from the whole network's an answer may be otherwise than at calibration: the engine fuses
differently where a network is cut elsewhere, and a value that lies between two steps may then go
the other way."""
EDGE = 4
"""Where what is compared is counted, one of so many images may be off by more: a box that lay at an
edge comes or goes."""

_KEPT = 4


def prove_calibrated(
    playbook: Playbook,
    parts: Mapping[str, Part],
    network: Network,
    entries: Mapping[str, Entry],
    images: Sequence[Feeds],
    task: Task,
) -> None:
    """Run each plan in ``entries`` (by name) on ``images``, those of its calibration whose outcomes
    it has, as it is written in ``playbook``; ProofError when it does not do what was found
    then."""
    sessions: dict[str, Any] = {}

    def run(name: str, feeds: Feeds) -> Feeds:
        if name not in sessions:
            if len(sessions) >= _KEPT:
                sessions.clear()  # plans with the same cut come together
            sessions[name] = parts[name].session()
        return parts[name].run_on(sessions[name], feeds)

    (whole,) = network.split((), prove=False)
    session = whole.session()
    judges = [task.judge(whole.run_on(session, feeds)) for feeds in images]
    plans = [plan for plan in playbook.plans if plan.name in entries]
    for plan in sorted(plans, key=lambda plan: entries[plan.name].at):
        outcomes = entries[plan.name].first
        found = []
        for feeds, judge in zip(images, judges, strict=True):
            at_hand = unpack(pack(feeds, plan.codec))
            for stage in plan.stages:
                made = run(next(iter(stage.parts.values())), at_hand)
                at_hand = unpack(pack(made, stage.codec))
            found.append(judge.agreement(at_hand))
        _check(plan, found, outcomes, task.smooth)


def _check(plan: Plan, found: Sequence[Agreement], then: Sequence[Outcome], smooth: bool) -> None:
    off = [
        (abs(now.apart - was.apart), index)
        for index, (now, was) in enumerate(zip(found, then, strict=True))
        if (now.score is None) != (was.score is None) or abs(now.apart - was.apart) > APART
    ]
    if len(off) <= (0 if smooth else len(found) // EDGE):
        return
    _, index = max(off)
    raise ProofError(
        f"plan {plan.name!r} answers image {index} of its calibration {found[index].apart:.4f} "
        f"apart from the whole network (0: equal, 1: nothing alike); it was "
        f"{then[index].apart:.4f} then: its accuracy is not what was promised, calibrate again"
    )

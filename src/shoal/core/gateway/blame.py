"""What the loss of a device or a refusal means for an attempt: functions of what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from shoal.core.gateway.request import KeptSource, Request
from shoal.core.messages import Refused, Why
from shoal.core.shared.routes import devices_at, enough
from shoal.plan.plan import Spread


def stuck_at(request: Request) -> int | None:
    """The first stage ahead that cannot be run any more in this attempt, without the devices that
    are out of it; None when all can."""
    plan = request.plan
    if plan is None or not request.out:
        return None
    first = max(request.start, request.reached)
    unsent = request.source is not None and request.source.holder in request.out
    if unsent and request.reached <= request.start:
        return request.start
    last = len(plan.stages) - 1
    for stage in range(first, last + 1):
        names = devices_at(request.route, stage)
        able = [name for name in names if name not in request.out]
        if stage == last and request.gather is not None:
            able = list({*able, *request.gather.bodies})
        if names and not enough(plan, stage, able):
            return stage
    return None


def doubted(request: Request) -> list[str]:
    """The devices that have not done their part yet, as far as is known."""
    names: dict[str, None] = {}
    if request.source is not None:
        names[request.source.holder] = None
    for stage in range(request.reached, len(request.route)):
        names |= dict.fromkeys(request.route[stage])
    return list(names)


def needed(request: Request) -> list[str]:
    """Of :func:`doubted` those without each of whom the attempt comes to no end; all, if it could
    do without any one of them."""
    plan, names = request.plan, doubted(request)
    if plan is None:
        return names
    alone = {request.source.holder} if request.source is not None else set()
    for stage in range(request.reached, len(request.route)):
        held = request.route[stage]
        alone.update(
            name for name in held if not enough(plan, stage, [n for n in held if n != name])
        )
    return [name for name in names if name in alone] or names


def givers(request: Request) -> tuple[str, ...]:
    """Who last passed the attempt on, on a free route: it may not have arrived."""
    return devices_at(request.route, request.reached - 1) if request.reached > request.start else ()


def source_before(request: Request, stage: int, able: Callable[[str], bool]) -> KeptSource | None:
    """The nearest tensors before ``stage`` that a device of this attempt kept; None: the input.

    Only what one device made whole is kept, and only devices that are ``able`` can pass it on.
    """
    plan = request.plan
    if plan is None:
        return None
    for before in range(min(stage, len(plan.stages)) - 1, request.start - 1, -1):
        names = devices_at(request.route, before)
        if plan.stages[before].spread is Spread.ONE and names and able(names[0]):
            return KeptSource(names[0], plan.stages[before].outputs)
    return request.source if request.source and able(request.source.holder) else None


class Blame(NamedTuple):
    """What to make of a refusal: ``out`` will not do their part in this attempt, ``shun`` are to
    be done without next time if possible, ``over`` says that the attempt is over in any case."""

    out: tuple[str, ...]
    shun: tuple[str, ...]
    over: bool


def blame(request: Request, sender: str, refused: Refused) -> Blame:
    """Who is to be blamed for a refusal of the latest attempt, under way or given up."""
    if refused.why is Why.NOT_KEPT:
        return Blame((), (), over=True)
    if refused.why is Why.TOO_LARGE:  # for its part of this stage: it may well do another
        return Blame((sender,), (), over=False)
    if refused.why is Why.TOO_FEW_SLICES:
        asked = devices_at(request.route, refused.stage - 1)
        late = tuple(name for name in refused.absent if name in asked)
        return Blame((sender,), late, over=False)
    could_not_give = refused.why is Why.PEER_ABSENT or bool(refused.absent)
    if not could_not_give:
        return Blame((sender,), (sender,), over=False)
    if _one_of_many(request, refused):
        return Blame((sender,), refused.absent, over=False)
    # Who cannot see the next device may be the one that is out of touch. A full link is its own.
    shun = refused.absent if refused.why is Why.LINK_FULL else (*refused.absent, sender)
    return Blame(refused.absent, shun, over=not refused.absent)


def _one_of_many(request: Request, refused: Refused) -> bool:
    """Whether others run the stage before the one that was refused as well."""
    tried, before = request.tries.get(request.attempt), refused.stage - 1
    plan = tried.plan if tried is not None else None
    return (
        plan is not None
        and request.start <= before < len(plan.stages)
        and plan.stages[before].spread is Spread.ALL
        and len(devices_at(request.route, before)) > 1
    )

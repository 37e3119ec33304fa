"""What the policy ``split`` decides: for each request the plan that is best on what is known of
device, link and server now, without running after every wobble of them.

* A plan in use is left when another is better by more than ``GAIN`` for ``PATIENCE`` requests in
  a row and the last change is ``COOL_S`` ago; at once when it no longer meets a hard limit that
  another meets. Another is only turned to if it meets the limits with ``GAIN`` to spare, so that
  one that wavers about a limit is not left and taken again.
* A choice that crosses the link holds for ``HOLD_S`` if no other was better when it was made, while
  the link carries about what it did and all devices are there: to look at all plans costs a weak
  device a good part of what an image does. With several servers, or a limit on what changes from
  request to request, each one is looked at.
* A link that nothing tells of is probed beside a request (:mod:`shoal.strategies.split.probes`).
* A request that was stopped on its way goes on from the tensors at hand: on another server, or on
  the device alone.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from shoal.core.policy import Choice, View
from shoal.plan.plan import Playbook
from shoal.strategies.split.book import Book, Scene, read_book
from shoal.strategies.split.choice import (
    GAIN,
    STEADY,
    Allowed,
    Wish,
    allowed,
    best,
    gains,
    keeps,
    within,
)
from shoal.strategies.split.estimates import facts
from shoal.strategies.split.probes import Probes, probe
from shoal.strategies.split.table import Costs, costs

PATIENCE = 3
COOL_S = 0.2
HOLD_S, STIR = 0.25, 1.25
"""How long a choice holds, and how much a link may carry more or less meanwhile."""
USES = 4
"""Numbers of images in a request for which it is remembered what is in use."""


class Held(msgspec.Struct, frozen=True):
    """A choice that holds, since when, and what the link to its server carried then."""

    choice: Choice
    since_s: float
    bytes_per_s: float


class Use(msgspec.Struct, frozen=True):
    """What is remembered of requests of so many images: the plan in use, when it was turned to, how
    many requests in a row another was better, and the choice that holds, if one does."""

    images: int
    plan: str = ""
    turned_s: float = -math.inf
    better: int = 0
    held: Held | None = None


class State(msgspec.Struct, frozen=True):
    """What is remembered between two requests: the playbook and what was read from it, what is in
    use, for a few numbers of images (what suits one need not suit several; the last first), the
    last probe of a link, and the limits that are relaxed now."""

    playbook: Playbook
    book: Any
    uses: tuple[Use, ...] = (Use(1),)
    probes: Probes = Probes()
    relaxed: tuple[str, ...] = ()

    @property
    def plan(self) -> str:
        """The plan in use for requests as the last one."""
        return self.uses[0].plan

    def use(self, images: int) -> Use:
        """What is in use for so many images."""
        return next((use for use in self.uses if use.images == images), Use(images))

    def using(self, use: Use) -> tuple[Use, ...]:
        """All that is in use, with ``use`` as the last."""
        others = [other for other in self.uses if other.images != use.images]
        return (use, *others[: USES - 1])


def decide(
    playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
) -> tuple[Choice | None, Any]:
    """The plan for a request whose tensors ``at`` are at hand, and who runs it; None when there is
    none now. What is to be remembered."""
    state = _remembered(playbook, memory)
    book: Book = state.book
    names, last = frozenset(at), state.uses[0]
    begins = names == book.inputs
    if begins and last.held and last.images == view.images and _holds(book, view, last.held):
        return last.held.choice, memory
    scene = book.scenes.get(names)
    if scene is None:
        return None, memory
    settings = book.settings
    found = costs(scene.table, facts(view, settings.device, settings.servers, book.links))
    meets = allowed(found, scene.wish)
    if not meets.plans.any():
        return None, memory
    if not begins:
        row = best(found, scene.wish, meets.plans)
        return _choice(book, scene, row, found, meets.relaxed), memory
    row, use = _turn(scene, found, meets, view.now, state.use(view.images))
    choice = _choice(book, scene, row, found, meets.relaxed)
    may_hold = row == scene.rows[use.plan] and not use.better and _steady(book, scene, row)
    held = Held(choice, view.now, _carries(book, view)) if may_hold else None
    use = msgspec.structs.replace(use, held=held)
    probed, probes = probe(view, settings.servers, state.probes)
    if probed:
        choice = msgspec.structs.replace(choice, probe=probed)
    return choice, State(playbook, book, state.using(use), probes, meets.relaxed)


def _remembered(playbook: Playbook, memory: Any) -> State:
    """The state, of this very playbook: another one under its id lacks what is not loaded now."""
    if not isinstance(memory, State):
        return State(playbook, read_book(playbook))
    if memory.playbook is playbook:
        return memory
    uses = tuple(msgspec.structs.replace(use, held=None) for use in memory.uses)
    return State(playbook, read_book(playbook), uses, memory.probes, memory.relaxed)


def _steady(book: Book, scene: Scene, row: int) -> bool:
    """Whether a choice for the one server could hold: no limit is on what changes from request to
    request."""
    limited = any(name not in STEADY for name, _ in scene.wish.limits)
    return bool(scene.table.crosses[row]) and len(book.settings.servers) == 1 and not limited


def _holds(book: Book, view: View, held: Held) -> bool:
    """Whether nothing speaks against the choice that was made a moment ago."""
    if view.now - held.since_s >= HOLD_S:
        return False
    now, then = _carries(book, view), held.bytes_per_s
    if not then <= now * STIR or not now <= then * STIR:
        return False
    return all(view.usable(name) for names in held.choice.route for name in names)


def _carries(book: Book, view: View) -> float:
    """What the link to the one server is measured to carry (bytes/s, 0: it was not)."""
    link = view.links.get(book.settings.servers[0])
    return link.bytes_per_s if link is not None else 0.0


def _turn(scene: Scene, found: Costs, meets: Allowed, now_s: float, use: Use) -> tuple[int, Use]:
    """The row for a new request, and what is in use then: the plan that was, or another that is
    turned to."""
    first = best(found, scene.wish, meets.plans)
    current = scene.rows.get(use.plan)
    if current is not None and not found.usable[current]:
        # For this request, or for as long as a device is gone: the plan in use stays in mind.
        return first, msgspec.structs.replace(use, better=0)
    if current is None or not keeps(found, meets, current, GAIN):
        to = first
    else:
        rival = None if first == current else _rival(found, scene.wish, meets, current)
        better = 0 if rival is None else use.better + 1
        if rival is None or better < PATIENCE or now_s - use.turned_s < COOL_S:
            return current, msgspec.structs.replace(use, better=better)
        to = rival
    plan = scene.table.names[to]
    return to, msgspec.structs.replace(use, plan=plan, turned_s=now_s, better=0)


def _rival(found: Costs, wish: Wish, meets: Allowed, current: int) -> int | None:
    """The plan that is worth turning to from ``current``, if there is one."""
    able = within(found, meets, GAIN)
    if not able.any():
        return None
    rival = best(found, wish, able)
    return rival if gains(found, wish, rival, current, GAIN) else None


def _choice(book: Book, scene: Scene, row: int, found: Costs, relaxed: tuple[str, ...]) -> Choice:
    """The choice of a row: the device runs what is its, the best server the rest."""
    plan, start = scene.plans[row], scene.start[row]
    settings = book.settings
    server = settings.servers[int(found.server[row])] if settings.servers else ""
    route: list[tuple[str, ...]] = [()] * start
    route += [
        (settings.device if settings.device in stage.parts else server,)
        for stage in plan.stages[start:]
    ]
    return Choice(plan.name, tuple(route), start, relaxed)

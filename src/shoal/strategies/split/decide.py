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


class Use(msgspec.Struct, frozen=True):
    """What is remembered of requests of so many images: the plan in use, when it was turned to, how
    many requests in a row another was better. The choice that holds, if one does, since when, and
    what the link to its server carried then."""

    images: int
    plan: str = ""
    turned_s: float = -math.inf
    better: int = 0
    held: Choice | None = None
    held_s: float = -math.inf
    held_bytes_per_s: float = 0.0


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
    names = frozenset(at)
    use = state.uses[0]
    if names == book.inputs and use.images == view.images and _holds(book, view, use):
        return use.held, memory
    scene = book.scenes.get(names)
    if scene is None:
        return None, memory
    settings = book.settings
    known = facts(view, settings.device, settings.servers, book.links)
    found = costs(scene.table, known)
    meets = allowed(found, scene.wish)
    if not meets.plans.any():
        return None, memory
    if names != book.inputs:
        row = best(found, scene.wish, meets.plans)
        return _choice(book, scene, row, found, meets.relaxed), memory
    row, use = _decide(scene, found, meets, view, state.use(view.images))
    choice = _choice(book, scene, row, found, meets.relaxed)
    use = _hold(book, scene, row, choice, view, use)
    probed, probes = probe(view, settings.servers, state.probes)
    if probed:
        choice = msgspec.structs.replace(choice, probe=probed)
    return choice, State(playbook, book, state.using(use), probes, meets.relaxed)


def _hold(book: Book, scene: Scene, row: int, choice: Choice, view: View, use: Use) -> Use:
    """What is in use, with the choice, if it may hold."""
    servers = book.settings.servers
    in_use = scene.table.names[row] == use.plan and bool(scene.table.bytes[row] > 0)
    limited = any(name not in STEADY for name, _ in scene.wish.limits)
    if not in_use or use.better or limited or len(servers) > 1:
        return use if use.held is None else msgspec.structs.replace(use, held=None)
    link = view.links.get(servers[0])
    carries = link.bytes_per_s if link is not None else 0.0
    return msgspec.structs.replace(use, held=choice, held_s=view.now, held_bytes_per_s=carries)


def _holds(book: Book, view: View, use: Use) -> bool:
    """Whether nothing speaks against the choice that was made a moment ago."""
    if use.held is None or view.now - use.held_s >= HOLD_S:
        return False
    link = view.links.get(book.settings.servers[0])
    carries, before = link.bytes_per_s if link is not None else 0.0, use.held_bytes_per_s
    if not before <= carries * STIR or not carries <= before * STIR:
        return False
    return all(view.usable(name) for names in use.held.route for name in names)


def _remembered(playbook: Playbook, memory: Any) -> State:
    """The state, of this very playbook: another one under its id lacks what is not loaded now."""
    if not isinstance(memory, State):
        return State(playbook, read_book(playbook))
    if memory.playbook is playbook:
        return memory
    uses = tuple(msgspec.structs.replace(use, held=None) for use in memory.uses)
    return State(playbook, read_book(playbook), uses, memory.probes, memory.relaxed)


def _decide(scene: Scene, found: Costs, meets: Allowed, view: View, use: Use) -> tuple[int, Use]:
    """The row for a new request, and what is in use then."""
    wish, now = scene.wish, view.now
    current = scene.rows.get(use.plan)
    if current is None:
        return _turn(scene, best(found, wish, meets.plans), now, use)
    if not found.usable[current]:
        # For this request, or for as long as a device is gone: the plan in use stays in mind.
        return best(found, wish, meets.plans), _with(use, 0)
    if not keeps(found, meets, current, GAIN):
        return _turn(scene, best(found, wish, meets.plans), now, use)
    rival = _rival(found, wish, meets, current)
    better = 0 if rival is None else use.better + 1
    if rival is not None and better >= PATIENCE and now - use.turned_s >= COOL_S:
        return _turn(scene, rival, now, use)
    return current, _with(use, better)


def _turn(scene: Scene, row: int, now: float, use: Use) -> tuple[int, Use]:
    """The row, and what is in use: that."""
    name = scene.table.names[row]
    return row, msgspec.structs.replace(use, plan=name, turned_s=now, better=0)


def _with(use: Use, better: int) -> Use:
    return use if use.better == better else msgspec.structs.replace(use, better=better)


def _rival(found: Costs, wish: Wish, meets: Allowed, current: int) -> int | None:
    """The plan to turn to from ``current``, if it is worth it."""
    if best(found, wish, meets.plans) == current:
        return None
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

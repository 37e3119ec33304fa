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
* Now and then a request tries what the link carries (:mod:`shoal.strategies.split.trials`).
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
from shoal.strategies.split.choice import STEADY, Allowed, Wish, allowed, best, gains, keeps, within
from shoal.strategies.split.estimates import facts
from shoal.strategies.split.table import Costs, Facts, costs
from shoal.strategies.split.trials import Trials, trial

GAIN = 0.05
PATIENCE = 3
COOL_S = 0.2
HOLD_S, STIR = 0.25, 1.25
"""How long a choice holds, and how much a link may carry more or less meanwhile."""


class State(msgspec.Struct, frozen=True):
    """What is remembered between two requests: the playbook and what was read from it, the plan
    in use, when it was turned to, how many requests in a row another was better, the trials of the
    link, the limits that are relaxed now, and how many images the last request had. The choice that
    holds, if one does, since when, and what the link to its server carried then."""

    playbook: Playbook
    book: Any
    plan: str = ""
    turned_s: float = -math.inf
    better: int = 0
    trials: Trials = Trials()
    relaxed: tuple[str, ...] = ()
    images: int = 1
    held: Choice | None = None
    held_s: float = -math.inf
    held_bytes_per_s: float = 0.0


def decide(
    playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
) -> tuple[Choice | None, Any]:
    """The plan for a request whose tensors ``at`` are at hand, and who runs it; None when there is
    none now. What is to be remembered."""
    state = _remembered(playbook, memory)
    book: Book = state.book
    names = frozenset(at)
    if names == book.inputs and _holds(book, view, state):
        return state.held, memory
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
    row, state = _decide(book, scene, known, found, meets, view, state)
    choice = _choice(book, scene, row, found, state.relaxed)
    return choice, _hold(book, scene, row, choice, view, state)


def _hold(book: Book, scene: Scene, row: int, choice: Choice, view: View, state: State) -> State:
    """The state with the choice, if it may hold."""
    servers = book.settings.servers
    in_use = scene.table.names[row] == state.plan and bool(scene.table.bytes[row] > 0)
    limited = any(name not in STEADY for name, _ in scene.wish.limits)
    if not in_use or state.better or limited or len(servers) > 1:
        return state if state.held is None else msgspec.structs.replace(state, held=None)
    link = view.links.get(servers[0])
    carries = link.bytes_per_s if link is not None else 0.0
    return msgspec.structs.replace(state, held=choice, held_s=view.now, held_bytes_per_s=carries)


def _holds(book: Book, view: View, state: State) -> bool:
    """Whether nothing speaks against the choice that was made a moment ago."""
    if state.held is None or view.now - state.held_s >= HOLD_S or view.images != state.images:
        return False
    link = view.links.get(book.settings.servers[0])
    carries, before = link.bytes_per_s if link is not None else 0.0, state.held_bytes_per_s
    if not before <= carries * STIR or not carries <= before * STIR:
        return False
    return all(view.usable(name) for names in state.held.route for name in names)


def _remembered(playbook: Playbook, memory: Any) -> State:
    """The state, of this very playbook: another one under its id lacks what is not loaded now."""
    if not isinstance(memory, State):
        return State(playbook, read_book(playbook))
    if memory.playbook is playbook:
        return memory
    return msgspec.structs.replace(memory, playbook=playbook, book=read_book(playbook), held=None)


def _decide(
    book: Book, scene: Scene, known: Facts, found: Costs, meets: Allowed, view: View, state: State
) -> tuple[int, State]:
    """The row for a new request, and what is to be remembered."""
    wish, now = scene.wish, view.now
    # What suits one image need not suit several.
    current = scene.rows.get(state.plan) if view.images == state.images else None
    better = 0
    if current is None:
        row = best(found, wish, meets.plans)
        state = msgspec.structs.replace(state, plan=scene.table.names[row], turned_s=now)
    elif not found.usable[current]:
        # For this request, or for as long as a device is gone: the plan in use stays in mind.
        row = best(found, wish, meets.plans)
    elif not keeps(found, meets, current, GAIN):
        row = best(found, wish, meets.plans)
        state = msgspec.structs.replace(state, plan=scene.table.names[row], turned_s=now)
    else:
        row = current
        rival = _rival(found, wish, meets, current)
        if rival is not None:
            better = state.better + 1
            if better >= PATIENCE and now - state.turned_s >= COOL_S:
                row, better = rival, 0
                name = scene.table.names[row]
                state = msgspec.structs.replace(state, plan=name, turned_s=now)
    row, trials = trial(book, scene, known, found, meets.plans, view, row, state.trials)
    crosses = bool(scene.table.bytes[row] > 0)
    return row, msgspec.structs.replace(
        state,
        better=better,
        trials=trials.after(crosses, now),
        relaxed=meets.relaxed,
        images=view.images,
    )


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

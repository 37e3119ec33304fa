"""What went into a node and what came out of it, step by step, without the tensors.

It is kept always, so it costs next to nothing: nothing is encoded or copied but the few structs
that hold tensors, which are made again without; and nothing in it is looked at by the garbage
collector (``gc=False`` here, and in events, actions and messages), which would go through all of it
again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from shoal.core.actions import Deliver, Given, NodeAction, Run, Send
from shoal.core.events import (
    Adopt,
    Arrived,
    LinkMeasured,
    NodeEvent,
    Ran,
    Submitted,
    Tick,
    Unreachable,
    Unsent,
)
from shoal.core.messages import Busy, Install
from shoal.plan.plan import Playbook, PolicySpec

MAX_STEPS = 4096
"""Steps that a node remembers: at least a thousand requests."""

replace = msgspec.structs.replace
A = TypeVar("A", bound=NodeAction)


class Remark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that was decided about a request and shows in no action, in words."""

    number: int
    text: str


class Step(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """What a node did with an event at the time ``at`` (seconds, as its driver counts them).

    ``actions`` is what it wanted done; or it raised, and ``error`` says what. ``own`` are messages
    to itself, which it took at once. ``digests`` are those that its gateway asked for meanwhile, in
    order. Bodies are None.
    """

    at: float
    event: NodeEvent
    actions: tuple[NodeAction, ...]
    own: tuple[Send, ...] = ()
    digests: tuple[tuple[str, ...], ...] = ()
    error: str = ""
    remarks: tuple[Remark, ...] = ()


class Log:
    """The latest steps of the node ``name``. ``tap`` (None: nobody) is given every step, whole;
    what is remembered here leaves out steps that tell nothing, and what playbooks hold."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tap: Callable[[Step], None] | None = None
        self._steps: deque[Step] = deque(maxlen=MAX_STEPS)
        self._remarks: list[Remark] = []
        self._digests: list[tuple[str, ...]] = []

    @property
    def steps(self) -> list[Step]:
        """Those that are remembered, oldest first (a copy; any thread may ask for it)."""
        return list(self._steps)

    def remark(self, number: int, text: str) -> None:
        """Something was decided about a request in this step."""
        self._remarks.append(Remark(number, text))

    def digested(self, digests: tuple[str, ...]) -> tuple[str, ...]:
        """Digests were asked for in this step; they."""
        self._digests.append(digests)
        return digests

    def note(
        self,
        at: float,
        event: NodeEvent,
        actions: Sequence[NodeAction],
        own: Sequence[Send] = (),
        error: str = "",
    ) -> None:
        """A step is over."""
        tells = bool(actions or own or error or self._remarks) or not _is_quiet(event)
        if self.tap is None and not tells:
            self._digests.clear()
            return
        step = Step(
            at,
            bare_event(event),
            tuple([bare(action) for action in actions]),
            tuple([bare(send) for send in own]) if own else (),
            tuple(self._digests) if self._digests else (),
            error,
            tuple(self._remarks) if self._remarks else (),
        )
        self._remarks.clear()
        self._digests.clear()
        if self.tap is not None:
            self.tap(step)
        if tells:
            self._steps.append(_light(step))


_QUIET = (LinkMeasured, Tick, Unreachable)


def _is_quiet(event: NodeEvent) -> bool:
    """Whether an event from which nothing follows tells nothing: there are many of these."""
    if isinstance(event, Arrived):
        return isinstance(event.message, Busy)
    return isinstance(event, _QUIET)


def bare_event(event: NodeEvent) -> NodeEvent:
    """An event without bodies."""
    if isinstance(event, Arrived | Submitted):
        return event if event.body is None else replace(event, body=None)
    if isinstance(event, Ran):
        outcomes = [replace(outcome, body=None, exit_body=None) for outcome in event.outcomes]
        return replace(event, outcomes=tuple(outcomes))
    return event


def bare(action: A) -> A:
    """An action without bodies."""
    if isinstance(action, Send):
        return action if action.body is None else replace(action, body=None)
    if isinstance(action, Run):
        return replace(action, given=tuple([_nothing(given) for given in action.given]))
    if isinstance(action, Deliver):
        return replace(action, given=_nothing(action.given))
    return action


def _nothing(given: Given) -> Given:
    return Given(dict.fromkeys(given.bodies), given.join)


def _light(step: Step) -> Step:
    """A step without what its playbooks hold, which may be much."""
    event, actions, own = step.event, step.actions, step.own
    if isinstance(event, Adopt):
        event = Adopt(_named(event.playbook))
    elif isinstance(event, Arrived | Unsent) and isinstance(event.message, Install):
        event = replace(event, message=_named_only(event.message))
    if any(map(_installs, actions)):
        actions = tuple(map(_light_action, actions))
    if any(map(_installs, own)):
        own = tuple(map(_light_action, own))
    if event is step.event and actions is step.actions and own is step.own:
        return step
    return replace(step, event=event, actions=actions, own=own)


def _installs(action: NodeAction) -> bool:
    return isinstance(action, Send) and isinstance(action.message, Install)


def _light_action(action: A) -> A:
    if isinstance(action, Send) and isinstance(action.message, Install):
        return replace(action, message=_named_only(action.message))
    return action


def _named_only(install: Install) -> Install:
    return replace(install, playbook=_named(install.playbook))


def _named(playbook: Playbook) -> Playbook:
    return replace(playbook, plans=(), parts={}, policy=PolicySpec(playbook.policy.name))

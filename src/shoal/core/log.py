"""What went into a node and what came out of it, step by step, without the tensors.

It is kept always, so it costs next to nothing: nothing is encoded or copied but the few structs
that hold tensors, which are made again without; and nothing in it is looked at by the garbage
collector (``gc=False`` here, and in events, actions and messages), which would go through all of it
again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

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
T = TypeVar("T", bound=NodeEvent | NodeAction)


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
    """The latest steps of the node ``name``, ``most`` of them (None: MAX_STEPS). ``tap`` (None:
    nobody) is given every step, whole; what is remembered here leaves out steps that tell nothing,
    and what playbooks hold."""

    def __init__(self, name: str, most: int | None = None) -> None:
        self.name = name
        self.tap: Callable[[Step], None] | None = None
        self._steps: deque[Step] = deque(maxlen=MAX_STEPS if most is None else most)
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
        rest = tuple(self._digests), error, tuple(self._remarks)
        self._digests.clear()
        self._remarks.clear()
        if self.tap is not None:
            whole = tuple([bare(action) for action in actions])
            self.tap(Step(at, bare(event), whole, tuple([bare(send) for send in own]), *rest))
        if tells:
            told = tuple([_light(action) for action in actions])
            self._steps.append(
                Step(at, _light(event), told, tuple([_light(send) for send in own]), *rest)
            )


_QUIET = (LinkMeasured, Tick, Unreachable)


def _is_quiet(event: NodeEvent) -> bool:
    """Whether an event from which nothing follows tells nothing: there are many of these."""
    if isinstance(event, Arrived):
        return isinstance(event.message, Busy)
    return isinstance(event, _QUIET)


def bare(what: T) -> T:
    """An event or an action without bodies."""
    strip = _BODIES.get(type(what))
    return what if strip is None else strip(what)


def _light(what: T) -> T:
    """An event or an action without bodies, and without what a playbook in it holds, which may be
    much."""
    strip = _MUCH.get(type(what))
    return what if strip is None else strip(what)


def _no_body(what: Any) -> Any:
    return what if what.body is None else replace(what, body=None)


def _no_outcome(ran: Ran) -> Ran:
    nothing = {"body": None, "exit_body": None}
    outcomes = [replace(outcome, **nothing) for outcome in ran.outcomes]
    return replace(ran, outcomes=tuple(outcomes))


def _no_inputs(run: Run) -> Run:
    return replace(run, given=tuple([_nothing(given) for given in run.given]))


def _no_outputs(deliver: Deliver) -> Deliver:
    return replace(deliver, given=_nothing(deliver.given))


def _nothing(given: Given) -> Given:
    return replace(given, bodies=dict.fromkeys(given.bodies))


def _no_more_than_its_name(what: Any) -> Any:
    if not isinstance(what.message, Install):
        return bare(what)
    named = replace(what.message, playbook=_named(what.message.playbook))
    return replace(what, message=named)


def _named(playbook: Playbook) -> Playbook:
    return replace(playbook, plans=(), parts={}, policy=PolicySpec(playbook.policy.name))


_BODIES: dict[type, Callable[[Any], Any]] = {
    Arrived: _no_body,
    Submitted: _no_body,
    Send: _no_body,
    Ran: _no_outcome,
    Run: _no_inputs,
    Deliver: _no_outputs,
}
_MUCH: dict[type, Callable[[Any], Any]] = {
    **_BODIES,
    Adopt: lambda adopt: Adopt(_named(adopt.playbook)),
    **dict.fromkeys((Arrived, Unsent, Send), _no_more_than_its_name),
}
"""Looked up for each event and action: a chain of isinstance takes three times as long."""

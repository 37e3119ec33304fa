"""What a node shall do: the output of :class:`shoal.core.node.NodeCore`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from shoal.core.events import Body, JobKey
from shoal.core.messages import CoreMessage, StageTrace, Why
from shoal.plan.plan import Exit, Home, Join, PartInfo


class _Action(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all actions: what a log of them can be written and read by."""


class Send(_Action, frozen=True):
    """Send a message; ``codec`` packs the body when it has to leave the process."""

    to: str
    message: CoreMessage
    body: Body = None
    codec: str = "raw"


class Probe(_Action, frozen=True):
    """Send a peer what only weighs, so that it is measured what the way there carries."""

    to: str


class Given(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The body of one job: one complete body, or slices by the device that gave them. What came
    from others was packed with ``codec`` on its way, and several devices are to have the same of
    it: what never left this node is taken as it would have arrived."""

    bodies: dict[str, Body]
    join: Join | None = None
    codec: str = "raw"


class Away(msgspec.Struct, frozen=True):
    """An input of a part that is run by all its holders: for each of them, in the order of the
    join's slices, whether it is missing."""

    tensor: str
    missing: tuple[bool, ...]


class Run(_Action, frozen=True):
    """Run ``part`` once on the given bodies (stacked along the batch when there are several) and
    report ``Ran`` or ``RunFailed``. ``outputs`` are the names that go on, carried ones too.
    ``apart``: in a process of its own, which may die of it. ``away`` goes in beside them, the
    same for all jobs. Of what comes out, others are not given what stays at ``home``."""

    jobs: tuple[JobKey, ...]
    part: str
    given: tuple[Given, ...]
    outputs: tuple[str, ...]
    exit: Exit | None = None
    apart: bool = False
    away: Away | None = None
    home: Home | None = None


class FetchPart(_Action, frozen=True):
    """Fetch ``part`` from a peer if it is not in the store, verify it, and report ``Fetched``, or
    ``Loaded`` with the error. ``source`` is the node that asked for it and certainly has it."""

    playbook: str
    part: str
    info: PartInfo
    source: str


class LoadPart(_Action, frozen=True):
    """Make ``part``, which was fetched, ready to run, and report ``Loaded``."""

    playbook: str
    part: str
    info: PartInfo


class UnloadPart(_Action, frozen=True):
    """No playbook needs ``part`` any more."""

    part: str


class Deliver(_Action, frozen=True):
    """Give a client its answer: join ``given`` where it is in slices. ``accuracy`` is the share
    of the whole network's that the plan promises (None where nobody knows what is kept: without
    those that are ``absent``, or by an exit that was less sure than the plan asks for),
    ``usual_accuracy`` what the playbook's first plan
    does, which is preferred when everybody is there; ``unmet`` what was asked and not promised."""

    number: int
    given: Given
    plan: str
    attempts: int
    left_early: bool
    confidence: float | None
    absent: tuple[str, ...]
    trace: tuple[StageTrace, ...]
    accuracy: float | None = 1.0
    usual_accuracy: float = 1.0
    unmet: tuple[str, ...] = ()


class Reject(_Action, frozen=True):
    """Tell a client that its request failed. ``why`` is None when the deadline passed or nobody
    could serve it; ``kind`` is ``"deadline"``, ``"unserved"``, ``"overloaded"``, ``"remote"``,
    ``"policy"`` or ``"poison"``. ``retry_after_s`` is when to ask again, where that is known."""

    number: int
    kind: str
    text: str
    why: Why | None = None
    retry_after_s: float | None = None


class Drained(_Action, frozen=True):
    """Nothing is left to do after ``Drain``, or nothing can be done: the node may stop."""


WorkerAction: TypeAlias = Send | Run | FetchPart | LoadPart | UnloadPart | Drained
GatewayAction: TypeAlias = Send | Probe | Deliver | Reject
NodeAction: TypeAlias = WorkerAction | GatewayAction

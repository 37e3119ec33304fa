"""What happens to a node: the input of :class:`shoal.core.node.NodeCore`.

A driver brings them; what is to be done with each is decided in this package alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from shoal.core.messages import Answered, CoreMessage, Task, Why
from shoal.plan.plan import Playbook

Body: TypeAlias = Any
"""Tensors on their way: opaque to the core (arrays or a frame at run time, a token in the
simulator)."""


class _Event(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all events: what a log of them can be written and read by."""


class Arrived(_Event, frozen=True):
    """A message came from ``sender``; its body takes ``size`` bytes here. The body of an answer is
    unpacked before."""

    sender: str
    message: CoreMessage
    body: Body = None
    size: int = 0


class Damaged(_Event, frozen=True):
    """An answer came from ``sender`` whose body cannot be read."""

    sender: str
    message: Answered
    text: str


class Appeared(_Event, frozen=True):
    """The mesh sees a node: a new one, a new incarnation under an old name, or one that had
    vanished. A node sees itself appear first of all."""

    name: str
    incarnation: str


class Vanished(_Event, frozen=True):
    """The mesh no longer sees this incarnation of a node."""

    name: str
    incarnation: str


class Unreachable(_Event, frozen=True):
    """The peers that the mesh sees and this node has no way to, and why, from now on."""

    peers: dict[str, str]


class Unsent(_Event, frozen=True):
    """The link did not take a message: ``to`` is not visible, or (``full``) has not taken what was
    sent before."""

    to: str
    message: CoreMessage
    full: bool = False


class Unpackable(_Event, frozen=True):
    """A message cannot be sent to anybody: no codec packs its body, or it is too large."""

    to: str
    message: Task | Answered
    text: str


class LinkMeasured(_Event, frozen=True):
    """What the link to a peer carries, as measured ``age_s`` ago (``at_least``: it may be more, as
    nothing more was sent); policies see it."""

    peer: str
    bytes_per_s: float
    rtt_ms: float
    age_s: float
    at_least: bool = False


class JobKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stage of one attempt at one request, on one worker."""

    gateway: str
    incarnation: str
    number: int
    attempt: int
    stage: int


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a run made of one job: the stage's outputs, their bytes, where the stage has an exit
    how sure that is and what it would answer, and the bytes of its inputs that came over links."""

    body: Body
    size: int
    confidence: float | None = None
    exit_body: Body = None
    size_in: int = 0


class Ran(_Event, frozen=True):
    """A run ended well: an outcome per job, in the order of the ``Run`` action. ``started_s`` is
    on the worker's own clock."""

    jobs: tuple[JobKey, ...]
    outcomes: tuple[Outcome, ...]
    run_ms: float
    started_s: float = 0.0


class RunFailed(_Event, frozen=True):
    """A run failed. ``why`` says whether it did (RUN_FAILED), a body could not be decoded
    (BAD_BODY), or, of a run in a process of its own, that ended (RUN_KILLED) or could not be begun
    (NO_SANDBOX)."""

    jobs: tuple[JobKey, ...]
    text: str
    why: Why = Why.RUN_FAILED


class Fetched(_Event, frozen=True):
    """A part is in the store."""

    playbook: str
    part: str


class Loaded(_Event, frozen=True):
    """Fetching and loading a part ended; ``error`` is None when it is ready to run."""

    playbook: str
    part: str
    error: str | None = None


class Submitted(_Event, frozen=True):
    """A client asks: ``body`` are the network's inputs, of so many ``images``. Each ``number`` is
    higher than the last. Of those that wait those of a higher ``priority`` come first.
    ``traced``: with full traces (see :class:`~shoal.core.messages.StageTrace`)."""

    number: int
    body: Body
    budget_ms: float
    images: int = 1
    priority: int = 0
    traced: bool = False


class Cancelled(_Event, frozen=True):
    """The client no longer waits for a request."""

    number: int


class Adopt(_Event, frozen=True):
    """Serve new requests by this playbook from when it is in place (a gateway; see
    :meth:`shoal.core.gateway.playbooks.Playbooks.check`)."""

    playbook: Playbook


class Release(_Event, frozen=True):
    """Let go of all playbooks: the gateway leaves."""


class Drain(_Event, frozen=True):
    """Finish what is here, take nothing new."""


class NameTaken(_Event, frozen=True):
    """While this node was out of touch another one took its name, and is alive."""


class Tick(_Event, frozen=True):
    """The time has come at which the node wanted to be woken."""


PeerEvent: TypeAlias = Appeared | Vanished | LinkMeasured
RunEvent: TypeAlias = Ran | RunFailed | Fetched | Loaded
ClientEvent: TypeAlias = Submitted | Cancelled | Adopt | Release
NodeEvent: TypeAlias = (
    Arrived
    | Damaged
    | PeerEvent
    | Unreachable
    | Unsent
    | Unpackable
    | RunEvent
    | ClientEvent
    | Drain
    | NameTaken
    | Tick
)

"""What happens to a node: the input of the state machines in this package."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from shoal.core.messages import CoreMessage, Why

Body: TypeAlias = Any
"""Tensors on their way: opaque to the core (arrays or a frame at run time, a token in the
simulator)."""


class Arrived(msgspec.Struct, frozen=True):
    """A message came from ``sender``; its body takes ``size`` bytes here."""

    sender: str
    message: CoreMessage
    body: Body = None
    size: int = 0


class Appeared(msgspec.Struct, frozen=True):
    """The mesh sees a node: a new one, a new incarnation under an old name, or one that had
    vanished. A node sees itself appear first of all."""

    name: str
    incarnation: str


class Vanished(msgspec.Struct, frozen=True):
    """The mesh no longer sees this incarnation of a node."""

    name: str
    incarnation: str


class Unsent(msgspec.Struct, frozen=True):
    """The link did not take a message: ``to`` is not visible, or (``full``) has not taken what was
    sent before."""

    to: str
    message: CoreMessage
    full: bool = False


class LinkMeasured(msgspec.Struct, frozen=True):
    """What the link to a peer carries, as measured ``age_s`` ago (``at_least``: it may be more, as
    nothing more was sent); policies see it."""

    peer: str
    bytes_per_s: float
    rtt_ms: float
    age_s: float
    at_least: bool = False


class JobKey(msgspec.Struct, frozen=True):
    """One stage of one attempt at one request, on one worker."""

    gateway: str
    incarnation: str
    number: int
    attempt: int
    stage: int


class Outcome(msgspec.Struct, frozen=True):
    """What a run made of one job: the stage's outputs, their bytes, where the stage has an exit
    how sure that is and what it would answer, and the bytes of its inputs that came over links."""

    body: Body
    size: int
    confidence: float | None = None
    exit_body: Body = None
    size_in: int = 0


class Ran(msgspec.Struct, frozen=True):
    """A run ended well: an outcome per job, in the order of the ``Run`` action. ``started_s`` is
    on the worker's own clock."""

    jobs: tuple[JobKey, ...]
    outcomes: tuple[Outcome, ...]
    run_ms: float
    started_s: float = 0.0


class RunFailed(msgspec.Struct, frozen=True):
    """A run failed. ``why`` says whether it did (RUN_FAILED), a body could not be decoded
    (BAD_BODY), or, of a run in a process of its own, that ended (RUN_KILLED) or could not be begun
    (NO_SANDBOX)."""

    jobs: tuple[JobKey, ...]
    text: str
    why: Why = Why.RUN_FAILED


class Fetched(msgspec.Struct, frozen=True):
    """A part is in the store."""

    playbook: str
    part: str


class Loaded(msgspec.Struct, frozen=True):
    """Fetching and loading a part ended; ``error`` is None when it is ready to run."""

    playbook: str
    part: str
    error: str | None = None


class Submitted(msgspec.Struct, frozen=True):
    """A client asks: ``body`` are the network's inputs, of so many ``images``. Each ``number`` is
    higher than the last."""

    number: int
    body: Body
    budget_ms: float
    images: int = 1


class Cancelled(msgspec.Struct, frozen=True):
    """The client no longer waits for a request."""

    number: int


class Drain(msgspec.Struct, frozen=True):
    """Finish what is here, take nothing new."""


class Tick(msgspec.Struct, frozen=True):
    """The time asked for with ``Wake`` has come."""


PeerEvent: TypeAlias = Arrived | Appeared | Vanished | Unsent | LinkMeasured
WorkerEvent: TypeAlias = PeerEvent | Ran | RunFailed | Fetched | Loaded | Drain | Tick
GatewayEvent: TypeAlias = PeerEvent | Submitted | Cancelled | Tick

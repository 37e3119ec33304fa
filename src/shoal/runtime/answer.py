"""What a client gets: the outputs, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.codec.codecs import Array
from shoal.core.actions import Deliver, Reject
from shoal.core.messages import StageTrace
from shoal.core.shortfall import shortfall
from shoal.errors import (
    DeadlineError,
    OverloadedError,
    PoisonError,
    PolicyError,
    RemoteError,
    RequestError,
    UnservedError,
)
from shoal.runtime.runner import gather

_ERRORS: dict[str, type[RequestError]] = {
    "deadline": DeadlineError,
    "overloaded": OverloadedError,
    "unserved": UnservedError,
    "remote": RemoteError,
    "policy": PolicyError,
    "poison": PoisonError,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs by name, and how they came about.

    ``trace`` says for each stage where it ran and how long (ms); of a request that was asked with
    ``trace=True`` also how long it waited, when it began, and the bytes it took over links (packed)
    and gave, which are None else. ``latency_ms`` is from submission to delivery. ``degraded``
    is true when the answer is less than was asked for, or than it usually is: ``why`` says
    what was missing. ``confidence`` is that of the exit by which the request left, if it left
    early; ``accuracy`` the share of the whole network's that the plan guarantees, None where slices
    were missing and nobody measured what is left then, and where it left less sure than planned.
    ``images`` were in the request: the trace tells of all of them. ``number`` is the request's (see
    :meth:`Service.story`).
    """

    outputs: dict[str, Array]
    plan: str
    trace: tuple[StageTrace, ...]
    latency_ms: float
    attempts: int = 1
    left_early: bool = False
    confidence: float | None = None
    degraded: bool = False
    why: str = ""
    accuracy: float | None = 1.0
    images: int = 1
    number: int | None = None


def make_answer(deliver: Deliver, latency_ms: float, images: int = 1) -> Answer:
    """The answer in a Deliver of the core. FrameError when its body came damaged."""
    why = shortfall(deliver)
    return Answer(
        outputs=gather(deliver.given),
        plan=deliver.plan,
        trace=deliver.trace,
        latency_ms=latency_ms,
        attempts=deliver.attempts,
        left_early=deliver.left_early,
        confidence=deliver.confidence,
        degraded=bool(why),
        why=why,
        accuracy=deliver.accuracy,
        images=images,
        number=deliver.number,
    )


def make_error(reject: Reject) -> RequestError:
    """The error that says why a request failed."""
    error = _ERRORS[reject.kind](reject.text)
    if isinstance(error, OverloadedError):
        error.retry_after_s = reject.retry_after_s
    error.number = reject.number
    return error

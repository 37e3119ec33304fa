"""The head of every message between nodes: protocol version, message, and the frame's head.

``[version byte][MessagePack of Envelope]``. Nothing that arrives is trusted: a head decodes into
the declared types or is refused.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec

from shoal.codec.frame import FrameHead
from shoal.core import messages
from shoal.core.messages import MAX_IMAGES, PROTOCOL, CoreMessage, Message
from shoal.errors import FrameError, PlanError, VersionError
from shoal.plan.plan import PartInfo
from shoal.plan.playbook import playbook_id, validate
from shoal.plan.playbook_check import MAX_NAME, MAX_PARTS


class Fetch(Message, frozen=True):
    """Send bytes ``offset`` to ``offset + length`` of a stored blob; length 0 asks who has it."""

    token: int
    blob: str
    offset: int
    length: int


class Chunk(Message, frozen=True):
    """The bytes asked for (as body), of ``total``; total -1: it is not here."""

    token: int
    total: int


class Ping(Message, frozen=True):
    """Answer at once; the body only weighs."""

    token: int


class Pong(Message, frozen=True):
    """The answer to a Ping."""

    token: int


class Measure(Message, frozen=True):
    """Run ``part`` (fetch it if need be) on zeros of the given shapes, ``runs`` times at least
    and for ``seconds`` at least, so that a moment's disturbance does not decide. Inputs that are
    small may be sizes or places, for which zeros do not do: ``values`` holds the bytes of some."""

    token: int
    part: str
    info: PartInfo
    shapes: dict[str, tuple[str, tuple[int, ...]]]
    runs: int
    seconds: float
    values: dict[str, bytes] = {}  # noqa: RUF012  (msgspec copies it)


class MeasureWay(Message, frozen=True):
    """Measure the way from you to ``peer``."""

    token: int
    peer: str


class MeasuredWay(Message, frozen=True):
    """Time there and back, and the rate of large bodies; or why there are none."""

    token: int
    rtt_ms: float
    bytes_per_s: float
    error: str = ""


class Measured(Message, frozen=True):
    """Times of the runs in ms; or why there are none."""

    token: int
    run_ms: tuple[float, ...]
    error: str = ""


ControlMessage: TypeAlias = (
    Fetch | Chunk | Ping | Pong | Measure | Measured | MeasureWay | MeasuredWay
)


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A message and the head of the frame in its body (None: no body, or plain bytes)."""

    message: CoreMessage | ControlMessage
    frame: FrameHead | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def encode(message: CoreMessage | ControlMessage, frame: FrameHead | None = None) -> bytes:
    """The head for a message."""
    return bytes((PROTOCOL,)) + _encoder.encode(Envelope(message, frame))


def decode(head: bytes) -> Envelope:
    """The message in a head.

    Raises VersionError for another protocol version, FrameError for anything that is no message.
    """
    if not head:
        raise FrameError("an empty message came")
    if head[0] != PROTOCOL:
        raise VersionError(
            f"speaks protocol {head[0]}, this is protocol {PROTOCOL}; install the same version of "
            "Shoal on both"
        )
    try:
        envelope: Envelope = _decoder.decode(memoryview(head)[1:])
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise FrameError(f"a message cannot be read: {error}") from None
    _check(envelope.message)
    return envelope


def _check(message: CoreMessage | ControlMessage) -> None:
    """What types cannot say, and what the state machines rely on."""
    stage: int = getattr(message, "stage", 0)
    if stage < 0:
        raise FrameError(f"a message tells of stage {stage}; none can be")
    itinerary: messages.Itinerary | None = getattr(message, "itinerary", None)
    if itinerary is not None:
        _check_itinerary(itinerary)
    if not all(map(_plausible, getattr(message, "trace", ()))):
        raise FrameError("a message tells of stages or times that cannot be")
    load: messages.Load | None = getattr(message, "load", None)
    if load is not None and (
        min(load.waiting, load.running, load.held) < 0 or not _is_time(load.run_ms)
    ):
        raise FrameError("a message tells of a load that cannot be")
    match message:
        case messages.Answered(confidence=float(sure)) if not 0.0 <= sure <= 1.0:
            raise FrameError(f"an answer says that it is sure by {sure}; that is no share")
        case Measured(run_ms=run_ms) if not _is_time(*run_ms):
            raise FrameError("a measurement tells of times that cannot be")
        case MeasuredWay(rtt_ms=rtt_ms, bytes_per_s=rate) if not _is_time(rtt_ms, rate):
            raise FrameError("a measurement tells of times that cannot be")
        case messages.Task(budget_ms=ms) | messages.Resume(budget_ms=ms) if not math.isfinite(ms):
            raise FrameError(f"a message gives {ms} ms; that is no time")
        case messages.Holding(parts):
            if len(parts) > MAX_PARTS or not all(len(part) <= MAX_NAME for part in parts):
                raise FrameError("a message names more parts than a device can hold")
        case messages.Loading(part) | messages.Heard(part) if len(part) > MAX_NAME:
            raise FrameError("a message names a part at a length that no name has")
        case messages.Install(playbook):
            try:
                validate(playbook)
            except PlanError as error:
                raise FrameError(f"a playbook cannot be followed: {error}") from None
            if playbook.id != playbook_id(playbook):
                raise FrameError(f"a playbook is not what its id {playbook.id[:64]!r} names")


def _check_itinerary(itinerary: messages.Itinerary) -> None:
    if not 1 <= itinerary.images <= MAX_IMAGES:
        raise FrameError(f"a message is of {itinerary.images} images; 1 to {MAX_IMAGES} can be")
    if itinerary.start < 0:
        raise FrameError(
            f"a message tells of an attempt from stage {itinerary.start} on; none can be"
        )
    if not all(math.isfinite(threshold) for _, threshold in itinerary.values.thresholds):
        raise FrameError("a message sets a threshold that is no number")


def _plausible(step: messages.StageTrace) -> bool:
    return step.stage >= 0 and step.batch >= 1 and _is_time(step.wait_ms or 0.0, step.run_ms)


def _is_time(*values: float) -> bool:
    return all(0.0 <= value < math.inf for value in values)

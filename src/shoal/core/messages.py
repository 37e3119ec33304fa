"""What gateways and workers say to each other about requests. The only definition of it.

A message travels with an optional body (tensors), which the core never looks into.
A request is named by its gateway, the gateway's incarnation, and a number that it counts up.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TypeAlias

import msgspec

from shoal.plan.plan import Playbook

PROTOCOL = 10
"""Version of the messages; devices of another version are refused."""

MAX_IMAGES = 1 << 20
"""In a request."""

Route: TypeAlias = tuple[tuple[str, ...], ...]
"""The devices of each stage of a plan; an empty entry is decided by the hop before it. An empty
route leaves all of them to the hops."""


class Care(IntEnum):
    """How a request is run of which devices may die."""

    NONE = 0
    ALONE = 1
    """With nothing beside it, and only by :class:`Leave`."""
    APART = 2
    """In a process of its own, that may die of it."""


class Load(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How busy a worker is: waiting and running jobs, outputs that it holds, mean run time."""

    waiting: int = 0
    running: int = 0
    held: int = 0
    run_ms: float = 0.0


class StageTrace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who ran a stage of a request: ``run_ms`` is the run itself, of all the images that were run
    together (``batch``).

    The rest is told of traced requests alone, and else None, which takes one byte: messages carry
    the steps of all stages before. ``wait_ms`` is from arrival to start. ``started_s`` is on the
    device's own monotonic clock: nodes of one machine share it, others do not. ``bytes_in`` came
    over links, packed; ``bytes_out`` is what was computed, before it is packed."""

    stage: int
    device: str
    wait_ms: float | None = None
    run_ms: float = 0.0
    bytes_out: int | None = None
    batch: int = 1
    started_s: float | None = None
    bytes_in: int | None = None


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all messages. None is part of a cycle, so the garbage collector need not look at
    them: logs hold thousands."""


class RequestMessage(Message, frozen=True):
    """Base of all messages about one attempt at one request.

    A gateway that restarts counts its requests from 0 again, so ``incarnation`` (that of the
    gateway) belongs to the request's name: what was meant for an earlier life is never taken for
    an answer of this one.
    """

    gateway: str
    incarnation: str
    number: int
    attempt: int


class Values(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the policy of a gateway set for one request: ``thresholds`` of exits, each with its
    stage, in the place of the plan's."""

    thresholds: tuple[tuple[int, float], ...] = ()

    def threshold(self, stage: int, planned: float) -> float:
        """The threshold of the exit after a stage."""
        return dict(self.thresholds).get(stage, planned) if self.thresholds else planned


class Itinerary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an attempt goes: what each hop is told of it once.

    It follows ``plan`` from the stage ``start``; ``route`` says who runs each stage. Hops that
    decide do so ``without`` these devices if they can. The request is of ``images``. ``free``: the
    route was not decided when the attempt began, so that it is told again at each hop. ``values``
    are the policy's. ``traced``: each step tells all that it knows (see :class:`StageTrace`).
    """

    playbook: str
    plan: str
    route: Route
    start: int = 0
    without: tuple[str, ...] = ()
    images: int = 1
    care: Care = Care.NONE
    free: bool = False
    values: Values = Values()
    traced: bool = False


class Task(RequestMessage, frozen=True):
    """Run ``stage`` on the body; then pass it on. Body: the stage's inputs, or, when ``sliced``,
    the slice of ``giver``, to be joined with those of the others who run the stage before.

    ``budget_ms`` is the time left until the deadline. All requests of this gateway numbered below
    ``settled`` are over. ``absent`` names devices whose slices were missing on the way. ``trace``
    has the steps up to here that the giver was told of. ``load`` is the giver's. ``itinerary`` is
    None where the taker was told by somebody else, or is being told.
    """

    stage: int
    giver: str
    budget_ms: float
    sliced: bool = False
    settled: int = 0
    absent: tuple[str, ...] = ()
    trace: tuple[StageTrace, ...] = ()
    load: Load | None = None
    itinerary: Itinerary | None = None


class Answered(RequestMessage, frozen=True):
    """The outputs of the last stage, or of an early exit. Body: the outputs, or ``giver``'s slice
    of them. ``stage`` is the last one that ran."""

    plan: str
    stage: int
    giver: str
    left_early: bool = False
    confidence: float | None = None
    absent: tuple[str, ...] = ()
    trace: tuple[StageTrace, ...] = ()
    load: Load = Load()


class Why(StrEnum):
    """Why a worker does not go on with a request."""

    OVERLOADED = "overloaded"
    LINK_FULL = "link full"
    TOO_LARGE = "too large"
    DRAINING = "draining"
    UNKNOWN_PLAN = "unknown plan"
    PART_MISSING = "part missing"
    RUN_FAILED = "run failed"
    NOT_KEPT = "tensor not kept"
    PEER_ABSENT = "next device absent"
    TOO_FEW_SLICES = "too few slices"
    BAD_BODY = "damaged body"
    POLICY_FAILED = "policy failed"
    NO_LEAVE = "no leave to run it"
    RUN_KILLED = "run killed its process"
    NO_SANDBOX = "no process of its own"


class Refused(RequestMessage, frozen=True):
    """A worker does not go on with an attempt at ``stage``; the gateway decides what next.
    ``absent`` are the devices that it lacks, or the link to which is full, where that is the
    reason."""

    stage: int
    why: Why
    text: str = ""
    absent: tuple[str, ...] = ()
    load: Load = Load()


def refusal(
    about: RequestMessage,
    stage: int,
    why: Why,
    text: str = "",
    absent: tuple[str, ...] = (),
    load: Load | None = None,
) -> Refused:
    """The refusal of the attempt that a message is about."""
    return Refused(
        gateway=about.gateway,
        incarnation=about.incarnation,
        number=about.number,
        attempt=about.attempt,
        stage=stage,
        why=why,
        text=text,
        absent=absent,
        load=load or Load(),
    )


class Moved(RequestMessage, frozen=True):
    """A worker decided who runs ``stage`` of an attempt whose route was free, and passed it on.
    ``route`` is the route as it is now."""

    stage: int
    route: Route


class Resume(RequestMessage, frozen=True):
    """Go on with the output that you kept (or are computing) for an older attempt: it is the
    input of ``stage``, with which the attempt begins. Refused with NOT_KEPT when it is not there.
    """

    stage: int
    budget_ms: float
    itinerary: Itinerary


class Trial(RequestMessage, frozen=True):
    """A worker has come to ``stage`` of a request that is run ALONE, and asks for leave to run it;
    or (``over``) it has run it. It runs nothing else until it hears :class:`Leave`, so that its
    gateway knows what it died of, should it die."""

    stage: int
    over: bool = False


class Leave(RequestMessage, frozen=True):
    """Answers a :class:`Trial`: go on. With ``run`` false, the request is not to be run any
    more."""

    stage: int
    run: bool = True


class Forget(Message, frozen=True):
    """The requests ``numbers`` of ``gateway``, and all numbered below ``settled``, are over: stop
    working on them and free what is kept for them."""

    gateway: str
    incarnation: str
    numbers: tuple[int, ...] = ()
    settled: int = 0


class Install(Message, frozen=True):
    """Get the parts that this playbook gives you, load them, and say :class:`Installed`. The
    sender uses the playbooks ``in_use`` (ids) and no others. Parts that are ``barred`` are refused
    with the reason given. With ``bring``, get those too for which there is no memory: room is made
    for them when all devices have theirs."""

    playbook: Playbook
    in_use: tuple[str, ...] = ()
    barred: dict[str, str] = {}
    bring: bool = False


class Loading(Message, frozen=True):
    """The sender begins to load a part of a playbook that the taker asked for, and may die of
    it: it does not before it hears :class:`Heard`, or waits for that in vain."""

    part: str


class Heard(Message, frozen=True):
    """Answers :class:`Loading`: should the taker die now, it is known of what."""

    part: str


class Installed(Message, frozen=True):
    """The parts of ``playbook`` that are loaded, and those that are not, with the reason; of these,
    the ones that were ``brought`` and lack memory only."""

    playbook: str
    ready: tuple[str, ...]
    refused: dict[str, str] = {}
    brought: tuple[str, ...] = ()


class Uninstall(Message, frozen=True):
    """``playbook`` is no longer used by the sender."""

    playbook: str


class DeviceInfo(msgspec.Struct, frozen=True):
    """What a node says of itself. ``memory`` is the limit for loaded parts in bytes (0: none
    stated). What it has loaded it says in :class:`Holding`."""

    name: str
    incarnation: str
    protocol: int = PROTOCOL
    version: str = ""
    cores: int = 1
    threads: int = 1
    memory: int = 0
    provider: str = "CPUExecutionProvider"
    draining: bool = False
    worker: bool = True


class Hello(Message, frozen=True):
    """Said to every peer that appears, and again when something of it changes."""

    info: DeviceInfo


class Holding(Message, frozen=True):
    """The parts that the sender has loaded: said to every peer when that changes."""

    parts: tuple[str, ...]


class Busy(Message, frozen=True):
    """How busy the sender is: said to the peers that choose whether to give it work."""

    load: Load


ToGateway: TypeAlias = Answered | Refused | Moved | Trial | Installed | Loading
"""Messages that concern the gateway of the taker."""

ToWorker: TypeAlias = Task | Resume | Leave | Forget | Install | Heard | Uninstall
"""Messages that concern the worker of the taker."""

News: TypeAlias = Hello | Holding | Busy
"""Messages in which a node speaks of itself: they concern both."""

CoreMessage: TypeAlias = ToGateway | ToWorker | News

"""What happened to a request on a node, in plain words, from the node's log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from shoal.core.actions import Deliver, NodeAction, Reject, Run, Send
from shoal.core.events import (
    Arrived,
    Cancelled,
    Damaged,
    JobKey,
    NodeEvent,
    Ran,
    RunFailed,
    Submitted,
    Unpackable,
    Unsent,
)
from shoal.core.log import Log, Step
from shoal.core.messages import (
    Answered,
    Care,
    CoreMessage,
    Forget,
    Itinerary,
    Leave,
    Moved,
    Refused,
    RequestMessage,
    Resume,
    Route,
    StageTrace,
    Task,
    Trial,
    Why,
)
from shoal.core.shared.routes import devices_at


class Line(msgspec.Struct, frozen=True):
    """Something that happened, ``ms`` after the story began."""

    ms: float
    text: str


class Story(msgspec.Struct, frozen=True):
    """What happened on ``node`` to the request ``number`` of a gateway. ``whole``: the log goes
    back to its beginning."""

    node: str
    gateway: str
    number: int
    lines: tuple[Line, ...]
    whole: bool = True

    def __str__(self) -> str:
        of = "" if self.gateway == self.node else f" of {self.gateway}"
        head = f"request {self.number}{of}, as {self.node} saw it"
        if not self.lines:
            return f"{head}: the log holds nothing of it (any more)"
        rest = "" if self.whole else " (its beginning is no longer in the log)"
        return "\n".join([head + rest, *(f"{one.ms:10.1f} ms  {one.text}" for one in self.lines)])


def story(log: Log, number: int, gateway: str = "") -> Story:
    """What happened to a request of ``gateway`` (without a name: of the node itself)."""
    return tell(log.steps, log.name, number, gateway)


def tell(steps: Iterable[Step], node: str, number: int, gateway: str = "") -> Story:
    """As :func:`story`, from the steps of a node."""
    gateway, began = gateway or node, 0.0
    about = [step for step in steps if concerns(step, number)]
    teller = _Teller(node, gateway, number)
    teller.life = teller.latest_life(about)
    lines: list[Line] = []
    for step in about:
        for text in teller.tell(step):
            began = began if lines else step.at
            lines.append(Line((step.at - began) * 1e3, text))
    return Story(node, gateway, number, tuple(lines), teller.whole or not lines)


def concerns(step: Step, number: int) -> bool:
    """Whether a step may have to do with a request of this number, whosesoever it is."""
    return any(number in _numbers(each) for each in (step.event, *step.own, *step.actions)) or any(
        remark.number == number for remark in step.remarks
    )


def _numbers(what: NodeEvent | NodeAction) -> tuple[int, ...]:
    match what:
        case Submitted(number) | Cancelled(number) | Deliver(number) | Reject(number):
            return (number,)
        case Arrived() | Send() | Unsent() | Unpackable():
            message = what.message
            if isinstance(message, Forget):
                return message.numbers
            return (message.number,) if isinstance(message, RequestMessage) else ()
        case Damaged():
            return (what.message.number,)
        case Ran(jobs) | RunFailed(jobs) | Run(jobs):
            return tuple(job.number for job in jobs)
        case _:
            return ()


@dataclass
class _Teller:
    """Tells of one request. ``whole``: from its beginning. ``life`` is the incarnation of its
    gateway (empty: whichever), as one that starts anew counts from 0 again; ``attempt`` the latest
    that was begun, ``shared`` whether several devices answer it together, ``over`` whether it was
    answered or has failed; ``asking`` are those who asked for leave to run it (or were asked, on a
    worker) and got no answer yet; ``told`` is where attempts go, which a worker is told once."""

    node: str
    gateway: str
    number: int
    whole: bool = False
    life: str = ""
    attempt: int = 0
    shared: bool = False
    over: bool = False
    asking: set[str] = field(default_factory=set)
    told: dict[int, Itinerary] = field(default_factory=dict)

    @property
    def mine(self) -> bool:
        """Whether this node is the gateway."""
        return self.node == self.gateway

    def tell(self, step: Step) -> Iterator[str]:
        """What a step did to the request."""
        yield from self._event(step.event, step.actions)
        follows = any(map(self._concerns, (*step.own, *step.actions)))
        if isinstance(step.event, Submitted) and not follows:
            yield "waits for its turn, or for a device"
        for send in step.own:
            yield from self._sent([send])
            yield from self._event(Arrived(self.node, send.message), step.actions)
        if self.mine:
            yield from (each.text for each in step.remarks if each.number == self.number)
        for action in step.actions:
            yield from self._action(action, step.event)
        yield from self._sent([each for each in step.actions if isinstance(each, Send)])

    def latest_life(self, steps: Sequence[Step]) -> str:
        """The incarnation of the gateway that gave out the request last."""
        lives = [
            message.incarnation
            for step in steps
            for message in _messages(step)
            if isinstance(message, Task | Resume) and self._about(message)
        ]
        return lives[-1] if lives else ""

    # -- what came

    def _event(self, event: NodeEvent, actions: Sequence[NodeAction]) -> Iterator[str]:
        match event:
            case Submitted(number, _, budget_ms, images) if self.mine and number == self.number:
                self.whole = True
                many = "" if images == 1 else f"{images} images, "
                yield f"asked: {many}to be answered within {_time(budget_ms)}"
            case Cancelled(number) if self.mine and number == self.number:
                yield "the client no longer waits"
            case Arrived(sender, message) if self._about(message):
                yield from self._heard(sender, message, actions)
            case Damaged(sender, answer, text) if self._about(answer):
                yield f"the answer of {sender} to attempt {answer.attempt} cannot be read: {text}"
            case Unsent(to, message, full) if self._about(message):
                why = "takes no more: the link is full" if full else "is not there"
                yield f"{_what(message)} did not leave: {to} {why}"
            case Unpackable(to, message, text) if self._about(message):
                yield f"{_what(message)} cannot be sent to {to}: {text}"
            case Ran(jobs, _, run_ms):
                for job in filter(self._is_of, jobs):
                    yield f"{self.node} ran stage {job.stage} in {_time(run_ms)}"
            case RunFailed(jobs, text, why):
                for job in filter(self._is_of, jobs):
                    again = ", with others: they are run one by one" if len(jobs) > 1 else ""
                    yield f"the run of stage {job.stage} failed: {why} ({text}){again}"
            case _:
                pass

    def _heard(
        self, sender: str, message: CoreMessage, actions: Sequence[NodeAction]
    ) -> Iterator[str]:
        match message:
            case Task() if not self.mine:
                self.whole = True
                what = f"{'a slice for ' if message.sliced else ''}stage {message.stage}"
                if message.itinerary is not None:
                    self.told[message.attempt] = message.itinerary
                told = self.told.get(message.attempt)
                plan = "" if told is None else f" of plan {told.plan!r}"
                care = "" if told is None else _with_care(told.care)
                yield f"{sender} gave it {what}{plan} (attempt {message.attempt}){care}"
            case Resume() if not self.mine:
                yield (
                    f"{sender} wants it to go on at stage {message.stage} of plan "
                    f"{message.itinerary.plan!r} (attempt {message.attempt}) from what is kept here"
                )
            case Answered(attempt=attempt):
                if any(isinstance(each, Deliver) and self._concerns(each) for each in actions):
                    return
                if self.over:
                    yield f"{sender} answered attempt {attempt}; it is not needed any more"
                else:
                    what = "gave its slice of the answer to" if self.shared else "answered"
                    yield f"{sender} {what} attempt {attempt}"
            case Refused():
                yield self._refusal(sender, message)
            case Moved(stage=stage, route=route):
                yield f"{sender} chose {_names(devices_at(route, stage))} for stage {stage}"
            case Trial(stage=stage, over=False) if self.mine:
                self.asking.add(sender)
                yield f"{sender} asks whether it may run stage {stage}"
            case Trial(stage=stage) if self.mine and not self.over:
                yield f"{sender} has run stage {stage}"
            case Leave(run=run) if not self.mine and sender in self.asking:
                self.asking.discard(sender)
                yield f"{sender} {'lets it be run' if run else 'does not let it be run'}"
            case Forget() if not self.mine:
                self.over = True
                yield f"{sender} says that it is over"
            case _:
                pass

    def _refusal(self, sender: str, refused: Refused) -> str:
        old = "" if refused.attempt == self.attempt or not self.mine else " (an older one)"
        about = f"attempt {refused.attempt}{old}"
        said = f" ({refused.text})" if refused.text else ""
        lacking = _names(refused.absent)
        match refused.why:
            case Why.LINK_FULL:
                return f"{sender} could not pass {about} on: the link to {lacking} is full{said}"
            case Why.PEER_ABSENT if lacking:
                return f"{sender} could not pass {about} on: it does not see {lacking}{said}"
            case Why.NOT_KEPT:
                return f"{sender} does not have what {about} was to go on from{said}"
            case why:
                without = f", without {lacking}" if lacking else ""
                return f"{sender} refused stage {refused.stage} of {about}: {why}{without}{said}"

    # -- what was done

    def _sent(self, sends: Sequence[Send]) -> Iterator[str]:
        """Messages about it, those to several devices at once."""
        told: dict[object, tuple[CoreMessage, list[str]]] = {}
        for to, message in ((send.to, send.message) for send in sends if self._about(send.message)):
            same = (message.attempt, message.stage) if isinstance(message, Task) else message
            told.setdefault(same, (message, []))[1].append(to)
        for message, takers in told.values():
            yield from self._said(message, takers)

    def _said(self, message: CoreMessage, to: Sequence[str]) -> Iterator[str]:
        match message:
            case Task(stage=stage, attempt=attempt, itinerary=Itinerary() as itinerary) if (
                self.mine and attempt > self.attempt
            ):
                self._begins(attempt, itinerary)
                yield _attempt(attempt, itinerary, _way(itinerary.route, stage, to))
            case Resume(stage=stage, attempt=attempt, itinerary=itinerary) if self.mine:
                self._begins(attempt, itinerary)
                way = _way(itinerary.route, stage)
                yield _attempt(attempt, itinerary, f"{to[0]} passes on what it kept, to {way}")
            case Task(stage=stage):
                yield f"passed on to {_names(to)}, for stage {stage}"
            case Answered() if not self.mine:
                yield f"answered to {_names(to)}"
            case Refused() if not self.mine:
                yield self._refusal(self.node, message)
            case Leave(run=run) if self.asking & {*to}:
                self.asking -= {*to}
                yield f"{_names(to)} may{'' if run else ' not'} run it"
            case Forget() if self.mine:
                yield f"told {_names(to)} to stop"
            case Trial(over=False) if not self.mine:
                self.asking |= {*to}
                yield f"asks {_names(to)} whether it may be run"
            case _:
                pass

    def _begins(self, attempt: int, itinerary: Itinerary) -> None:
        self.attempt = attempt
        self.shared = bool(itinerary.route) and len(itinerary.route[-1]) > 1

    def _action(self, action: NodeAction, event: NodeEvent) -> Iterator[str]:
        match action:
            case Run(jobs, apart=apart):
                for job in filter(self._is_of, jobs):
                    beside = f" ({len(jobs)} requests at once)" if len(jobs) > 1 else ""
                    where = " in a process of its own" if apart else ""
                    yield f"{self.node} begins to run stage {job.stage}{beside}{where}"
            case Deliver() if self._concerns(action):
                self.over = True
                yield _answered(action, event)
            case Reject(_, kind, text) if self._concerns(action):
                self.over = True
                yield f"failed ({kind}): {text}"
            case _:
                pass

    # -- whether it is this one

    def _concerns(self, action: NodeAction) -> bool:
        match action:
            case Deliver(number) | Reject(number):
                return self.mine and number == self.number
            case Send(message=message):
                return self._about(message)
            case _:
                return False

    def _is_of(self, job: JobKey) -> bool:
        life = self.life or job.incarnation
        return (job.gateway, job.incarnation, job.number) == (self.gateway, life, self.number)

    def _about(self, message: CoreMessage) -> bool:
        if not isinstance(message, Forget | RequestMessage):
            return False
        numbers = message.numbers if isinstance(message, Forget) else (message.number,)
        life = self.life or message.incarnation
        about = (message.gateway, message.incarnation) == (self.gateway, life)
        return about and self.number in numbers


def _messages(step: Step) -> Iterator[CoreMessage]:
    for each in (step.event, *step.own, *step.actions):
        if isinstance(each, Arrived | Send):
            yield each.message


def _attempt(attempt: int, itinerary: Itinerary, way: str) -> str:
    without = f"; without {_names(itinerary.without)}" if itinerary.without else ""
    care = _with_care(itinerary.care)
    return f"attempt {attempt} by plan {itinerary.plan!r}: {way}{without}{care}"


def _with_care(care: Care) -> str:
    match care:
        case Care.NONE:
            return ""
        case Care.ALONE:
            return "; with nothing beside it, in case a device dies of it"
        case Care.APART:
            return "; in a process of its own, in case that dies of it"


def _way(route: Route, start: int, to: Sequence[str] = ()) -> str:
    """Who runs each stage in turn; dots where that is left to the hops."""
    if not route:
        return f"{' + '.join(to)} -> ..." if to else "whoever it chooses"
    steps = [devices_at(route, stage) for stage in range(start, len(route))]
    steps[0] = steps[0] or tuple(to)
    return " -> ".join(" + ".join(step) or "..." for step in steps)


def _answered(deliver: Deliver, event: NodeEvent) -> str:
    by = ""
    if isinstance(event, Arrived) and isinstance(event.message, Answered) and deliver.attempts > 1:
        by = f" (attempt {event.message.attempt})"
    early = ""
    if deliver.left_early:
        sure = "" if deliver.confidence is None else f", sure by {deliver.confidence:.2f}"
        early = f", early{sure}"
    absent = f", without the slices of {_names(deliver.absent)}" if deliver.absent else ""
    steps = ", ".join(map(_step, deliver.trace))
    return f"answered by plan {deliver.plan!r}{by}{early}{absent}" + (f": {steps}" if steps else "")


def _step(step: StageTrace) -> str:
    wait_ms = step.wait_ms or 0.0
    waited = f" after {_time(wait_ms)} of waiting" if wait_ms >= 1 else ""
    return f"{step.device} ran {_time(step.run_ms)}{waited}"


def _what(message: CoreMessage) -> str:
    match message:
        case Task(attempt=attempt, stage=stage) | Resume(attempt=attempt, stage=stage):
            return f"attempt {attempt}, stage {stage},"
        case _:
            return f"the {type(message).__name__.lower()}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _time(ms: float) -> str:
    return f"{ms / 1e3:g} s" if ms >= 1e3 else f"{ms:.1f} ms"

"""Stories as text: what happens to a node, line by line, and what it does.

A story begins with what it is about, in prose. Then who the node is, and its plans:

    gateway of a b c d                    the node g, which asks these; they have their parts
    worker a beside b c d                 the node a, which has its parts, and works for g
    hedge after 30 ms                     where it does
    routes are free                       where each hop decides who comes next
    slices may be missing                 where plans are followed without them, too
    plan abc: a 0-4, b 4-8, c|d 8-12      a stage each: who runs these layers; here c or d the last
    plan all: a+b+c 0-8 least 2, d 8-12   or all of them together, each its slice
    reserve bc: b+c 0-8 least 2, d 8-12 without a after 10 s   put in place when a is lost for good

Then what happens, and when, and below each line what the node does, behind an arrow; what it only
says of itself (that it is there, what it has loaded, how busy it is) is left out. ``0.2`` is the
second attempt at request 0. The time at which the node asked to be woken must not pass without a
``tick``. At the end is what its log tells of a request.

``python -m tests.core.playing FILE`` prints a story as it is now.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.core.alone import LoneGateway, LoneWorker
from tests.core.toys import every, in_reserve, one, plan, playbook

from shoal.core.actions import Deliver, Drained, Reject, Run, Send
from shoal.core.events import (
    Appeared,
    Arrived,
    Cancelled,
    Drain,
    NodeEvent,
    Outcome,
    Ran,
    RunFailed,
    Submitted,
    Tick,
    Unsent,
    Vanished,
)
from shoal.core.messages import (
    Answered,
    Care,
    CoreMessage,
    DeviceInfo,
    Forget,
    Hello,
    Install,
    Installed,
    Itinerary,
    Leave,
    Moved,
    News,
    Refused,
    Resume,
    Route,
    StageTrace,
    Task,
    Trial,
    Uninstall,
    Why,
)
from shoal.core.story import story
from shoal.plan.identity import from_reserve
from shoal.plan.plan import Stage

ARROW = "         -> "
HEADS = (
    GATEWAY := "gateway of ",
    WORKER := "worker a beside ",
    HEDGE := "hedge after ",
    FREE := "routes are free",
    TOLERANT := "slices may be missing",
)
PLAN = "plan "
RESERVE = re.compile(r"reserve (\w+): (.*) without (\w) after (\d+) s")
AT = re.compile(r" *(\d+(?:\.\d+)?) ms  (\S.*)")


def play(text: str) -> str:
    """A story as it is now: the same events, and what follows from them."""
    told: list[str] = []
    player: Player | None = None
    telling = False  # of what the log tells, which is told anew
    for line in text.splitlines():
        telling = telling and bool(line)
        if telling or line.startswith(ARROW):
            continue
        told.append(line)
        if at := AT.fullmatch(line):
            player = player or Player(told)
            told += [ARROW + said for said in player.take(float(at[1]) / 1e3, at[2])]
        elif line.startswith("story of "):
            assert player is not None, "nothing has happened"
            told += player.story(int(line.removeprefix("story of ")))
            telling = True
    return "\n".join([*told, ""])


class Player:
    """The node of a story, as its ``head`` describes it."""

    def __init__(self, head: Iterable[str]) -> None:
        said = {word: line[len(word) :] for word in HEADS for line in head if line.startswith(word)}
        plans = dict(line[len(PLAN) :].split(": ") for line in head if line.startswith(PLAN))
        spared = [found.groups() for found in map(RESERVE.fullmatch, head) if found]
        book = playbook(
            *(plan(name, *map(_stage, stages.split(", "))) for name, stages in plans.items()),
            *(
                in_reserve(plan(name, *map(_stage, stages.split(", "))), (lost,), float(after_s))
                for name, stages, lost, after_s in spared
            ),
            policy="free" if FREE in said else "tolerant" if TOLERANT in said else "preferred",
        )
        self.book = book
        self.plans = {each.name: each for each in book.plans}
        self.lone: LoneGateway | LoneWorker
        if WORKER in said:
            self.lone = LoneWorker(book, said[WORKER].replace(" ", ""))
        else:
            hedge_s = float(said[HEDGE].removesuffix(" ms")) / 1e3 if HEDGE in said else None
            self.lone = LoneGateway(book, said[GATEWAY].replace(" ", ""), hedge_s=hedge_s)
        self.lives: dict[str, int] = {}
        self.sent: dict[tuple[str, str], CoreMessage] = {}
        self.attempts: dict[str, Task | Resume] = {}
        self.runs: dict[str, Run] = {}

    def take(self, at: float, line: str) -> Iterator[str]:
        """What the node does when something happens to it."""
        node = self.lone.node
        due = node.wake_at
        assert line == "tick" or due >= at, f"it wanted to be woken at {due * 1e3:g} ms"
        assert line != "tick" or due <= at + 1e-9, (
            f"it did not want to be woken before {due * 1e3:g} ms"
        )
        self.lone.now = at
        actions: list[Any] = []
        for event in self.events(line):
            actions += self.lone.take(event)
        for action in actions:
            if not (isinstance(action, Send) and isinstance(action.message, News)):
                yield self.say(action)

    def story(self, number: int) -> list[str]:
        """What the log tells of a request."""
        gateway = "g" if isinstance(self.lone, LoneWorker) else ""
        return str(story(self.lone.node.log, number, gateway)).splitlines()[1:]

    # -- what happens

    def events(self, line: str) -> list[NodeEvent]:
        for pattern, method in WORDS.items():
            if found := re.fullmatch(pattern, line):
                made = method(self, **found.groupdict())
                return made if isinstance(made, list) else [made]
        raise AssertionError(f"nothing is known that is told so: {line!r}")

    def asked(self, number: str, ms: str, images: str | None) -> NodeEvent:
        return Submitted(int(number), f"x{number}", float(ms), int(images or 1))

    def cancelled(self, number: str) -> NodeEvent:
        return Cancelled(int(number))

    def tick(self) -> NodeEvent:
        return Tick()

    def drain(self) -> NodeEvent:
        return Drain()

    def life(self, name: str) -> str:
        return f"{name}{self.lives.get(name, 1)}"

    def lost(self, name: str) -> NodeEvent:
        return Vanished(name, self.life(name))

    def back(self, name: str) -> list[NodeEvent]:
        """It is seen again and, as both have not seen each other, says hello and what it has."""
        return [Appeared(name, self.life(name)), *self.hello(name)]

    def anew(self, name: str) -> list[NodeEvent]:
        self.lives[name] = self.lives.get(name, 1) + 1
        return self.back(name)

    def hello(self, name: str) -> list[NodeEvent]:
        parts = self.book.parts_of(name)
        installed = [Arrived(name, Installed(self.book.id, parts))] if parts else []
        return [Arrived(name, Hello(DeviceInfo(name, self.life(name)))), *installed]

    def has_reserve(self, name: str, plan: str) -> NodeEvent:
        """It has loaded what is in reserve."""
        book = from_reserve(self.book, self.plans[plan])
        return Arrived(name, Installed(book.id, book.parts_of(name)))

    def unsent(self, name: str, which: str, full: str) -> NodeEvent:
        return Unsent(name, self.sent[name, which], full == "is full")

    def answers(
        self, name: str, which: str, stage: str | None, sure: str | None, runs: str | None
    ) -> NodeEvent:
        about = self.attempts[which]
        last = len(self.plans[_told(about).plan].stages) - 1
        trace = tuple(
            StageTrace(k, device, run_ms=float(ms))
            for k, (device, ms) in enumerate(re.findall(r"(\w) (\d+) ms", runs or ""))
        )
        return Arrived(
            name,
            Answered(
                *_about(about),
                plan=_told(about).plan,
                stage=last if stage is None else int(stage),
                giver=name,
                left_early=sure is not None,
                confidence=None if sure is None else float(sure),
                trace=trace,
            ),
            f"made by {name}",
        )

    def refuses(
        self, name: str, which: str, stage: str, why: str, lacking: str | None, text: str | None
    ) -> NodeEvent:
        about = _about(self.attempts[which])
        absent = tuple((lacking or "").split())
        return Arrived(name, Refused(*about, int(stage), Why(why), text or "", absent))

    def passed(self, name: str, which: str, to: str, stage: str) -> NodeEvent:
        about = self.attempts[which]
        stages = len(self.plans[_told(about).plan].stages)
        route = tuple((to,) if k == int(stage) else () for k in range(stages))
        return Arrived(name, Moved(*_about(about), int(stage), route))

    def asks(self, name: str, which: str, stage: str) -> NodeEvent:
        return Arrived(name, Trial(*_about(self.attempts[which]), int(stage)))

    def over(self, name: str, which: str, stage: str) -> NodeEvent:
        return Arrived(name, Trial(*_about(self.attempts[which]), int(stage), over=True))

    # -- what happens to a worker

    def task(
        self,
        number: str,
        attempt: str,
        giver: str,
        stage: str,
        plan: str,
        slice: str | None,
        route: str | None,
        care: str | None,
        ms: str | None,
    ) -> NodeEvent:
        stages = self.plans[plan].stages
        itinerary = Itinerary(
            self.book.id,
            plan,
            _route(route) if route else tuple(tuple(each.parts) for each in stages),
            care=Care[care.upper()] if care else Care.NONE,
        )
        task = Task(
            "g",
            "g1",
            int(number),
            int(attempt),
            int(stage),
            giver,
            float(ms or 1000),
            sliced=slice is not None,
            itinerary=itinerary,
        )
        self.attempts[f"{number}.{attempt}"] = task
        return Arrived(giver, task, f"given by {giver}", 1000)

    def resume(
        self, number: str, attempt: str, stage: str, plan: str, route: str, care: str | None
    ) -> NodeEvent:
        how = Care[care.upper()] if care else Care.NONE
        itinerary = Itinerary(self.book.id, plan, _route(route), int(stage), care=how)
        about = ("g", "g1", int(number), int(attempt))
        resume = Resume(*about, int(stage), 1000.0, itinerary)
        self.attempts[f"{number}.{attempt}"] = resume
        return Arrived("g", resume)

    def ran(self, which: str, sure: str | None) -> NodeEvent:
        run = self.runs.pop(which)
        outcome = Outcome("made here", 100, None if sure is None else float(sure), "early")
        return Ran(run.jobs, (outcome,) * len(run.jobs), 10.0)

    def failed(self, which: str, text: str) -> NodeEvent:
        return RunFailed(self.runs.pop(which).jobs, text)

    def leave(self, which: str, stage: str, no: str | None = None) -> NodeEvent:
        return Arrived("g", Leave(*_about(self.attempts[which]), int(stage), no is None))

    def forget(self, numbers: str) -> NodeEvent:
        return Arrived("g", Forget("g", "g1", tuple(map(int, numbers.split()))))

    # -- what it does

    def say(self, action: Any) -> str:
        match action:
            case Send(to, message):
                if isinstance(message, Task | Resume):
                    which = f"{message.number}.{message.attempt}"
                    self.sent[to, which] = self.attempts[which] = message
                return f"{to}: {_message(message)}"
            case Run(jobs, apart=apart):
                for job in jobs:
                    self.runs[f"{job.number}.{job.attempt}"] = action
                each = " + ".join(f"{job.number}.{job.attempt}" for job in jobs)
                given = " + ".join(sorted(action.given[0].bodies))
                return (
                    f"run {each}, stage {jobs[0].stage}, on what {given} gave" + apart * ", apart"
                )
            case Deliver():
                early = f", early, sure by {action.confidence}" if action.left_early else ""
                absent = (
                    f", without the slices of {' '.join(action.absent)}" if action.absent else ""
                )
                return f"answer {action.number}: plan {action.plan}{early}{absent}"
            case Reject(number, kind, text):
                return f"reject {number} ({kind}): {text}"
            case Drained():
                return "drained"
            case _:
                return str(action)


WHICH = r"(?P<which>\d+\.\d+)"
NAME = r"(?P<name>\w)"
STAGE = r"stage (?P<stage>\d)"
CARE = r"(?:, (?P<care>alone|apart))?"
ATTEMPT = r"(?P<number>\d+)\.(?P<attempt>\d+)"
ROUTE = r"route (?P<route>[\w/+-]+)"
WORDS: dict[str, Callable[..., NodeEvent | list[NodeEvent]]] = {
    r"asked (?P<number>\d+)(?:, (?P<images>\d+) images)?, within (?P<ms>\d+) ms": Player.asked,
    r"cancelled (?P<number>\d+)": Player.cancelled,
    "tick": Player.tick,
    "drain": Player.drain,
    rf"{NAME} is lost": Player.lost,
    rf"{NAME} is seen again": Player.back,
    rf"{NAME} starts anew": Player.anew,
    rf"{NAME} has the parts of (?P<plan>\w+)": Player.has_reserve,
    rf"{WHICH} did not leave for {NAME}, (?:which|the link to which) "
    r"(?P<full>is full|is not there)": Player.unsent,
    rf"{NAME} answers {WHICH}(?:, early at {STAGE}, sure by (?P<sure>[\d.]+))?"
    r"(?:: (?P<runs>.*))?": Player.answers,
    rf"{NAME} refuses {WHICH} at {STAGE}: (?P<why>[\w ]+?)(?:, lacking (?P<lacking>[\w ]+))?"
    r"(?: \((?P<text>.*)\))?": Player.refuses,
    rf"{NAME} passed {WHICH} on to (?P<to>\w) for {STAGE}": Player.passed,
    rf"{NAME} asks for leave to run {WHICH}, {STAGE}": Player.asks,
    rf"{NAME} has run {WHICH}, {STAGE}": Player.over,
    rf"task {ATTEMPT} from (?P<giver>\w): {STAGE} of (?P<plan>\w+)(?P<slice>, a slice)?"
    rf"(?:, {ROUTE})?{CARE}(?:, within (?P<ms>\d+) ms)?": Player.task,
    rf"resume {ATTEMPT}: {STAGE} of (?P<plan>\w+), {ROUTE}{CARE}": Player.resume,
    rf"ran {WHICH}(?:, sure by (?P<sure>[\d.]+))?": Player.ran,
    rf"the run of {WHICH} failed: (?P<text>.*)": Player.failed,
    rf"leave to run {WHICH}, {STAGE}": Player.leave,
    rf"not to run {WHICH}, {STAGE}(?P<no>) any more": Player.leave,
    r"forget (?P<numbers>[\d ]+)": Player.forget,
}


def _stage(text: str) -> Stage:
    devices, layers, *least = text.split(" ")
    first, last = map(int, layers.split("-"))
    if "+" in devices:
        return every(first, last, devices.split("+"), least=int(least[1]) if least else 1)
    return one(first, last, devices.split("|"))


def _about(message: Task | Resume) -> tuple[str, str, int, int]:
    return message.gateway, message.incarnation, message.number, message.attempt


def _told(message: Task | Resume) -> Itinerary:
    assert message.itinerary is not None
    return message.itinerary


def _route(text: str) -> Route:
    return tuple(() if step == "-" else tuple(step.split("+")) for step in text.split("/"))


def _way(route: Route) -> str:
    return "/".join("+".join(step) or "-" for step in route) or "free"


def _message(message: CoreMessage) -> str:
    match message:
        case Task():
            sliced = ", a slice" if message.sliced else ""
            where = f"task {message.number}.{message.attempt}, stage {message.stage}"
            way = message.itinerary
            if way is None:
                return f"{where}{sliced}, as it was told"
            return f"{where} of {way.plan}{sliced}, route {_way(way.route)}{_how(way)}"
        case Resume():
            return (
                f"resume {message.number}.{message.attempt}, stage {message.stage} of "
                f"{message.itinerary.plan}, route {_way(message.itinerary.route)}"
                f"{_how(message.itinerary)}"
            )
        case Answered():
            early = f", early, sure by {message.confidence}" if message.left_early else ""
            absent = f", without {' '.join(message.absent)}" if message.absent else ""
            return f"answer {message.number}.{message.attempt}{early}{absent}"
        case Refused():
            lacking = f", lacking {' '.join(message.absent)}" if message.absent else ""
            text = f" ({message.text})" if message.text else ""
            which = f"{message.number}.{message.attempt}"
            return f"refuse {which} at stage {message.stage}: {message.why}{lacking}{text}"
        case Moved(stage=stage, route=route):
            return f"{message.number}.{message.attempt} goes by {_way(route)}, now at stage {stage}"
        case Trial(stage=stage, over=over):
            what = "has run" if over else "asks for leave to run"
            return f"{what} {message.number}.{message.attempt}, stage {stage}"
        case Leave(stage=stage, run=run):
            which = f"{message.number}.{message.attempt}, stage {stage}"
            return f"leave to run {which}" if run else f"not to run {which} any more"
        case Forget(numbers=numbers, settled=settled):
            each = " ".join(map(str, numbers))
            return f"forget {each}" if numbers else f"forget all below {settled}"
        case Install(book):
            return "install" if book.id == "book" else f"install {book.plans[0].name} from reserve"
        case Uninstall(book_id):
            return "let go of all" if book_id == "book" else "let go of what was in reserve"
        case _:
            return str(message)


def _how(message: Itinerary) -> str:
    care = "" if message.care is Care.NONE else f", {message.care.name.lower()}"
    return care + (f", without {' '.join(message.without)}" if message.without else "")


if __name__ == "__main__":
    sys.stdout.write(play(Path(sys.argv[1]).read_text(encoding="utf-8")))

"""A request as its gateway keeps it until it is answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from shoal.core.events import Body
from shoal.core.gateway.devices import Given
from shoal.core.gateway.queue import Turn, turn
from shoal.core.gateway.suspects import Digests
from shoal.core.messages import Care, Route, Values
from shoal.core.shared.gather import Gather
from shoal.core.shared.routes import LinkName, links
from shoal.plan.plan import Plan

Narrow: TypeAlias = tuple[tuple[str, str], ...]
"""Devices, each with a part that it has too little memory for."""
NO_VALUES = Values()
MAX_TRIES = 16
MAX_FAULTS = 4
MAX_FAULT = 200
MAX_BLAMED = 32


class KeptSource(NamedTuple):
    """Where tensors are kept that a request can go on from: the device, and their names."""

    holder: str
    names: tuple[str, ...]


class Try(NamedTuple):
    """An attempt: the plan that it follows, of which playbook, from which stage, when it began
    (seconds), and what was asked and is not expected of it."""

    playbook: str
    plan: Plan
    start: int
    began: float
    unmet: tuple[str, ...] = ()


@dataclass(slots=True)
class Request:
    """One request, of one image or several. Of those that wait those of a higher ``priority`` come
    first. ``traced``: with full traces. Times in seconds on the gateway's clock.

    An attempt is under way while ``plan`` is set; it follows ``route`` from the stage ``start``,
    whose inputs come from ``source`` (None: from here), with ``values`` of its policy. It is known
    to have reached the stage ``reached``. ``out`` are devices that will not do their part in it.
    ``gather`` takes the slices when the last stage is run by all of its holders.

    Over all attempts: ``tries`` are the latest by number (an answer to any of them counts),
    ``touched`` the devices that were given something, ``given`` what of it is outstanding,
    ``blamed`` those that failed or refused it (the latest last), ``narrow`` those that have too
    little memory for so many images, ``failures`` in how many attempts it failed; ``refusals`` and
    ``extensions`` how often it was refused and more patience was had; ``faults`` what was heard.
    ``lives`` are those of the devices that may be at it. Where devices
    were lost, ``digests`` name its content (worked out when that is first asked for), ``care`` is
    how it is run, and ``going`` are the devices, and their lives, that have begun to run it alone.
    """

    number: int
    body: Body
    admitted: float
    deadline: float
    images: int = 1
    priority: int = 0
    traced: bool = False
    attempt: int = 0
    playbook: str = ""
    plan: Plan | None = None
    route: Route = ()
    values: Values = NO_VALUES
    start: int = 0
    reached: int = 0
    source: KeptSource | None = None
    out: set[str] = field(default_factory=set)
    gather: Gather | None = None
    failed: bool = False
    tries: OrderedDict[int, Try] = field(default_factory=OrderedDict)
    touched: set[str] = field(default_factory=set)
    given: Given = field(default_factory=dict)
    blamed: tuple[str, ...] = ()
    narrow: Narrow = ()
    failures: int = 0
    refusals: int = 0
    extensions: int = 0
    faults: list[str] = field(default_factory=list)
    lives: dict[str, str] = field(default_factory=dict)
    digests: Digests = ()
    care: Care = Care.NONE
    going: dict[str, str] = field(default_factory=dict)

    @property
    def turn(self) -> Turn:
        """Its place among those that wait."""
        return turn(self.number, self.priority, self.deadline)

    @property
    def in_flight(self) -> bool:
        """Whether an attempt is under way."""
        return self.plan is not None

    def links(self, gateway: str) -> set[LinkName]:
        """The links that the attempt under way takes, as far as they are known."""
        if self.plan is None:
            return set()
        first = gateway if self.source is None else self.source.holder
        return links(self.route, self.start, first)

    def fault(self, text: str) -> None:
        """Remember what went wrong; the last few are told when the request fails."""
        text = text[:MAX_FAULT]
        if text not in self.faults:
            self.faults = [*self.faults[1 - MAX_FAULTS :], text]

    def asks(self, device: str) -> bool:
        """Whether the attempt under way has a device do something, as far as it is known."""
        if self.plan is None:
            return False
        held = self.source is not None and self.source.holder == device
        return held or any(device in names for names in self.route[self.start :])

    def done_by(self, device: str) -> None:
        """A device does nothing for this request any more."""
        self.lives.pop(device, None)
        self.going.pop(device, None)

    def blame(self, devices: Iterable[str]) -> None:
        """Remember who is to be done without if possible."""
        for name in devices:
            others = (other for other in self.blamed if other != name)
            self.blamed = (*others, name)[-MAX_BLAMED:]

    def note_narrow(self, device: str, stage: int) -> None:
        """A device has too little memory for its part of a stage of the attempt under way."""
        stages = self.plan.stages if self.plan is not None else ()
        if 0 <= stage < len(stages) and device in stages[stage].parts:
            self.narrow = (*self.narrow, (device, stages[stage].parts[device]))

    def begin(
        self, playbook: str, plan: Plan, start: int, now: float, unmet: tuple[str, ...] = ()
    ) -> None:
        """Begin the next attempt, at the stage ``start`` of ``plan``."""
        self.attempt += 1
        self.playbook, self.plan = playbook, plan
        self.start = self.reached = start
        self.tries[self.attempt] = Try(playbook, plan, start, now, unmet)
        if len(self.tries) > MAX_TRIES:
            self.tries.popitem(last=False)
        self.out.clear()
        self.gather, self.failed = None, False


class RoundTrip:
    """A bound on how long an attempt takes, learned from those that were answered: the smoothed
    time plus four mean deviations (Jacobson 1988; RFC 6298), within limits, in seconds."""

    def __init__(self, floor_s: float, ceiling_s: float = 30.0) -> None:
        self._floor_s, self._ceiling_s = floor_s, ceiling_s
        self._mean: float | None = None
        self._deviation = 0.0

    def observe(self, seconds: float) -> None:
        """Take in the time of an attempt that was answered."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8

    def timeout(self, forecast_s: float, slack_s: float = 0.0) -> float:
        """How long to wait for an attempt that is forecast to take ``forecast_s``, and may take
        ``slack_s`` longer where it goes on without a device that is silent. Where that is known it
        says how long silence is no fault, and no other floor is needed."""
        if self._mean is None:
            bound = max(self._floor_s, 10 * forecast_s + 0.5) + slack_s
        elif slack_s:
            bound = self._mean + 4 * self._deviation + slack_s
        else:
            bound = max(self._floor_s, self._mean + 4 * self._deviation, 2 * forecast_s)
        return min(self._ceiling_s, bound)

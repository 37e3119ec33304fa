"""A request as its gateway keeps it until it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.core.events import Body
from shoal.core.messages import Route, StageTrace
from shoal.plan.plan import Plan


@dataclass(slots=True)
class Request:
    """One request. Times in seconds on the gateway's clock.

    ``touched`` are all devices that were given it, ``avoid`` those that failed it; ``faults`` is
    what was heard of that, ``failures`` how many runs failed. ``slices`` gather when the last
    stage is run by all of its holders.
    """

    number: int
    body: Body
    admitted: float
    deadline: float
    attempt: int = 0
    playbook: str = ""
    plan: Plan | None = None
    route: Route = ()
    start: int = 0
    sent: float = 0.0
    extensions: int = 0
    failures: int = 0
    not_before: float = 0.0
    holder: str = ""
    touched: set[str] = field(default_factory=set)
    avoid: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    slices: dict[str, Body] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    traces: dict[StageTrace, None] = field(default_factory=dict)

    @property
    def in_flight(self) -> bool:
        """Whether an attempt is under way."""
        return self.plan is not None

    def fault(self, text: str) -> None:
        """Remember what went wrong; the last few are told when the request fails."""
        if text not in self.faults:
            self.faults = [*self.faults[-3:], text]

    def relies_on(self, device: str) -> bool:
        """Whether the attempt under way cannot be answered without ``device``."""
        if not self.in_flight:
            return False
        if not self.route:
            return self.holder == device
        return any(names == (device,) for names in self.route[self.start :])


class RoundTrip:
    """A bound on how long an attempt takes, learned from those that were answered: the smoothed
    time plus four mean deviations (Jacobson 1988; RFC 6298), within limits, in seconds."""

    def __init__(self, floor_s: float, ceiling_s: float) -> None:
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

    def timeout(self, forecast_s: float) -> float:
        """How long to wait for an attempt that is forecast to take ``forecast_s``."""
        if self._mean is None:
            bound = 10 * forecast_s + 0.5
        else:
            bound = max(self._mean + 4 * self._deviation, 2 * forecast_s)
        return min(self._ceiling_s, max(self._floor_s, bound))

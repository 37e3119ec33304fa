"""What a user may set of ``relay``."""

from __future__ import annotations

import math

import msgspec

from shoal.errors import PlanError
from shoal.plan.thresholds import NEVER
from shoal.strategies.options import Options
from shoal.strategies.relay.rules import Rules

FIXED = ("accuracy", "rate")
TOPOLOGIES = ("mesh", "ring", "line")
LOOSEST = 0.3
CONFIDENCE = 0.95
MAX_RATE = 1e9
USUAL = Rules()


class RelayOptions(Options, frozen=True):
    """The options of ``relay``. ``fixed`` says what stays: the ``accuracy``, and as much begins as
    can be done; or the ``rate`` at which clients ask, and the thresholds of exits follow it, down
    to ``loosest``. ``thresholds`` (numbers with commas between) are used as they are, else those
    are sought that keep the accuracy with ``confidence``. ``topology`` says who may give to whom:
    each to each other (``mesh``), or only to those before and after it in the cluster file
    (``line``; ``ring``: the last and the first too). ``rate`` is how many images are asked for in a
    second: it is told whether that can be held. The rest are the numbers of the rules."""

    fixed: str = FIXED[0]
    thresholds: str | None = None
    confidence: float = CONFIDENCE
    loosest: float = LOOSEST
    topology: str = TOPOLOGIES[0]
    rate: float | None = None
    short: float = USUAL.short
    long: float = USUAL.long
    crowded: float = USUAL.crowded
    alpha: float = USUAL.alpha
    beta: float = USUAL.beta
    zeta: float = USUAL.zeta
    window: float = USUAL.window

    def __post_init__(self) -> None:
        if self.fixed not in FIXED:
            raise PlanError(f"fixed: there is no {self.fixed!r}; use one of {', '.join(FIXED)}")
        if self.topology not in TOPOLOGIES:
            raise PlanError(
                f"topology: there is no {self.topology!r}; use one of {', '.join(TOPOLOGIES)}"
            )
        if not 0.5 <= self.confidence < 1:
            raise PlanError(
                f"confidence: {self.confidence:g} is none; write 0.5 (a best guess) up to 0.999"
            )
        if not 0 <= self.loosest <= 1:
            raise PlanError(f"loosest: {self.loosest:g} is no threshold; write 0 to 1")
        if self.rate is not None and not 0 < self.rate <= MAX_RATE:
            raise PlanError(
                f"rate: {self.rate:g} images in a second are none to hold; write more than 0, at "
                f"most {MAX_RATE:g}"
            )
        if not 0 <= self.short <= self.long <= 1e6:
            raise PlanError(
                f"short ({self.short:g}) must not be above long ({self.long:g}), both in tasks"
            )
        for name in ("crowded", "window"):
            value = getattr(self, name)
            if not 0 < value <= 1e6:
                raise PlanError(f"{name}: {value:g} is no number of tasks; write 1 or more")
        for name in ("alpha", "beta", "zeta"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise PlanError(f"{name}: {value:g} is no rate of change; write 0.1, say")

    @property
    def rules(self) -> Rules:
        """The numbers of the rules."""
        known = {field.name for field in msgspec.structs.fields(Rules)}
        return Rules(**{k: v for k, v in msgspec.structs.asdict(self).items() if k in known})

    @property
    def given(self) -> tuple[float, ...] | None:
        """The thresholds that are to be used. PlanError for what are no numbers."""
        if self.thresholds is None:
            return None
        try:
            found = tuple(map(float, self.thresholds.split(",")))
        except ValueError:
            found = (math.nan,)
        if not all(math.isfinite(each) and each >= 0 for each in found):
            raise PlanError(
                f"thresholds: {self.thresholds!r} are none; write numbers like 0.9,0.8 (0: all "
                "leave, above 1: none)"
            )
        return tuple(min(each, NEVER) for each in found)

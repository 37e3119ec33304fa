"""What a head may say at most and at least: the last that is read, the first that is refused."""

import math
from typing import Any

import pytest
from msgspec.structs import replace

from shoal.core.messages import (
    MAX_IMAGES,
    Answered,
    Busy,
    Heard,
    Holding,
    Itinerary,
    Leave,
    Load,
    Loading,
    Moved,
    Refused,
    Resume,
    StageTrace,
    Task,
    Trial,
    Values,
    Why,
)
from shoal.errors import FrameError
from shoal.plan.playbook_check import MAX_NAME, MAX_PARTS
from shoal.runtime import wire

ITINERARY = Itinerary("book", "plan", (("a",), ("b",)))
TASK = Task("g", "1", 3, 1, 0, "g", 100.0, itinerary=ITINERARY)
RESUME = Resume("g", "1", 3, 1, 0, 100.0, ITINERARY)
ANSWERED = Answered("g", "1", 3, 1, "plan", 0, "b", trace=(StageTrace(0, "a", 0.0, 0.0),))
REFUSED = Refused("g", "1", 3, 1, 0, Why.OVERLOADED)
MOVED = Moved("g", "1", 3, 1, 0, ())
TRIAL = Trial("g", "1", 3, 1, 0)
LEAVE = Leave("g", "1", 3, 1, 0)
MEASURED = wire.Measured(1, (0.0, 2.0))
WAY = wire.MeasuredWay(1, 0.0, 0.0)

NO_TIMES = (-0.1, math.nan, math.inf)


def going(**changes: Any) -> list[Any]:
    """Messages whose itinerary says this."""
    itinerary = replace(ITINERARY, **changes)
    return [replace(message, itinerary=itinerary) for message in (TASK, RESUME)]


def traced(**changes: Any) -> list[Any]:
    """Messages of which the last step says this."""
    step = replace(StageTrace(0, "a", 0.0, 0.0), **changes)
    trace = (StageTrace(0, "a", 1.0, 1.0), step)
    return [replace(message, trace=trace) for message in (TASK, ANSWERED)]


def loaded(**changes: Any) -> list[Any]:
    """Messages that tell of this load."""
    load = replace(Load(), **changes)
    return [*(replace(message, load=load) for message in (TASK, ANSWERED, REFUSED)), Busy(load)]


def at_stage(stage: int) -> list[Any]:
    every = (TASK, RESUME, ANSWERED, REFUSED, MOVED, TRIAL, LEAVE)
    return [replace(message, stage=stage) for message in every]


READ = [
    *going(images=1),
    *going(images=MAX_IMAGES),
    *going(start=0),
    *going(start=7),
    *going(values=Values(((0, 0.5), (1, -1e30)))),
    *at_stage(0),
    *traced(stage=0, batch=1, wait_ms=0.0, run_ms=0.0),
    *traced(wait_ms=None),
    *loaded(waiting=0, running=0, held=0, run_ms=0.0),
    *(replace(ANSWERED, confidence=sure) for sure in (None, 0.0, 1.0)),
    MEASURED,
    WAY,
    replace(WAY, rtt_ms=2.0, bytes_per_s=1e12),
    replace(TASK, budget_ms=-5.0),
    replace(RESUME, budget_ms=-5.0),
    Holding(("x" * MAX_NAME,) * 3),
    Holding(("x",) * MAX_PARTS),
    Loading("x" * MAX_NAME),
    Heard("x" * MAX_NAME),
]

REFUSED_ONES = [
    *(message for images in (0, MAX_IMAGES + 1) for message in going(images=images)),
    *going(start=-1),
    *(
        message
        for threshold in (math.nan, math.inf, -math.inf)
        for message in going(values=Values(((0, 0.5), (1, threshold))))
    ),
    *at_stage(-1),
    *traced(stage=-1),
    *traced(batch=0),
    *(message for time in NO_TIMES for message in traced(wait_ms=time)),
    *(message for time in NO_TIMES for message in traced(run_ms=time)),
    *(message for name in ("waiting", "running", "held") for message in loaded(**{name: -1})),
    *(message for time in NO_TIMES for message in loaded(run_ms=time)),
    *(replace(ANSWERED, confidence=sure) for sure in (-0.01, 1.01, math.nan)),
    *(replace(MEASURED, run_ms=(1.0, time)) for time in NO_TIMES),
    *(replace(WAY, rtt_ms=time) for time in NO_TIMES),
    *(replace(WAY, bytes_per_s=time) for time in NO_TIMES),
    *(replace(TASK, budget_ms=time) for time in (math.nan, math.inf, -math.inf)),
    *(replace(RESUME, budget_ms=time) for time in (math.nan, math.inf, -math.inf)),
    Holding(("x", "x" * (MAX_NAME + 1))),
    Holding(("x",) * (MAX_PARTS + 1)),
    Loading("x" * (MAX_NAME + 1)),
    Heard("x" * (MAX_NAME + 1)),
]


def named(message: Any) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", READ, ids=named)
def test_the_last_that_can_be_is_read(message: Any) -> None:
    assert wire.decode(wire.encode(message)).message == message


@pytest.mark.parametrize("message", REFUSED_ONES, ids=named)
def test_the_first_that_cannot_be_is_refused(message: Any) -> None:
    with pytest.raises(FrameError):
        wire.decode(wire.encode(message))

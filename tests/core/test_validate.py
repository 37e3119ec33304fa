"""What must be true of a node is seen when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.core.alone import LoneGateway, LoneWorker, of
from tests.core.toys import every, one, plan, playbook

from shoal.core.actions import Run
from shoal.core.events import JobKey
from shoal.core.gateway.suspects import _Case
from shoal.core.messages import DeviceInfo
from shoal.core.shared.membership import State
from shoal.core.validate import broken

BOOK = playbook(plan("ab", one(0, 6, "a"), one(6, 12, "b")), plan("c", one(0, 12, "c")))
JOINED = playbook(plan("abc", every(0, 6, "abc"), one(6, 12, "a")))


def gateway() -> Any:
    """With eight requests, of which the last two wait for their turn."""
    made = LoneGateway(BOOK, window_per_device=2)
    for number in range(8):
        made.ask(number)
    return made


def worker() -> Any:
    """With a run, a job that waits, and an output that is kept."""
    made = LoneWorker(BOOK)
    (run,) = of(Run, made.task(0, "ab"))
    made.task(1, "ab")
    made.ran(run)
    made.task(2, "ab")
    return made


def gathering() -> Any:
    """With a job that waits for slices."""
    made = LoneWorker(JOINED)
    made.task(0, "abc", stage=1, giver="b", sliced=True)
    return made


GATEWAY: dict[str, Callable[[Any], object]] = {
    "stages, 0 are counted": lambda g: setattr(g.devices["a"], "outstanding", 0),
    "ms of work, 0.0 are counted": lambda g: setattr(g.devices["a"], "work_ms", 0.0),
    "attempts are counted as under way": lambda g: setattr(g._state.flights, "count", 9),
    "an attempt is never doubted": lambda g: g._state.flights.doubts.clear(0),
    "a request has no deadline": lambda g: g._state.deadlines.clear(0),
    "neither waits nor is under way": lambda g: g._state.queue.drop(7),
    "waits, and nobody will look": lambda g: setattr(g._state.flights, "count", 0),
    "requests follow book": lambda g: setattr(g.playbooks.all()[0], "users", 0),
    "count as over": lambda g: setattr(g._state.settling, "settled", 3),
    "owed news": lambda g: (
        g._state.settling._highest.update(a=1) or setattr(g._state.settling, "_at", None)
    ),
    "suspect, some of nothing": lambda g: g._state.suspects._cases.update({("x",): _Case()}),
    "does not wake up": lambda g: setattr(g, "wake_at", 1e9),
    "never got it": lambda g: g.requests[0].lives.update(z="z1"),
    "blames 40 devices": lambda g: setattr(g.requests[0], "blamed", ("z",) * 40),
    "in an attempt that was never begun": lambda g: g.requests[0].tries.clear(),
    "remembers 20 attempts": lambda g: g.requests[0].tries.update(dict.fromkeys(range(2, 21))),
    "devices count as busy": lambda g: g.requests[7].given.update(a=(0, 0.0)),
    "as suspect or gone": lambda g: setattr(g.members.get("a"), "state", State.GONE),
    "not seen yet": lambda g: g.members._early.update(
        {str(k): DeviceInfo(str(k), "1") for k in range(300)}
    ),
}
WORKER: dict[str, Callable[[Any], object]] = {
    "bytes of inputs are counted": lambda w: setattr(w.inbox, "bytes", 5),
    "nobody will run it": lambda w: w.inbox._ready.clear(),
    "queued that are run": lambda w: w.inbox._ready.update(dict.fromkeys(w.inbox.running)),
    "queued that are not here": lambda w: w.inbox._ready.update({JobKey("g", "g1", 9, 1, 0): None}),
    "of each request": lambda w: w.inbox._of.clear(),
    "running that nobody runs": lambda w: w._runs.clear(),
    "runs are under way": lambda w: w._runs.update({(JobKey("g", "g1", 9, 1, 0),): 1}),
    "are counted as kept": lambda w: setattr(w.kept, "_bytes", 7),
    "counted twice": lambda w: next(iter(w.attempts._owners.values())).numbers.append(5),
    "no memory is counted": lambda w: w.library._memory.clear(),
    "that nobody asked for": lambda w: next(iter(w.library._shelves.values())).owners.clear(),
    "none is fetched": lambda w: (
        w.library._ready.clear(),
        next(iter(w.library._shelves.values())).waiting.add("0-6"),
    ),
    "only to be brought": lambda w: (
        w.library._ready.clear(),
        next(iter(w.library._shelves.values())).waiting.add("0-6"),
        next(iter(w.library._shelves.values())).bringing.add("0-6"),
    ),
    "that no playbook has": lambda w: w.library._memory.update(other=1),
}


@pytest.mark.parametrize("what", GATEWAY)
def test_what_is_wrong_with_a_gateway_is_seen(what: str) -> None:
    _breaks(gateway, what, GATEWAY[what])


@pytest.mark.parametrize("what", WORKER)
def test_what_is_wrong_with_a_worker_is_seen(what: str) -> None:
    _breaks(worker, what, WORKER[what])


def test_slices_that_are_awaited_for_ever_are_seen() -> None:
    _breaks(gathering, "may wait for slices for ever", lambda w: w._intake._deadlines.__init__())
    _breaks(gathering, "jobs that are not here", lambda w: w.inbox.jobs.clear())


def _breaks(make: Callable[[], Any], what: str, spoil: Callable[[Any], object]) -> None:
    made = make()
    assert broken(made.node) == []
    spoil(made.core)
    assert any(what in each for each in broken(made.node)), broken(made.node)

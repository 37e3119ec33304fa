"""The device's process in the lab: serves playbooks one after the other and measures them.

    python -m shoal_benchmarks.split.driver CLUSTER STORE IMAGES

It is told by lines of JSON on its standard input and answers each with a line.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

WINDOW = 3
"""Requests under way."""


class Order(msgspec.Struct, frozen=True):
    """``playbook``: serve this one. ``seconds``: ask for so long with ``window`` requests under
    way, of ``together`` images each, then for half as long one by one (``few``: not these), and for
    longer where so few are answered that their number says nothing. ``follow``: ask one by one for
    ``seconds``, and tell when each answer came. ``rate``: ask so often in a second, by chance,
    whatever is under way, each to be answered within ``budget_ms``, and tell the same."""

    playbook: str | None = None
    seconds: float = 0.0
    window: int = WINDOW
    together: int = 1
    few: bool = False
    follow: bool = False
    rate: float = 0.0
    budget_ms: float = 10_000.0


class Told(msgspec.Struct, frozen=True, array_like=True):
    """A request: when it was asked and answered (monotonic clock of this machine), by which
    plan; ``lost`` where there was no answer. ``degraded`` and ``accuracy`` are what it said of
    itself, ``computed_ms`` is how long the slowest device computed at each stage, in all. ``why``
    is the error where it is lost; ``right``: it is the class that is expected; ``tasks`` are those
    that were run, ``by`` are the devices that ran them. ``number`` counts what was asked: who is
    told of twice has ended twice, and who is not told of has not."""

    asked_s: float
    answered_s: float
    plan: str
    lost: bool = False
    degraded: bool = False
    accuracy: float | None = 1.0
    computed_ms: float = 0.0
    why: str = ""
    right: bool = True
    tasks: int = 0
    by: tuple[str, ...] = ()
    number: int = 0


class Measured(msgspec.Struct, frozen=True):
    """What was measured: images in ``seconds`` with a window (after the first answer), the times of
    single requests, how often the class was the whole network's, which plans answered, and the
    time on the server. Of those with a window: their times (``busy_ms``), how many took how many
    ``tasks``, and how often a task went on elsewhere than where the one before it was run
    (``handed``). Of those at a rate: how many were ``asked``. ``error`` says why there is nothing
    of this."""

    images: int = 0
    seconds: float = 0.0
    latencies_ms: tuple[float, ...] = ()
    agreed: int = 0
    answered: int = 0
    plans: dict[str, int] = {}
    server_ms: float = 0.0
    busy_ms: tuple[float, ...] = ()
    tasks: dict[int, int] = {}
    handed: int = 0
    asked: int = 0
    told: tuple[Told, ...] = ()
    error: str = ""


ENOUGH, LEAST, LEAST_SINGLE = 16, 6, 3
"""Requests with a window that are enough to tell a rate, those (and single ones) that are sent
however long they take."""
LOOK_S = 0.01
PATIENCE_S = 3.0
"""How long more than the least are waited for."""
READY_S = 60.0


def main(cluster: str, store: str, images: str) -> None:
    """Serve the bench until its input ends."""
    import shoal
    from shoal.errors import ShoalError
    from shoal.plan.playbook import load
    from shoal_benchmarks.split.baselines import install

    install()
    where = shoal.Cluster.load(cluster)
    with np.load(images) as stored:
        cases = list(stored["images"])
        expected = [int(top1) for top1 in stored["expected"]]
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    service: Any = None
    try:
        for line in sys.stdin.buffer:
            order = msgspec.json.decode(line, type=Order)
            measured = Measured()
            try:
                if order.playbook is not None:
                    playbook = load(order.playbook)
                    if service is None:
                        parts = shoal.PartStore(Path(store))
                        service = shoal.deploy(playbook, where, store=parts, wait_s=READY_S)
                    else:
                        service.adopt(playbook)
                        service.wait_ready(READY_S)
                    name = playbook.inputs[0].name
                    for case in cases[:2]:
                        service.infer({name: case[None]})
                if order.rate:
                    asked, told = pour(service, name, cases, expected, order)
                    measured = Measured(asked=asked, told=told)
                elif order.follow:
                    measured = Measured(told=follow(service, name, cases, order.seconds))
                elif order.few or order.seconds:
                    measured = measure(service, name, where.gateway.name, cases, expected, order)
            except ShoalError as error:
                measured = Measured(error=str(error))
            replies.write(msgspec.json.encode(measured) + b"\n")
            replies.flush()
    finally:
        if service is not None:
            service.close()


def follow(service: Any, name: str, cases: list[Any], seconds: float) -> tuple[Told, ...]:
    """Ask one by one, and note what becomes of each."""
    from shoal.errors import RequestError

    numbers = cycle(range(len(cases)))
    told = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asked_s = time.monotonic()
        try:
            answer = service.infer({name: cases[next(numbers)][None]})
        except RequestError:
            told.append(Told(asked_s, time.monotonic(), "", lost=True))
            continue
        about = (answer.plan, False, answer.degraded, answer.accuracy, computed_ms(answer.trace))
        told.append(Told(asked_s, time.monotonic(), *about))
    return tuple(told)


def pour(
    service: Any, name: str, cases: list[Any], expected: list[int], order: Order
) -> tuple[int, tuple[Told, ...]]:
    """Ask at a rate; how often was asked, and what becomes of each request, in the order in which
    they end."""
    from shoal.errors import RequestError

    told: list[Told] = []
    waiting: set[int] = set()  # numbers alone: what was kept would count as memory that grows

    def become(future: Any, asked_s: float, case: int, number: int) -> Told:
        error, now_s = future.exception(), time.monotonic()
        if error is not None:
            return lost(asked_s, now_s, error, number)
        answer = future.result()
        return Told(
            asked_s,
            now_s,
            answer.plan,
            degraded=answer.degraded,
            accuracy=answer.accuracy,
            right=int(next(iter(answer.outputs.values())).argmax()) == expected[case],
            tasks=len(answer.trace),
            by=tuple(dict.fromkeys(step.device for step in answer.trace)),
            number=number,
        )

    def take(asked_s: float, case: int, number: int) -> Callable[[Any], None]:
        def ended(future: Any) -> None:
            told.append(become(future, asked_s, case, number))
            waiting.discard(number)  # now that it is told

        return ended

    began_s, number = time.monotonic(), -1
    for number, at_s in enumerate(moments(order.rate, order.seconds)):
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        asked_s, case = time.monotonic(), number % len(cases)
        waiting.add(number)
        try:
            future = service.submit({name: cases[case][None]}, order.budget_ms)
        except RequestError as error:
            told.append(lost(asked_s, asked_s, error, number))
            waiting.discard(number)
            continue
        future.add_done_callback(take(asked_s, case, number))
    until_s = time.monotonic() + order.budget_ms / 1e3 + PATIENCE_S
    while waiting and time.monotonic() < until_s:
        time.sleep(LOOK_S)
    return number + 1, tuple(told)


def lost(asked_s: float, ended_s: float, error: BaseException, number: int) -> Told:
    """A request without an answer."""
    return Told(asked_s, ended_s, "", lost=True, why=type(error).__name__, number=number)


def moments(rate: float, seconds: float) -> Iterator[float]:
    """When :func:`pour` asks, in seconds from its beginning: the same each time."""
    chance, at_s = np.random.default_rng(0), 0.0
    while (at_s := at_s + float(chance.exponential(1 / rate))) <= seconds:
        yield at_s


def computed_ms(trace: Sequence[Any]) -> float:
    """How long the slowest device computed at each stage of a trace, in all."""
    slowest: dict[int, float] = {}
    for step in trace:
        slowest[step.stage] = max(step.run_ms, slowest.get(step.stage, 0.0))
    return sum(slowest.values())


def measure(
    service: Any, name: str, here: str, cases: list[Any], expected: list[int], order: Order
) -> Measured:
    """Ask with a window, then one by one."""
    numbers = cycle(range(len(cases)))
    asked: list[int] = []
    began = time.monotonic()
    together = order.together
    enough = LEAST if order.few else ENOUGH

    def on() -> bool:
        passed_s = time.monotonic() - began
        few = len(asked) < together * (enough if passed_s < PATIENCE_S else LEAST)
        return few or passed_s < order.seconds or bool(len(asked) % together)

    def inputs() -> Iterator[dict[str, Any]]:
        while on():
            number = next(numbers)
            asked.append(number)
            yield {name: cases[number][None]}

    answers, done = [], []
    for answer in service.infer_many(inputs(), window=order.window, together=together):
        answers.append(answer)
        done.append(time.monotonic())
    busy = answers[::together]
    latencies: list[float] = []
    end = time.monotonic() + order.seconds / 2
    while not order.few and (time.monotonic() < end or len(latencies) < LEAST_SINGLE):
        taken = list(islice(numbers, together))
        asked += taken
        futures = service.submit_together([{name: cases[number][None]} for number in taken])
        answers += [future.result() for future in futures]
        latencies.append(answers[-1].latency_ms)
    found = [int(next(iter(answer.outputs.values())).argmax()) for answer in answers]
    # Those of one request have one trace.
    away = [stage.run_ms for a in answers[::together] for stage in a.trace if stage.device != here]
    return Measured(
        images=len(done) - together,
        seconds=done[-1] - done[0],
        latencies_ms=tuple(latencies),
        agreed=sum(top1 == expected[k] for top1, k in zip(found, asked, strict=True)),
        answered=len(answers),
        plans=dict(Counter(answer.plan for answer in answers)),
        server_ms=sum(away),
        busy_ms=tuple(answer.latency_ms for answer in busy),
        tasks=dict(Counter(len(answer.trace) for answer in busy)),
        handed=sum(handed(answer.trace) for answer in busy),
    )


def handed(trace: Sequence[Any]) -> int:
    """How often a task of a trace was run elsewhere than the one before it."""
    return sum(one.device != other.device for one, other in pairwise(trace))


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""The client's side: a gateway in this process that answers requests by a playbook."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple, NoReturn, Self, TypeAlias

import msgspec
import numpy as np

from shoal.codec.codecs import Array
from shoal.codec.frame import MAX_BYTES
from shoal.core.actions import Deliver, Reject
from shoal.core.events import Adopt, Cancelled, Release, Submitted
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.messages import MAX_IMAGES, Install
from shoal.core.story import Story, story
from shoal.errors import (
    ForkError,
    InputError,
    PlanError,
    PoisonError,
    RequestError,
    ShoalError,
    UnreachableError,
    UsageError,
    VersionError,
)
from shoal.mesh.events import MAX_HEAD
from shoal.model.network import check_feeds
from shoal.plan.plan import Playbook
from shoal.runtime import wire
from shoal.runtime.absent import look_for
from shoal.runtime.answer import Answer, make_answer, make_error
from shoal.runtime.body import Body
from shoal.runtime.node import Node
from shoal.runtime.observer import ObservedRequest, Observer, tell
from shoal.runtime.pending import Pending
from shoal.runtime.stats import DeviceStats, Recorder, ServiceStats
from shoal.runtime.together import check_together, images_in, joined, parted, take

log = logging.getLogger("shoal")

Feeds: TypeAlias = Mapping[str, Array] | Array
DEADLINE_MS = 10_000.0
MAX_PRIORITY = 100
MAX_WINDOW = 512
"""Requests of one :meth:`Service.infer_many` that may be under way; the gateway takes 1,024 of all
its clients."""
AHEAD = 4
"""Windows that :meth:`Service.infer_many` may ask for before an answer whose turn it is, so that it
is slow for itself alone."""
LEAST_WINDOW = 3
"""Requests under way, however large: one here, one on its way, one there."""
FAREWELL_S = 0.5
"""How long closing waits for the devices to take the news."""


class _Asked(NamedTuple):
    """A request under way, who waits for it, and whether that are several clients."""

    future: Future[Answer]
    request: ObservedRequest
    joined: bool


def no_callback(node: Node, what: str) -> None:
    """UsageError where the calling thread is one that all answers wait for."""
    if node.calling_back:
        raise UsageError(
            f"{what} in a callback, which runs on a thread that brings all answers: use submit() "
            "and add_done_callback() there, or hand over to a thread of your own"
        )


class Service:
    """Answers requests by a playbook until it is closed. Made by :func:`shoal.deploy`.

    All methods may be called from any thread; in a child made by fork they raise ForkError, and
    ``close`` does nothing. ``node`` must have a gateway; the service closes
    it. ``deadline_ms`` is for requests that state none. ``addresses`` of devices help to say why
    one is not there.
    """

    def __init__(
        self,
        playbook: Playbook,
        node: Node,
        deadline_ms: float = DEADLINE_MS,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        if node.core.gateway is None:
            raise ValueError("a service needs a node with a gateway")
        self.playbook = playbook
        self.node = node
        node.service = self
        self.deadline_ms = deadline_ms
        self._addresses = dict(addresses or {})
        self._gateway: GatewayCore = node.core.gateway
        self._recorder = Recorder()
        self._observers: tuple[Observer, ...] = (self._recorder,)
        self._lock = threading.Lock()
        self._entrance = threading.RLock()
        self._entering = False
        self._numbers = itertools.count()
        self._futures: dict[int, _Asked] = {}
        self._closed = False
        self._broken: ShoalError | None = None

    # -- asking

    def submit(
        self,
        feeds: Feeds,
        deadline_ms: float | None = None,
        priority: int = 0,
        trace: bool = False,
    ) -> Future[Answer]:
        """Ask, and go on: the future gets the Answer, or a RequestError that says why not.

        ``feeds`` maps the network's inputs to arrays (or is the one input's array); they are
        copied, so the caller may use them again at once. Callbacks of the future run on
        threads that decide for all requests: keep them short, and do not wait in them (to wait for
        another answer there is a UsageError). Of the requests that wait those of a higher
        ``priority`` begin first (-100 to 100), of these the ones whose deadline is nearer. With
        ``trace`` the answer tells all of each stage that is known (see
        :class:`~shoal.core.messages.StageTrace`), for some 20 bytes more for each stage in
        each message that tells of it.

        InputError when names, dtypes or shapes are wrong, a value is not finite, or a request is
        too large to be sent.
        """
        arrays = self._checked(feeds)
        copies = {name: array.copy() for name, array in arrays.items()}
        return self._submit(copies, deadline_ms, priority=priority, trace=trace)

    def submit_together(
        self, each: Sequence[Feeds], deadline_ms: float | None = None, trace: bool = False
    ) -> list[Future[Answer]]:
        """As :meth:`submit` for several at once, in one request: a future for each. What is wrong
        with one of them its own future tells; the others go on without it.

        What devices tell of an answer (its ``trace``) is of all images that went with it.
        InputError for a network whose images cannot be put together, and for more than
        :data:`~shoal.runtime.together.MAX_TOGETHER`.
        """
        check_together(len(each), self.playbook)
        futures: list[Future[Answer]] = []
        good: dict[int, dict[str, Array]] = {}
        for place, feeds in enumerate(each):
            futures.append(self._pending())
            try:
                good[place] = self._checked(feeds)
            except Exception as error:  # whatever it is, the others have nothing to do with it
                futures[place].set_exception(error)
        if good:
            parts = self._submit_all(list(good.values()), deadline_ms, trace)
            for place, future in zip(good, parts, strict=True):
                futures[place] = future
        return futures

    def _pending(self) -> Pending:
        return Pending(lambda: no_callback(self.node, "an answer cannot be waited for"))

    def _submit_all(
        self, each: Sequence[dict[str, Array]], deadline_ms: float | None, trace: bool
    ) -> list[Future[Answer]]:
        arrays = joined(each)
        if len(each) == 1:
            return [self._submit(arrays, deadline_ms, trace=trace)]
        self._check_size(arrays)
        counts = [images_in(self.playbook.inputs, one) for one in each]
        ends = list(itertools.accumulate(counts))
        budget_ms = self.deadline_ms if deadline_ms is None else deadline_ms
        until = time.monotonic() + budget_ms / 1e3

        def apart(place: int) -> Future[Answer]:
            rows = slice(ends[place] - counts[place], ends[place])
            left_ms = max(1.0, (until - time.monotonic()) * 1e3)
            mine = {name: array[rows].copy() for name, array in arrays.items()}
            return self._submit(mine, left_ms, trace=trace)

        whole = self._submit(arrays, deadline_ms, counts, trace=trace)
        return parted(whole, counts, self._pending, apart)

    def _checked(self, feeds: Feeds) -> dict[str, Array]:
        """The arrays by name; InputError unless they fit the network, and into a message; ForkError
        in a child of the process that deployed the service."""
        self.node.home.check("the service")
        arrays = self._arrays(feeds)
        check_feeds(self.playbook.inputs, arrays)
        self._check_size(arrays)
        return arrays

    def _check_size(self, arrays: Mapping[str, Array]) -> None:
        size = sum(array.nbytes for array in arrays.values())
        if size <= MAX_BYTES:
            return
        if any(self.node.name in plan.stages[0].parts for plan in self.playbook.plans):
            return  # it need not be sent
        images = images_in(self.playbook.inputs, arrays)
        fit = MAX_BYTES * images // size
        advice = f"give up to {fit} images at a time" if fit else "one image alone is too large"
        raise InputError(
            f"a request of {images} images and {size} bytes is too large to be sent: {MAX_BYTES} "
            f"bytes can be; {advice}"
        )

    def _submit(
        self,
        arrays: dict[str, Array],
        deadline_ms: float | None,
        rows: Sequence[int] = (),
        priority: int = 0,
        trace: bool = False,
    ) -> Future[Answer]:
        """Ask; the arrays fit the network and are nobody else's. ``rows`` are those of each client
        where they are of several."""
        budget_ms = self.deadline_ms if deadline_ms is None else deadline_ms
        if not 0 < budget_ms < math.inf:
            raise InputError(f"a deadline of {budget_ms} ms makes no sense; give one above 0")
        if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
            raise InputError(
                f"a priority of {priority} makes no sense; give one from {-MAX_PRIORITY} to "
                f"{MAX_PRIORITY}"
            )
        images = images_in(self.playbook.inputs, arrays)
        if images > MAX_IMAGES:
            raise InputError(f"{images} images are too many for a request; up to {MAX_IMAGES} fit")
        future = self._pending()
        body = Body(arrays, rows=rows)
        with self._entrance:  # the gateway is given requests in the order of their numbers
            if self._entering:
                raise UsageError("an observer that is told of a request cannot ask for another")
            number = self._enter(future, images, bool(rows))
            with self._lock:
                if number in self._futures:  # else it has failed already
                    asked = Submitted(number, body, budget_ms, images, priority, trace)
                    self.node.events.put(asked)
        self.node.events.take(guest=True)
        future.add_done_callback(lambda f: self._cancel(number) if f.cancelled() else None)
        return future

    def _enter(self, future: Future[Answer], images: int, joined: bool) -> int:
        """Note who waits for a request, and tell the observers, before anything comes of it; its
        number."""
        with self._lock:
            if self._closed:
                raise RequestError("the service is closed")
            if self._broken is not None:
                raise self._broken
            request = ObservedRequest(next(self._numbers), time.monotonic(), images)
            self._futures[request.number] = _Asked(future, request, joined)
        self._entering = True
        try:
            self._tell(lambda observer: observer.asked(request))
        finally:
            self._entering = False
        return request.number

    def infer(
        self,
        feeds: Feeds,
        deadline_ms: float | None = None,
        priority: int = 0,
        trace: bool = False,
    ) -> Answer:
        """Ask and wait. Raises RequestError's children when there is no answer, InputError for
        wrong inputs, UsageError in a callback."""
        no_callback(self.node, "an answer cannot be waited for")
        return self.submit(feeds, deadline_ms, priority, trace).result()

    async def infer_async(
        self,
        feeds: Feeds,
        deadline_ms: float | None = None,
        priority: int = 0,
        trace: bool = False,
    ) -> Answer:
        """As :meth:`infer`, for asyncio; cancelling it cancels the request."""
        return await asyncio.wrap_future(self.submit(feeds, deadline_ms, priority, trace))

    def infer_many(
        self,
        inputs: Iterable[Feeds],
        window: int | None = None,
        deadline_ms: float | None = None,
        progress: bool = False,
        together: int = 1,
        trace: bool = False,
    ) -> Iterator[Answer]:
        """Answers in the order of ``inputs``, which are taken as they are needed: at most
        ``window`` requests are under way (default: enough to keep every device busy), and behind
        one that is slow at most ``AHEAD`` windows are asked for before its answer came; each of
        ``together`` inputs, which are waited for: more make more images per second where a device
        sends more than it computes, and answers come later. The first error ends it, in its turn:
        what ``inputs`` raises comes behind the answers to all that they gave before. What is under
        way when it ends, or when the caller closes it, is cancelled. ``progress`` shows a bar on
        stderr. ``trace`` as in :meth:`submit`.

        InputError as :meth:`submit_together`.
        """
        if window is not None and window < 1:
            raise InputError(f"the window must hold at least one request, not {window}")
        check_together(together, self.playbook)
        width = min(window or busy_window(self.playbook, together), MAX_WINDOW)
        answers = self._in_order(inputs, width, deadline_ms, together, trace)
        return _with_progress(answers, inputs) if progress else answers

    def _in_order(
        self,
        inputs: Iterable[Feeds],
        window: int,
        deadline_ms: float | None,
        together: int,
        trace: bool,
    ) -> Generator[Answer, None, None]:
        waiting: deque[Future[Answer]] = deque()
        over: SimpleQueue[Future[Answer]] = SimpleQueue()
        source, under_way = iter(inputs), 0
        # As many as a request holds, so that the next one can be sent at once.
        full, most = (window - 1) * together, AHEAD * window * together
        try:
            while True:
                taken, ended = take(source, together)
                for future in self._submit_safely(taken, deadline_ms, trace):
                    waiting.append(future)
                    under_way += 1
                    future.add_done_callback(over.put)
                more = len(taken) == together
                while len(waiting) > (full if more else 0):
                    head = waiting[0]
                    if isinstance(head, Pending):
                        head.check()
                    if head.done():
                        yield waiting.popleft().result()
                    elif more and under_way <= full and len(waiting) < most:
                        break  # who is slow holds up no others
                    else:
                        over.get()
                        under_way -= 1
                if ended is not None:
                    raise ended
                if not more:
                    return
        finally:
            for future in waiting:
                future.cancel()

    def _submit_safely(
        self, each: Sequence[Feeds], deadline_ms: float | None, trace: bool
    ) -> list[Future[Answer]]:
        """In one request, or where that cannot be one by one; an error waits for its turn, behind
        the answers before it, and nothing of the same request is asked for behind it."""
        if len(each) > 1:
            with contextlib.suppress(Exception):
                return self.submit_together(each, deadline_ms, trace)
        futures: list[Future[Answer]] = []
        for one in each:
            try:
                futures.append(self.submit(one, deadline_ms, trace=trace))
            except Exception as error:
                futures.append(Future())
                futures[-1].set_exception(error)
                break
        return futures

    def _arrays(self, feeds: Feeds) -> dict[str, Array]:
        if isinstance(feeds, Mapping):
            return dict(feeds)
        if not isinstance(feeds, np.ndarray):
            raise InputError(
                f"a {type(feeds).__name__} is no input: give a NumPy array, or a mapping of input "
                "names to arrays"
            )
        if len(self.playbook.inputs) != 1:
            names = ", ".join(spec.name for spec in self.playbook.inputs)
            raise InputError(f"the network has several inputs ({names}): give them by name")
        return {self.playbook.inputs[0].name: feeds}

    # -- answers

    def on_result(self, result: Deliver | Reject) -> None:
        """Take an end of a request from the core (called by the node)."""
        with self._lock:
            asked = self._futures.pop(result.number, None)
        if asked is None:
            self._tell(lambda observer: observer.unclaimed(result.number))
            return
        request = asked.request
        try:
            if isinstance(result, Reject):
                raise make_error(self._explained(result))
            latency_ms = (time.monotonic() - request.at_s) * 1e3
            answer = make_answer(result, latency_ms, request.images)
        except BaseException as error:
            self._fail(asked, error)
            return
        if self._begins_to_end(asked):
            self._tell(lambda observer: observer.answered(request, answer))
            asked.future.set_result(answer)

    def _explained(self, reject: Reject) -> Reject:
        """With what the link knows of devices that are there and cannot be reached."""
        if reject.kind != "unserved":
            return reject
        ways = filter(None, map(self.node.no_way, sorted(self.playbook.devices)))
        return msgspec.structs.replace(reject, text="; ".join([reject.text, *ways]))

    def on_fault(self, error: ShoalError) -> None:
        """Something went wrong that no single request is to blame for: nobody waits in vain
        (called by the node). Where it is for good, nothing more is taken."""
        with self._lock:
            if not isinstance(error, RequestError):
                self._broken = error
            pending, self._futures = self._futures, {}
        for number, asked in pending.items():
            self.node.submit(Cancelled(number))
            self._fail(asked, error)

    def on_peer(self, name: str, there: bool) -> None:
        """A peer came or went (called by the node)."""
        if name in self.playbook.devices:
            self._tell(lambda observer: observer.peer(name, there))

    def _fail(self, asked: _Asked, error: BaseException) -> None:
        if self._begins_to_end(asked):
            if asked.joined and isinstance(error, PoisonError):
                self._tell(lambda observer: observer.divided(asked.request))
            else:
                self._tell(lambda observer: observer.failed(asked.request, error))
            asked.future.set_exception(error)

    def _begins_to_end(self, asked: _Asked) -> bool:
        """Whether somebody still waits for a request that has ended; from here on it can no longer
        be cancelled."""
        waits = asked.future.set_running_or_notify_cancel()
        if not waits:
            self._tell(lambda observer: observer.cancelled(asked.request))
        return waits

    def _cancel(self, number: int) -> None:
        with self._lock:
            asked = self._futures.pop(number, None)
        if asked is not None:
            self._tell(lambda observer: observer.cancelled(asked.request))
        self.node.submit(Cancelled(number))

    # -- observers

    def add_observer(self, observer: Observer) -> None:
        """Tell ``observer`` from now on what becomes of requests and devices, until the service is
        closed. It may hear how a request ends that was asked for before."""
        with self._lock:
            self._observers = (*self._observers, observer)

    def remove_observer(self, observer: Observer) -> None:
        """Tell ``observer`` no more; what another thread is just telling it may still come."""
        with self._lock:
            self._observers = tuple(each for each in self._observers if each is not observer)

    def _tell(self, what: Callable[[Observer], None]) -> None:
        tell(self._observers, what)

    # -- state

    def story(self, of: Answer | RequestError | int) -> Story:
        """What happened to a request, in plain words (``print`` it): who was asked and why, what
        went wrong, what it was answered by. ``of`` is its answer, the error that it ended in, or
        its number. The log of the gateway goes back about a thousand requests; it is there when the
        service is closed, too.

        UsageError for an error that is not about a single request, and for anything else.
        """
        if not isinstance(of, Answer | RequestError | int):
            raise UsageError(
                f"there is no story of a {type(of).__name__}; give an answer, an error or a number"
            )
        number = of if isinstance(of, int) else of.number
        if number is None:
            raise UsageError("this is about no single request, so there is no story of it to tell")
        return story(self.node.core.log, number)

    def adopt(self, playbook: Playbook) -> None:
        """Serve new requests by another playbook of the same network from when it is in place;
        nothing is drained and nothing lost.

        PlanError when it is for another network, needs a policy that is not installed here or is
        too large to be sent, RequestError when the service is closed.
        """
        if (playbook.inputs, playbook.outputs) != (self.playbook.inputs, self.playbook.outputs):
            raise PlanError(
                f"the playbook is for {playbook.network!r}, whose inputs or outputs are not those "
                f"of {self.playbook.network!r}; deploy it as a service of its own"
            )
        size = len(wire.encode(Install(playbook)))
        if size > MAX_HEAD:
            raise PlanError(
                f"the playbook takes {size} bytes, {MAX_HEAD} can be sent; plan for fewer devices "
                "or stages"
            )
        self.node.ask(lambda: self._gateway.playbooks.check(playbook))
        self.node.act(Adopt(playbook))
        self.playbook = playbook

    def wait_ready(self, timeout_s: float) -> dict[str, str]:
        """Wait until every device of the playbook has its parts; what is missing or refused at
        the end, by device, with the reason.

        Raises UnreachableError when no plan can be served by then, VersionError when that is for
        devices of another version only, UsageError in a callback.
        """
        no_callback(self.node, "devices cannot be waited for")
        began = time.monotonic()
        while missing := self.node.ask(lambda: self._gateway.unready(self.playbook)):
            strangers = self.node.strangers
            if time.monotonic() >= began + timeout_s or strangers.keys() >= missing.keys():
                break
            time.sleep(0.02)
        lacking = self.node.ask(self._lacking)
        seen = self.node.link.peers()
        away = {
            name: self._addresses[name]
            for name in lacking
            if name in self._addresses and name not in seen and not self.node.no_way(name)
        }
        for name, why in look_for(self.node.link, away).items():
            lacking[name] += f" ({why})"
        if self.node.ask(lambda: self._gateway.servable(self.playbook, time.monotonic())):
            return lacking
        reasons = "; ".join(f"{name} {why}" for name, why in lacking.items())
        if lacking and lacking.keys() <= self.node.strangers.keys():
            raise VersionError(f"no plan can be served: {reasons}")
        advice = ""
        if lacking.keys() - {*seen, *self.node.link.unreachable()}:
            advice = ". Start the missing workers with 'shoal worker --name NAME --listen ADDRESS'"
        raise UnreachableError(
            f"no plan can be served after {time.monotonic() - began:.1f} s: {reasons}{advice}"
        )

    def _lacking(self) -> dict[str, str]:
        """Devices that cannot do all that the playbook asks of them, and why."""
        book = self._gateway.playbooks.get(self.playbook.id)
        if book is None:
            return {}
        lacking = self._gateway.usable.unusable(book)
        strangers = self.node.strangers
        return {
            name: strangers.get(name) or self._no_way(name) or why for name, why in lacking.items()
        }

    def _no_way(self, name: str) -> str:
        """That a device is there and cannot be reached, and where it was tried; else nothing."""
        no_way = self.node.no_way(name)
        return f"is there, but {no_way}" if no_way else ""

    def stats(self) -> ServiceStats:
        """Counts, times and devices up to now."""
        pending, devices = self.node.ask(self._device_stats)
        return self._recorder.stats(pending, devices)

    def _device_stats(self) -> tuple[int, dict[str, DeviceStats]]:
        stats = {}
        for name in sorted(self.playbook.devices):
            peer, device = self._gateway.members.get(name), self._gateway.devices[name]
            state = "expected" if peer is None else str(peer.state)
            if peer is not None and device.draining:
                state = "draining"
            stats[name] = DeviceStats(
                state=state,
                ready=self.playbook.id in device.ready and self._gateway.members.alive(name),
                outstanding=device.outstanding,
                answered=device.answered,
                slowdown=device.slowdown,
                refused=tuple(sorted(set(device.refused.get(self.playbook.id, {}).values()))),
                parts=tuple(sorted(peer.parts)) if peer is not None else (),
            )
        return len(self._gateway.requests), stats

    def close(self) -> None:
        """Leave the mesh; requests that are pending fail. Others know at once; a device that is
        frozen or switched off is waited for no longer than a second (see :meth:`Link.close`).
        Idempotent, and nothing in a child made by fork: the service is its parent's."""
        if not self.node.home.here:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pending = list(self._futures.values())
            self._futures.clear()
        for asked in pending:
            self._fail(asked, RequestError("the service was closed before the answer came"))
        self.node.act(Release())
        self.node.flush(FAREWELL_S)
        self.node.close()
        self._tell(lambda observer: observer.closed())

    def __reduce__(self) -> NoReturn:
        raise ForkError(
            "a service cannot be sent to another process: deploy there "
            "(docs/operations.md: several processes)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def busy_window(playbook: Playbook, together: int = 1) -> int:
    """How many requests under way, each of ``together`` images, keep every device of a playbook
    busy: what runs, what waits to be run together next, and what is on its way."""
    batch = max((stage.batch for plan in playbook.plans for stage in plan.stages), default=1)
    per_device = 3 * batch if batch > 1 else 4
    images = max(8, per_device * len(playbook.devices))
    return max(LEAST_WINDOW, math.ceil(images / together))


def _with_progress(answers: Generator[Answer, None, None], inputs: Any) -> Iterator[Answer]:
    from rich.console import Console
    from rich.progress import track

    total = len(inputs) if hasattr(inputs, "__len__") else None
    with contextlib.closing(answers):
        yield from track(answers, "answering", total=total, console=Console(stderr=True))

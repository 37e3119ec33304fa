"""What a node does on threads of its own because it takes its time, a queue before each:

- *compute* runs parts (the engine lets the GIL go), unpacking what came, and gives memory back;
- *load* fetches parts and makes sessions, and measures what a planner asks for;
- *apart* has a part run in a process of its own (only while it does);
- *give* serves blobs to peers;
- *open* unpacks large answers and gives out what a client must not (gateways only).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from shoal.core.actions import FetchPart, LoadPart, Run
from shoal.core.events import Fetched, Loaded, Ran, RunFailed
from shoal.core.messages import Why
from shoal.errors import FrameError, ShoalError
from shoal.model.engine import give_back
from shoal.runtime import wire
from shoal.runtime.parts import Exchange, LoadedParts
from shoal.runtime.probe import Prober
from shoal.runtime.runner import run
from shoal.runtime.sandbox import Sandbox
from shoal.runtime.slack import Slack

log = logging.getLogger("shoal")

MAX_ASKED = 1024
"""Blobs and measurements that peers may have asked for and not got; more are not answered."""

_Measure: TypeAlias = wire.Measure | wire.MeasureWay


class NodeThreads:
    """The chores of one node. ``tell`` hears what became of runs and loads, on their threads."""

    def __init__(
        self,
        name: str,
        shelf: LoadedParts,
        prober: Prober,
        exchange: Exchange,
        sandbox: Sandbox,
        tell: Callable[[Ran | RunFailed | Fetched | Loaded], None],
    ) -> None:
        self._name = name
        self._shelf = shelf
        self._prober = prober
        self._exchange = exchange
        self._sandbox = sandbox
        self._tell = tell
        self._closing = False
        self._runs: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._loads: queue.SimpleQueue[FetchPart | LoadPart | tuple[str, _Measure] | None] = (
            queue.SimpleQueue()
        )
        self._gifts: queue.SimpleQueue[tuple[str, wire.Fetch] | None] = queue.SimpleQueue()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = {
            what: threading.Thread(target=target, name=f"shoal-{what}-{name}", daemon=True)
            for what, target in (
                ("compute", self._compute),
                ("load", self._load),
                ("give", self._give),
                ("open", self._call),
            )
        }

    @property
    def computes(self) -> bool:
        """Whether the calling thread is the one that runs parts."""
        return threading.current_thread() is self._threads["compute"]

    @property
    def calls(self) -> bool:
        """Whether the calling thread is the one that calls back."""
        return threading.current_thread() is self._threads.get("open")

    @property
    def asked(self) -> int:
        """Blobs that peers have asked for and not got."""
        return self._gifts.qsize()

    def start(self, calls: bool) -> None:
        """Begin; ``calls``: somebody will be called back."""
        if not calls:
            del self._threads["open"]
        for thread in self._threads.values():
            thread.start()

    def run(self, action: Run) -> None:
        """Run a part, after those before it; one that is run apart, at once."""
        if not action.apart:
            self._runs.put(action)
            return
        run = threading.Thread(
            target=lambda: self._tell(self._sandbox.run(action)),
            name=f"shoal-apart-{self._name}",
            daemon=True,
        )
        self._threads["apart"] = run
        run.start()

    def load(self, action: FetchPart | LoadPart) -> None:
        """Fetch or load a part."""
        self._loads.put(action)

    def measure(self, sender: str, asked: _Measure) -> None:
        """Measure what a peer asks for, unless too much was asked already."""
        if self._loads.qsize() < MAX_ASKED:
            self._loads.put((sender, asked))

    def give(self, sender: str, asked: wire.Fetch) -> None:
        """Send a peer the blob that it asks for, unless too much was asked already."""
        if self._gifts.qsize() < MAX_ASKED:
            self._gifts.put((sender, asked))

    def call(self, back: Callable[[], None]) -> None:
        """Call somebody back."""
        self._calls.put(back)

    def leave(self) -> None:
        """Load nothing more."""
        self._closing = True

    def close(self) -> None:
        """Finish what is not loading, and end the threads."""
        self.leave()
        self._sandbox.close()
        for waiting in (self._runs, self._loads, self._gifts, self._calls):
            waiting.put(None)
        for thread in list(self._threads.values()):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join()

    # -- the threads

    def _compute(self) -> None:
        slack = Slack()
        while True:
            try:
                action = self._runs.get(timeout=slack.wait_s)
            except queue.Empty:
                give_back(tensors=True)
                slack.idle()
                continue
            if action is None:
                return
            self._tell(self._run(action))
            size = _size(action)
            del action  # or its tensors would stay until the next one comes
            if slack.ran(size, time.monotonic()):
                give_back(tensors=True)

    def _run(self, action: Run) -> Ran | RunFailed:
        session = self._shelf.session(action.part)
        if session is None:
            return RunFailed(action.jobs, f"the part {action.part[:12]} is not loaded")
        started = time.monotonic()
        try:
            outcomes = run(action, session)
        except FrameError as error:
            return RunFailed(action.jobs, str(error), Why.BAD_BODY)
        except ShoalError as error:
            return RunFailed(action.jobs, str(error))
        except Exception as error:
            log.exception("%s: a run failed", self._name)
            return RunFailed(action.jobs, f"{type(error).__name__}: {error}")
        return Ran(action.jobs, outcomes, (time.monotonic() - started) * 1e3, started)

    def _load(self) -> None:
        while (task := self._loads.get()) is not None:
            if self._closing:
                continue
            if isinstance(task, tuple):
                self._safely(self._prober.serve, *task)
                continue
            self._tell(self._loaded(task))

    def _loaded(self, task: FetchPart | LoadPart) -> Fetched | Loaded:
        try:
            if isinstance(task, FetchPart):
                self._shelf.fetch(task.part, task.info, task.source)
                return Fetched(task.playbook, task.part)
            self._shelf.load(task.part, task.info)
            return Loaded(task.playbook, task.part)
        except ShoalError as wrong:
            error = str(wrong)
        except Exception as wrong:
            log.exception("%s: could not load a part", self._name)
            error = f"{type(wrong).__name__}: {wrong}"
        log.warning("%s: the part %s is not loaded: %s", self._name, task.part[:12], error)
        return Loaded(task.playbook, task.part, error)

    def _give(self) -> None:
        while (asked := self._gifts.get()) is not None:
            self._safely(self._exchange.give, *asked)

    def _call(self) -> None:
        while (back := self._calls.get()) is not None:
            self._safely(back)

    def _safely(self, do: Callable[..., None], *what: Any) -> None:
        """A thread outlives what it was asked to do."""
        try:
            do(*what)
        except Exception:
            about = type(what[-1]).__name__ if what else "a client"
            log.exception("%s: could not answer %s", self._name, about)


def _size(action: Run) -> int:
    """Bytes of what a run is given; a task may have come without a body."""
    bodies = (body for given in action.given for body in given.bodies.values())
    return sum(body.size for body in bodies if body is not None)

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
from dataclasses import dataclass

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


class _Chores:
    """A thread, and what it has to do, in turn; it outlives what it was given."""

    def __init__(self, what: str, name: str) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name=f"shoal-{what}-{name}", daemon=True)

    @property
    def waiting(self) -> int:
        return self._todo.qsize()

    def put(self, chore: Callable[[], None] | None) -> None:
        """Do this, after what was put before; None ends the thread."""
        self._todo.put(chore)

    def _serve(self) -> None:
        while (chore := self._todo.get()) is not None:
            try:
                chore()
            except Exception:
                log.exception("%s failed", self.thread.name)


@dataclass(eq=False)
class NodeThreads:
    """The chores of one node. ``tell`` hears what became of runs and loads, on their threads."""

    name: str
    shelf: LoadedParts
    prober: Prober
    exchange: Exchange
    sandbox: Sandbox
    tell: Callable[[Ran | RunFailed | Fetched | Loaded], None]

    def __post_init__(self) -> None:
        self._closing = False
        self._runs: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._computing = threading.Thread(
            target=self._compute, name=f"shoal-compute-{self.name}", daemon=True
        )
        self._loading, self._giving, self._opening = (
            _Chores(what, self.name) for what in ("load", "give", "open")
        )
        self._apart: threading.Thread | None = None

    @property
    def computes(self) -> bool:
        """Whether the calling thread is the one that runs parts."""
        return threading.current_thread() is self._computing

    @property
    def calls(self) -> bool:
        """Whether the calling thread is the one that calls back."""
        return threading.current_thread() is self._opening.thread

    @property
    def asked(self) -> int:
        """Blobs that peers have asked for and not got."""
        return self._giving.waiting

    def start(self, calls: bool) -> None:
        """Begin; ``calls``: somebody will be called back."""
        for thread in (self._computing, self._loading.thread, self._giving.thread):
            thread.start()
        if calls:
            self._opening.thread.start()

    def run(self, action: Run) -> None:
        """Run a part, after those before it; one that is run apart, at once."""
        if not action.apart:
            self._runs.put(action)
            return
        self._apart = threading.Thread(
            target=lambda: self.tell(self.sandbox.run(action)),
            name=f"shoal-apart-{self.name}",
            daemon=True,
        )
        self._apart.start()

    def load(self, action: FetchPart | LoadPart) -> None:
        """Fetch or load a part."""
        self._loading.put(lambda: self._load(action))

    def measure(self, sender: str, asked: wire.Measure | wire.MeasureWay) -> None:
        """Measure what a peer asks for, unless too much was asked already."""
        if self._loading.waiting < MAX_ASKED:
            self._loading.put(lambda: None if self._closing else self.prober.serve(sender, asked))

    def give(self, sender: str, asked: wire.Fetch) -> None:
        """Send a peer the blob that it asks for, unless too much was asked already."""
        if self._giving.waiting < MAX_ASKED:
            self._giving.put(lambda: self.exchange.give(sender, asked))

    def call(self, back: Callable[[], None]) -> None:
        """Call somebody back."""
        self._opening.put(back)

    def leave(self) -> None:
        """Load nothing more."""
        self._closing = True

    def close(self) -> None:
        """Finish what is not loading, and end the threads."""
        self.leave()
        self.sandbox.close()
        chores = (self._loading, self._giving, self._opening)
        self._runs.put(None)
        for each in chores:
            each.put(None)
        for thread in (self._computing, self._apart, *(each.thread for each in chores)):
            if thread is not None and thread.ident and thread is not threading.current_thread():
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
            self.tell(self._run(action))
            size = _size(action)
            del action  # or its tensors would stay until the next one comes
            if slack.ran(size, time.monotonic()):
                give_back(tensors=True)

    def _run(self, action: Run) -> Ran | RunFailed:
        session = self.shelf.session(action.part)
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
            log.exception("%s: a run failed", self.name)
            return RunFailed(action.jobs, f"{type(error).__name__}: {error}")
        return Ran(action.jobs, outcomes, (time.monotonic() - started) * 1e3, started)

    def _load(self, task: FetchPart | LoadPart) -> None:
        if not self._closing:
            self.tell(self._loaded(task))

    def _loaded(self, task: FetchPart | LoadPart) -> Fetched | Loaded:
        try:
            if isinstance(task, FetchPart):
                self.shelf.fetch(task.part, task.info, task.source)
                return Fetched(task.playbook, task.part)
            self.shelf.load(task.part, task.info)
            return Loaded(task.playbook, task.part)
        except ShoalError as wrong:
            error = str(wrong)
        except Exception as wrong:
            log.exception("%s: could not load a part", self.name)
            error = f"{type(wrong).__name__}: {wrong}"
        log.warning("%s: the part %s is not loaded: %s", self.name, task.part[:12], error)
        return Loaded(task.playbook, task.part, error)


def _size(action: Run) -> int:
    """Bytes of what a run is given; a task may have come without a body."""
    bodies = (body for given in action.given for body in given.bodies.values())
    return sum(body.size for body in bodies if body is not None)

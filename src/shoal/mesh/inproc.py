"""The in-process kind of link: a mesh in one process, with the faults of a real one on demand.

Everything above the wire is that of the Zenoh kind; here the wire is a heap of frames per link.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable

from shoal.errors import NameTakenError
from shoal.mesh.exchange import Discard, Hint, Transmit
from shoal.mesh.link import MAX_BODY
from shoal.mesh.names import new_incarnation
from shoal.mesh.shell import ExchangeLink

MAX_FRAMES = 4096
"""Frames on their way to one link; more are lost."""


class InprocMesh:
    """A mesh within this process. Call it with a name to make a link.

    The rest are faults for tests. A pair of names can be ``cut`` and ``heal``-ed, a way delayed
    or made lossy, a link killed without a goodbye or frozen and thawed. Peers notice at once.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._links: list[InprocLink] = []
        self._cuts: set[tuple[str, str]] = set()
        self._delays: dict[tuple[str, str], float] = {}
        self._loses: Callable[[str, str, bytes], bool] = lambda source, target, attachment: False

    def __call__(self, name: str) -> InprocLink:
        return InprocLink(name, self)

    def cut(self, a: str, b: str, both: bool = True) -> None:
        """Nothing goes from ``a`` to ``b`` any more (nor back), and ``b`` does not see ``a`` (nor
        ``a`` see ``b``)."""
        self._change_ways([(a, b), (b, a)] if both else [(a, b)], cut=True)

    def heal(self, a: str, b: str) -> None:
        """Undo :meth:`cut`."""
        self._change_ways([(a, b), (b, a)], cut=False)

    def delay(self, a: str, b: str, seconds: float) -> None:
        """Frames from ``a`` to ``b`` take this long."""
        with self._lock:
            self._delays[a, b] = seconds

    def lose(self, loses: Callable[[str, str, bytes], bool] | None) -> None:
        """Lose the frames for which ``loses(source, target, attachment)`` is true; None: keep
        all."""
        with self._lock:
            self._loses = loses or (lambda source, target, attachment: False)

    def kill(self, name: str) -> None:
        """Stop a link as SIGKILL would: no goodbye, and it never learns of it."""
        for link in self._named(name):
            self._remove(link)
            link.close()

    def freeze(self, name: str) -> None:
        """Stop a link as SIGSTOP would."""
        for link in self._named(name):
            link.frozen.set()
            self._show(link, visible=False)

    def thaw(self, name: str) -> None:
        """Undo :meth:`freeze`."""
        with self._lock:
            for link in self._named(name):
                if not link.frozen.is_set():
                    continue
                link.frozen.clear()
                for other in self._links:
                    if other is not link:
                        link.sight(other.name, other.incarnation, visible=False)
                self._show(link, visible=True)
                for other in self._links:
                    self._show(other, visible=True, only=link)

    # -- what links call ------------------------------------------------------------------------

    def add(self, link: InprocLink) -> str:
        """Make a link visible; gives its incarnation."""
        with self._lock:
            namesakes = self._named(link.name)
            if any(not namesake.frozen.is_set() for namesake in namesakes):
                raise NameTakenError(
                    f"a node called {link.name!r} is alive on this mesh; stop it, or choose "
                    "another name"
                )
            link.incarnation = new_incarnation(other.incarnation for other in namesakes)
            for other in self._links:
                self._show(other, visible=True, only=link)
            self._links.append(link)
            self._show(link, visible=True)
            return link.incarnation

    def remove(self, link: InprocLink) -> None:
        """A link says goodbye."""
        self._remove(link)

    def carry(self, source: InprocLink, target: str, attachment: bytes, body: bytes) -> None:
        """Carry a frame to all links called ``target``."""
        with self._lock:
            way = (source.name, target)
            if source not in self._links or source.frozen.is_set() or way in self._cuts:
                return
            if self._loses(source.name, target, attachment):
                return
            due = time.monotonic() + self._delays.get(way, 0.0)
            for link in self._named(target):
                link.take(due, source.name, attachment, body)

    # -- inside ---------------------------------------------------------------------------------

    def _named(self, name: str) -> list[InprocLink]:
        with self._lock:
            return [link for link in self._links if link.name == name]

    def _remove(self, link: InprocLink) -> None:
        with self._lock:
            if link in self._links:
                self._show(link, visible=False)
                self._links.remove(link)

    def _show(self, link: InprocLink, visible: bool, only: InprocLink | None = None) -> None:
        """Let others (or only one) see, or no longer see, ``link``."""
        with self._lock:
            if visible and link.frozen.is_set():
                return
            for other in self._links if only is None else [only]:
                if other is not link and (link.name, other.name) not in self._cuts:
                    other.sight(link.name, link.incarnation, visible)

    def _change_ways(self, ways: list[tuple[str, str]], cut: bool) -> None:
        with self._lock:
            for source, target in ways:
                if ((source, target) in self._cuts) == cut:
                    continue
                self._cuts ^= {(source, target)}
                for link in self._named(source):
                    for other in self._named(target):
                        if not link.frozen.is_set():
                            other.sight(link.name, link.incarnation, visible=not cut)


class InprocLink(ExchangeLink):
    """One node's link on an :class:`InprocMesh`."""

    def __init__(self, name: str, mesh: InprocMesh, max_body: int = MAX_BODY) -> None:
        super().__init__(name, max_body)
        self.frozen = threading.Event()
        self._mesh = mesh
        self._frames: list[tuple[float, int, str, bytes, bytes]] = []
        self._order = itertools.count()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"{name}-reader", daemon=True)

    def take(self, due: float, sender: str, attachment: bytes, body: bytes) -> None:
        """A frame arrives at the time ``due``."""
        with self._news:
            if len(self._frames) < MAX_FRAMES:
                heapq.heappush(self._frames, (due, next(self._order), sender, attachment, body))
                self._news.notify()

    def sight(self, name: str, incarnation: str, visible: bool) -> None:
        """An incarnation of a name can, or can no longer, be seen."""
        self._sighted(name, incarnation, visible)

    def concern(self, names: Iterable[str], only: bool = False) -> None:
        pass  # who is there is seen

    def _open(self) -> str:
        incarnation = self._mesh.add(self)
        self._exchange.incarnation = incarnation
        self._reader.start()
        return incarnation

    def _post(self, frame: Transmit | Discard) -> None:
        if isinstance(frame, Transmit):
            self._mesh.carry(self, frame.to, frame.attachment, frame.body or b"")

    def _hint(self, frame: Hint) -> None:
        self._mesh.carry(self, frame.to, frame.attachment, b"")

    def _leave(self) -> None:
        self._mesh.remove(self)
        with self._news:
            self._news.notify()
        self._join(self._reader)

    def _on_tick(self, now: float) -> None:
        self._wait_out_the_frost()

    def _on_twin(self, now: float) -> None:
        newest = max(self._twin_lives(), default="")
        if newest > self.incarnation:
            self._lose_name(newest)

    def _see(self) -> None:
        if not self.frozen.is_set():
            super()._see()

    def _wait_out_the_frost(self) -> None:
        while self.frozen.is_set() and not self._closed:
            time.sleep(0.002)

    def _read(self) -> None:
        while True:
            self._wait_out_the_frost()
            with self._news:
                now = time.monotonic()
                if self._closed:
                    return
                if not self._frames or self._frames[0][0] > now:
                    self._news.wait(self._frames[0][0] - now if self._frames else None)
                    continue
                _, _, sender, attachment, body = heapq.heappop(self._frames)
            self._frame(sender, attachment, len(body), body.__bytes__)

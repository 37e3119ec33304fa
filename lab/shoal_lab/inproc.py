"""The in-process kind of mesh, with the faults of a real one on demand.

Who is there is a table; connections are pairs of sockets whose bytes one thread carries, so that it
can delay them, lose them, or stop. All else is that of the kind between processes.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from shoal.errors import NameTakenError
from shoal.mesh.discovery import Discovery
from shoal.mesh.doors import BACKLOG, Doors
from shoal.mesh.events import MAX_BODY
from shoal.mesh.link import Link
from shoal.mesh.names import check_name, new_incarnation
from shoal.mesh.place import Place
from shoal_lab.ether import Ether, Way

LEASE_S = 0.4
PORT = 1


class InprocMesh:
    """A mesh within this process. Call it with a name to make a link.

    The rest are faults for tests. A pair of names can be ``cut`` and ``heal``-ed, a way delayed,
    connections dropped, a link killed without a goodbye or frozen and thawed, the mesh hidden from
    a link while its connections stand.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._members: dict[str, list[InprocDiscovery]] = {}
        self._cuts: set[Way] = set()
        self._ether = Ether()

    def __call__(self, name: str, max_body: int = MAX_BODY, lease_s: float = LEASE_S) -> Link:
        return InprocLink(name, self, max_body, lease_s)

    def cut(self, a: str, b: str, both: bool = True) -> None:
        """Nothing goes from ``a`` to ``b`` any more (nor back), and ``b`` does not see ``a`` (nor
        ``a`` see ``b``)."""
        for way in [(a, b), (b, a)] if both else [(a, b)]:
            self._ether.stop(way, True)
            with self._lock:
                if way not in self._cuts:
                    self._cuts.add(way)
                    self._show_way(way, False)

    def heal(self, a: str, b: str) -> None:
        """Undo :meth:`cut`."""
        for way in ((a, b), (b, a)):
            self._ether.stop(way, False)
            with self._lock:
                if way in self._cuts:
                    self._cuts.discard(way)
                    self._show_way(way, True)

    def block(self, a: str, b: str, blocked: bool = True) -> None:
        """A firewall drops what goes from ``a`` to ``b``, and lets the mesh pass; or no longer."""
        self._ether.stop((a, b), blocked)

    def delay(self, a: str, b: str, seconds: float) -> None:
        """Bytes from ``a`` to ``b`` take this long."""
        self._ether.delay((a, b), seconds)

    def drop(self, a: str, b: str) -> None:
        """Break the connections between two nodes that stand now."""
        self._ether.drop(lambda way: way in ((a, b), (b, a)))

    def kill(self, name: str) -> None:
        """Stop a link as SIGKILL would: no goodbye, and it never learns of it."""
        for member in self._named(name):
            member.silent = True
            self.remove(member)
            member.link.close()
            self._ether.drop(lambda way: name in way)

    def freeze(self, name: str) -> None:
        """Stop a link as SIGSTOP would: its system takes what comes, and nothing goes on."""
        for member in self._named(name):
            member.frozen = True
            self._ether.freeze(member, True)
            self._show(member, False)

    def thaw(self, name: str) -> None:
        """Undo :meth:`freeze`."""
        with self._lock:
            for member in self._named(name):
                if not member.frozen:
                    continue
                member.frozen = False
                self._ether.freeze(member, False)
                for other in self._others(member):
                    member.sight(other, False)
                self._show(member, True)
                for other in self._others(member):
                    if self._sees(other, member) and not other.frozen:
                        member.sight(other, True)

    def hide(self, name: str, hidden: bool = True) -> None:
        """The mesh loses a link, and it loses the mesh; connections stand."""
        with self._lock:
            for member in self._named(name):
                if hidden and not member.hidden:
                    self._show(member, False)
                    member.blind()
                if not hidden and member.hidden:
                    member.hidden = False
                    self._show(member, True)
                    for other in self._others(member):
                        if self._sees(other, member) and not other.frozen:
                            member.sight(other, True)
                member.hidden = hidden

    # -- what links call ------------------------------------------------------------------------

    def claim(self, member: InprocDiscovery) -> str:
        """An incarnation for a node."""
        with self._lock:
            namesakes = self._named(member.name)
            if any(not namesake.frozen for namesake in namesakes):
                raise NameTakenError(
                    f"a node called {member.name!r} is alive on this mesh; stop it, or choose "
                    "another name"
                )
            return new_incarnation(other.life for other in namesakes)

    def add(self, member: InprocDiscovery) -> None:
        """Make a node visible."""
        with self._lock:
            self._members.setdefault(member.name, []).append(member)
            for other in self._others(member):
                if not other.frozen and self._sees(other, member):
                    member.sight(other, True)
            self._show(member, True)

    def remove(self, member: InprocDiscovery) -> None:
        """A node leaves."""
        with self._lock:
            if member in self._members.get(member.name, []):
                self._show(member, False)
                self._members[member.name].remove(member)
                if not self._members[member.name]:
                    del self._members[member.name]

    def call(
        self, caller: InprocDiscovery, places: Sequence[Place], given_up: Callable[[], bool]
    ) -> Iterator[tuple[Place, socket.socket | str]]:
        """Connections to the nodes at these places."""
        for place in places:
            if given_up():
                return
            found = self._named(place.host)
            way = (caller.name, place.host)
            if not found or self._ether.is_stopped(way):
                yield place, "nobody is there"
                continue
            try:
                theirs = found[-1].door.call()
            except OSError:
                yield place, "it is leaving"
            else:
                yield place, self._ether.connect(way, (caller, found[-1]), theirs)

    # -- inside ---------------------------------------------------------------------------------

    def _named(self, name: str) -> list[InprocDiscovery]:
        with self._lock:
            return list(self._members.get(name, ()))

    def _others(self, member: InprocDiscovery) -> list[InprocDiscovery]:
        return [m for members in self._members.values() for m in members if m is not member]

    def _sees(self, shown: InprocDiscovery, watching: InprocDiscovery) -> bool:
        hidden = shown.hidden or watching.hidden
        return not hidden and (shown.name, watching.name) not in self._cuts

    def _show(self, member: InprocDiscovery, visible: bool) -> None:
        """Let others see, or no longer see, a node."""
        with self._lock:
            if visible and member.frozen:
                return
            for other in self._others(member):
                if self._sees(member, other):
                    other.sight(member, visible)

    def _show_way(self, way: Way, visible: bool) -> None:
        for shown in self._named(way[0]):
            for watching in self._named(way[1]):
                if not (shown.frozen or shown.hidden or watching.hidden):
                    watching.sight(shown, visible)


class InprocDiscovery(Discovery):
    """One node's way into an :class:`InprocMesh`."""

    def __init__(self, name: str, mesh: InprocMesh, lease_s: float) -> None:
        self.name = name
        self.life = ""
        self.lease_s = lease_s
        self.frozen = self.silent = self.hidden = False
        self.places: tuple[Place, ...] = ()
        self.link: InprocLink
        self.door: _Door
        self._mesh = mesh
        self._news: deque[tuple[InprocDiscovery, bool] | None] = deque()
        self._changed = threading.Condition()
        self._left = False
        self._thread = threading.Thread(target=self._serve, name=f"{name}-mesh", daemon=True)

    def join(self) -> str:
        self.life = self._mesh.claim(self)
        return self.life

    def show(self, link: Link, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        self._thread.start()
        self._mesh.add(self)

    def look(self, unseen: Sequence[str], alone: bool, now: float) -> None:
        pass

    def leave(self) -> None:
        if not self.silent:
            self._mesh.remove(self)
        with self._changed:
            self._left = True
            self._changed.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def sight(self, other: InprocDiscovery, visible: bool) -> None:
        """Another node is, or is no longer, visible."""
        with self._changed:
            self._news.append((other, visible))
            self._changed.notify()

    def blind(self) -> None:
        """This node loses the mesh."""
        with self._changed:
            self._news.append(None)
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._left and (not self._news or self.frozen):
                    self._changed.wait(0.005 if self.frozen else None)
                if self._left:
                    return
                news = self._news.popleft()
            if news is None:
                self.link.blinded()
                continue
            other, visible = news
            if other.name == self.name:
                if visible and other.life > self.life:
                    self.link.name_lost(other.life)
            elif visible:
                self.link.appeared(other.name, other.life, other.places)
            else:
                self.link.vanished(other.name, other.life)


class InprocLink(Link):
    """One node's link on an :class:`InprocMesh`."""

    def __init__(self, name: str, mesh: InprocMesh, max_body: int, lease_s: float) -> None:
        way = InprocDiscovery(check_name(name), mesh, lease_s)
        way.link = self

        def call(
            places: Sequence[Place], given_up: Callable[[], bool]
        ) -> Iterator[tuple[Place, socket.socket | str]]:
            return mesh.call(way, places, given_up)

        def open_door() -> Doors:
            way.door = _Door(name)
            return way.door

        super().__init__(name, "inproc", way, open_door, call, max_body)


class _Door(Doors):
    """A door inside this machine, which the system gives a name."""

    def __init__(self, name: str) -> None:
        super().__init__((), None)
        self.places = (Place(name, PORT),)
        door = socket.socket(socket.AF_UNIX)
        self.sockets.append(door)
        door.bind("")
        door.listen(BACKLOG)
        door.setblocking(False)
        self._address: bytes = door.getsockname()

    def call(self) -> socket.socket:
        """A connection to it; OSError when it is closed."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

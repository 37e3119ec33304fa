"""The one place that makes connections and takes them.

Everything that is particular to sockets is here: options, names that stand for several addresses,
and whether connections are encrypted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

from shoal.errors import AddressInUseError
from shoal.mesh.address import Address, why_not, why_unreached
from shoal.mesh.encrypted import encrypt
from shoal.mesh.place import Place, in_zones, own_hosts
from shoal.process import tell_of_forks

STAGGER_S = 0.15
"""Time after which the next address is tried beside those before (RFC 8305)."""
CONNECT_S = 1.5
"""How long an address is waited for after the last one was tried."""
STEP_S = 0.02
"""Time between two looks at how far names are found, and whether a call is still wanted."""
OPEN_TRIES = 5
UNSENT_BYTES = 1 << 16
"""Bytes that wait in the system at first: what waits elsewhere can be given to somebody else."""
BACKLOG = 1024
"""Connections that wait to be taken: where there is no room for one, it comes a second later."""
IN_TIME = getattr(socket, "MSG_NOSIGNAL", 0)
"""How bytes are sent: a process that wants to die of SIGPIPE means its output, and no peer."""
AT_ONCE = socket.MSG_DONTWAIT | IN_TIME
"""How only those are sent that the system takes without waiting."""

_Target: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, tuple[Any, ...]]
"""What a socket is made with, and where it goes, as ``getaddrinfo`` says it."""


class _Sockets:
    """All that were made here and are open."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def own(self, sock: socket.socket) -> socket.socket:
        """One more."""
        self._open.add(sock)
        return sock

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`. While a child has a connection of its parent,
        nobody notices that the parent is gone, and while it has a door, nobody else can have its
        port."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.close()


_sockets = _Sockets()
tell_of_forks(_sockets)


class Doors:
    """Where this node takes connections: at the hosts of its mesh addresses, on ``port`` (0: any
    free one; None: the port of the mesh plus 1, or any free one where that is taken), which is the
    same for all of them. What comes is encrypted as ``context`` says, if there is one."""

    def __init__(
        self, listen: Sequence[Address], port: int | None, context: ssl.SSLContext | None = None
    ) -> None:
        self.context = context
        self.sockets: list[socket.socket] = []
        hosts = list(dict.fromkeys(address.host for address in listen))
        ports = [port] if port else [0] * OPEN_TRIES
        if port is None and listen:
            ports.insert(0, (listen[0].port + 1) % (1 << 16) if listen[0].port else 0)
        for wanted in ports:
            try:
                self._open(hosts, wanted)
                break
            except AddressInUseError as error:
                self.close()
                failure = error
            except BaseException:
                self.close()
                raise
        else:
            raise failure
        found = own_hosts(hosts) if self.sockets else []
        self.places: tuple[Place, ...] = tuple(Place(host, self.port) for host in found)

    @property
    def port(self) -> int:
        """The port, 0 while there is none."""
        return int(self.sockets[0].getsockname()[1]) if self.sockets else 0

    def _open(self, hosts: Sequence[str], port: int) -> None:
        targets = []
        for host in hosts:
            try:
                found = socket.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )
            except (OSError, UnicodeError) as error:
                raise AddressInUseError(f"data port: the host name {host!r} is unknown") from error
            targets.append((host, found[0]))
        # One door for all versions takes the port from those of version 4.
        apart = any(family == socket.AF_INET for _, (family, *_) in targets)
        for host, (family, kind, proto, _, target) in targets:
            at = Address("tcp", host, self.port or port)
            try:
                sock = _sockets.own(socket.socket(family, kind, proto))
                self.sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, apart)
                sock.bind((target[0], at.port, *target[2:]))
                sock.listen(BACKLOG)
                sock.setblocking(False)
            except OSError as error:
                raise AddressInUseError(f"data port: {why_not(at, error)}") from error

    def close(self) -> None:
        """Take no more connections."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.close()
        self.sockets.clear()


def take(listener: socket.socket, context: ssl.SSLContext | None = None) -> socket.socket | None:
    """The next connection at a door; None when there is none (any more). OSError when the system
    has no room for it."""
    try:
        sock, _ = listener.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            raise
        return None
    try:
        set_up(sock)
        sock = sock if context is None else encrypt(sock, context)
    except OSError:  # it is gone already
        sock.close()
        return None
    return _sockets.own(sock)


def set_up(sock: socket.socket) -> None:
    """The options of every connection."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_unsent(sock, UNSENT_BYTES)


def keep_unsent(sock: socket.socket, size: int) -> None:
    """Let the system take so many bytes that it cannot send yet, and no more."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)


def call(
    places: Sequence[Place],
    given_up: Callable[[], bool] = lambda: False,
    context: ssl.SSLContext | None = None,
) -> Iterator[tuple[Place, socket.socket | str]]:
    """Connections to the first of these places that take them, as they come, each with the place
    by number; and why those that fail do so. All addresses of a name are tried, one a little after
    the other, and none waits for one that is dead, or for a name that is not found. ``given_up``
    says that nobody wants them any more. They are encrypted as ``context`` says, if there is
    one."""
    race = _Race(places, context)
    try:
        while not given_up() and race.goes_on():
            race.step()
            while race.came:
                yield race.came.popleft()
                race.rest()
        if not given_up():
            yield from race.left_over()
    finally:
        race.close()


class _Race:
    """Addresses that are called one a little after the other; what comes of it is in ``came``."""

    def __init__(self, places: Sequence[Place], context: ssl.SSLContext | None) -> None:
        self._context = context
        self.came: deque[tuple[Place, socket.socket | str]] = deque()
        self._lookups = [_Lookup(place) for place in places]
        self._targets: deque[tuple[Place, _Target]] = deque()
        self._selector = selectors.DefaultSelector()
        self._began_at = self._last_at = time.monotonic()

    def goes_on(self) -> bool:
        """Whether something may come yet."""
        under_way = self._lookups or self._targets or self._selector.get_map()
        return bool(under_way) and time.monotonic() < self._last_at + CONNECT_S

    def step(self) -> None:
        """Begin what is due, and wait for a moment."""
        now = time.monotonic()
        if not self._targets:
            self._find(now - self._began_at)
        due = not self._selector.get_map() or now >= self._last_at + STAGGER_S
        if self._targets and due:
            self._begin(*self._targets.popleft(), now)
        if self.came:
            return
        for key, _ in self._selector.select(STEP_S):
            place, target = key.data
            sock = self._forget(key)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                if error:
                    raise OSError(error, os.strerror(error))
                sock.setblocking(True)
                set_up(sock)
                if self._context is not None:
                    sock = _sockets.own(encrypt(sock, self._context, place.host))
            except OSError as failure:
                sock.close()
                self.came.append((place, why_unreached(failure)))
            else:
                self.came.append((_by_number(target), sock))

    def rest(self) -> None:
        """Time that was spent elsewhere does not count."""
        self._last_at = time.monotonic()

    def left_over(self) -> Iterator[tuple[Place, str]]:
        """Why nothing came of the rest."""
        for key in self._selector.get_map().values():
            yield key.data[0], why_unreached(TimeoutError())
        for lookup in self._lookups:
            yield lookup.place, "the host name is not found in time"

    def close(self) -> None:
        """Let go of all that was not taken."""
        for key in list(self._selector.get_map().values()):
            self._forget(key).close()
        self._selector.close()
        for _, sock in self.came:
            if isinstance(sock, socket.socket):
                sock.close()

    def _find(self, spent_s: float) -> None:
        """The addresses of the next place whose name is found. They come in the order in which they
        are stated, if that takes no longer than a moment."""
        for lookup in self._lookups:
            if lookup.done.is_set():
                self._lookups.remove(lookup)
                self._targets.extend((lookup.place, target) for target in lookup.targets)
                if lookup.failure:
                    self.came.append((lookup.place, lookup.failure))
                return
            if spent_s < STAGGER_S:
                return

    def _begin(self, place: Place, target: _Target, now: float) -> None:
        family, kind, proto, address = target
        self._last_at = now
        try:
            sock = _sockets.own(socket.socket(family, kind, proto))
            try:
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(address)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            self.came.append((place, why_unreached(error)))
        else:
            self._selector.register(sock, selectors.EVENT_WRITE, (place, target))

    def _forget(self, key: selectors.SelectorKey) -> socket.socket:
        self._selector.unregister(key.fileobj)
        return cast(socket.socket, key.fileobj)


class _Lookup:
    """The addresses of a place, or why there are none, once it is ``done``. A thread waits for
    those of a name, and for as long as the system does, as that cannot be ended; it holds
    nothing."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.targets: list[_Target] = []
        self.failure = ""
        self.done = threading.Event()
        try:
            self._look(socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            threading.Thread(target=self._find, name="lookup", daemon=True).start()
        else:
            self.done.set()

    def _find(self) -> None:
        try:
            self._look(0)
        except (OSError, UnicodeError) as error:
            _, _, zone = self.place.host.partition("%")
            self.failure = why_unreached(error)
            if zone:
                self.failure = f"there is no network interface {zone!r} here"
        self.done.set()

    def _look(self, flags: int) -> None:
        found: dict[_Target, None] = {}
        for host in in_zones(self.place.host):
            for each in socket.getaddrinfo(
                host, self.place.port, type=socket.SOCK_STREAM, flags=flags
            ):
                found[(*each[:3], each[4])] = None
        self.targets = list(found)
        self.failure = "" if found else "this machine has no network interface for such an address"


def _by_number(target: _Target) -> Place:
    host, port, *more = target[3]
    zone = f"%{more[1]}" if more and more[1] else ""
    return Place(f"{host}{zone}", int(port))

"""The one place that makes connections and takes them.

Everything that is particular to sockets is here: options, names that stand for several addresses,
and (when it comes) encryption.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterator, Sequence

from shoal.errors import AddressInUseError
from shoal.mesh.address import Address, why_not
from shoal.mesh.place import Place, own_hosts

STAGGER_S = 0.15
"""Time after which the next address is tried beside those before (RFC 8305)."""
CONNECT_S = 1.5
"""How long all addresses of a node together are tried."""
UNSENT_BYTES = 1 << 16
"""Bytes that wait in the system at first: what waits elsewhere can be given to somebody else."""
BACKLOG = 128


class Doors:
    """Where this node takes connections: at the hosts of its mesh addresses, on ``port`` (0: any
    free one; None: the port of the mesh plus 1, or any free one where that is taken), which is the
    same for all of them."""

    def __init__(self, listen: Sequence[Address], port: int | None) -> None:
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
                sock = socket.socket(family, kind, proto)
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


def take(listener: socket.socket) -> socket.socket | None:
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
    except OSError:  # it is gone already
        sock.close()
        return None
    return sock


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
    places: Sequence[Place], given_up: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Place, socket.socket | str]]:
    """Connections to the first of these places that take them, as they come, each with the place
    by number; and why those that fail do so. All addresses of a name are tried, one a little after
    the other, and none waits for one that is dead, or for a name that is not found. ``given_up``
    says that nobody wants them any more."""
    lookups = [_Lookup(place) for place in places]
    targets: deque[tuple[Place, _Target]] = deque()
    began = next_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        try:
            while lookups or targets or selector.get_map():
                now = time.monotonic()
                if given_up() or now >= max(began, next_at) + CONNECT_S:
                    break
                if not targets and (found := _found(lookups, now - began)) is not None:
                    targets.extend((found.place, target) for target in found.targets)
                    if found.failure:
                        yield found.place, found.failure
                    continue
                if targets and now >= next_at:
                    place, target = targets.popleft()
                    next_at = now + STAGGER_S
                    begun = _begin(target)
                    if isinstance(begun, str):
                        next_at = now
                        yield place, begun
                        continue
                    selector.register(begun, selectors.EVENT_WRITE, (place, target))
                for key, _ in selector.select(LOOK_S if lookups else STAGGER_S):
                    sock, (place, target) = key.fileobj, key.data
                    if not isinstance(sock, socket.socket):
                        continue
                    selector.unregister(sock)
                    next_at = 0.0 if not targets else min(next_at, now)
                    failure = _failure(sock)
                    if failure:
                        sock.close()
                        yield place, failure
                    else:
                        yield Place(_number(target), place.port), sock
                        began = next_at = time.monotonic()
            for key in list(selector.get_map().values()):
                yield key.data[0], _reason(TimeoutError())
            for lookup in lookups:
                yield lookup.place, "the host name is not found in time"
        finally:
            for key in list(selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()

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
    free one; None: the port of the mesh plus 1, or any free one where that is taken)."""

    def __init__(self, listen: Sequence[Address], port: int | None) -> None:
        self.sockets: list[socket.socket] = []
        self.places: tuple[Place, ...] = ()
        try:
            self._open(listen, port)
        except BaseException:
            self.close()
            raise

    def _open(self, listen: Sequence[Address], port: int | None) -> None:
        hosts = list(dict.fromkeys(address.host for address in listen))
        for address in listen:
            wanted = port
            if wanted is None:
                wanted = (address.port + 1) % (1 << 16) if address.port else 0
            if self.places_port and port in (None, 0):
                wanted = self.places_port  # the same for all
            try:
                self._bind(address, wanted)
            except AddressInUseError:
                if port is not None:
                    raise
                self._bind(address, 0)
        if self.sockets:
            self.places = tuple(Place(host, self.places_port) for host in own_hosts(hosts))

    @property
    def places_port(self) -> int:
        """The port, 0 while there is none."""
        return int(self.sockets[0].getsockname()[1]) if self.sockets else 0

    def _bind(self, address: Address, port: int) -> None:
        at = Address("tcp", address.host, port)
        try:
            found = socket.getaddrinfo(
                address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, proto, _, target = found[0]
            sock = socket.socket(family, kind, proto)
            self.sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(target)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            if self.sockets and self.sockets[-1].fileno() >= 0:
                self.sockets.pop().close()
            raise AddressInUseError(f"data port: {why_not(at, error)}") from error

    def close(self) -> None:
        """Take no more connections."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.close()
        self.sockets.clear()


def take(listener: socket.socket) -> socket.socket | None:
    """The next connection at a door; None when there is none (any more)."""
    try:
        sock, _ = listener.accept()
    except OSError:
        return None
    set_up(sock)
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


def call(places: Sequence[Place]) -> Iterator[tuple[Place, socket.socket | str]]:
    """Connections to the first of these places that take them, as they come, and why those that
    fail do so. All addresses of a name are tried, one a little after the other, and none waits for
    one that is dead."""
    waiting = list(_addresses(places))
    end = time.monotonic() + CONNECT_S
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting:
                    place, found = waiting.pop(0)
                    begun = _begin(found) if not isinstance(found, str) else found
                    if isinstance(begun, str):
                        yield place, begun
                        continue
                    selector.register(begun, selectors.EVENT_WRITE, place)
                left = end - time.monotonic()
                if left <= 0:
                    break
                for key, _ in selector.select(min(left, STAGGER_S) if waiting else left):
                    sock = key.fileobj
                    if not isinstance(sock, socket.socket):
                        continue
                    selector.unregister(sock)
                    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if error:
                        sock.close()
                        yield key.data, _reason(OSError(error, errno.errorcode.get(error, "?")))
                    else:
                        sock.setblocking(True)
                        set_up(sock)
                        yield key.data, sock
            for key in list(selector.get_map().values()):
                yield key.data, _reason(TimeoutError())
        finally:
            for key in list(selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()


_Target = tuple[int, int, int, object]


def _addresses(places: Sequence[Place]) -> Iterator[tuple[Place, _Target | str]]:
    for place in places:
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            yield place, "the host name is unknown"
            continue
        for family, kind, proto, _, target in dict.fromkeys(found):
            yield place, (family, kind, proto, target)


def _begin(found: _Target) -> socket.socket | str:
    family, kind, proto, target = found
    try:
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        return _reason(error)
    sock.setblocking(False)
    try:
        sock.connect(target)  # type: ignore[arg-type]
    except BlockingIOError:
        pass
    except OSError as error:
        sock.close()
        return _reason(error)
    return sock


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return "no reply (is it switched on, is a firewall in the way?)"
    match error.errno:
        case errno.ECONNREFUSED:
            return "the host is there, but nothing listens on that port"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            return "there is no way to that host from here"
        case _:
            return error.strerror or str(error)

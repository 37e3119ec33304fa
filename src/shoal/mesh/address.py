"""Addresses as Zenoh writes them: ``tcp/192.168.1.7:7447``, ``tls/board.local:7447``."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

import msgspec

from shoal.errors import AddressInUseError, UsageError

DIAL_TIMEOUT_S = 1.0
_FORM = re.compile(
    r"(?P<protocol>[a-z][a-z0-9-]*)/(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\[\]/:?#]+):(?P<port>\d{1,5})"
    r"(?P<rest>[?#].*)?"
)
_DATAGRAM = {"udp", "quic"}


class Address(msgspec.Struct, frozen=True):
    """``rest`` are Zenoh's options, from the first ``?`` or ``#`` on."""

    protocol: str
    host: str
    port: int
    rest: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}/{host}:{self.port}{self.rest}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can be reached there."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def kind(self) -> socket.SocketKind:
        """The kind of socket below."""
        return socket.SOCK_DGRAM if self.protocol in _DATAGRAM else socket.SOCK_STREAM


def parse_address(text: str) -> Address:
    """The address written as ``text``; UsageError when it is none."""
    match = _FORM.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(
            f"{text[:200]!r} is no address; write it as PROTOCOL/HOST:PORT, "
            "for instance tcp/192.168.1.7:7447"
        )
    host = match["host"].strip("[]")
    return Address(match["protocol"], host, int(match["port"]), match["rest"] or "")


def bindable(address: Address) -> Address:
    """``address`` with a real port in place of port 0.

    Raises AddressInUseError when it cannot be listened on.
    """
    try:
        family, kind, proto, _, target = socket.getaddrinfo(
            address.host, address.port, type=address.kind, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            if address.port and kind == socket.SOCK_STREAM:
                # A port with connections that are winding down is free to those who listen.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(target)
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
            port: int = probe.getsockname()[1]
    except UnicodeError:
        raise AddressInUseError(f"cannot listen on {address}: that is no host name") from None
    except OSError as error:
        raise AddressInUseError(why_not(address, error)) from error
    return Address(address.protocol, address.host, port, address.rest)


def why_not(address: Address, error: OSError) -> str:
    """Why an address cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"cannot listen on {address}: another process has this port; stop it, or choose "
            "another port (port 0 takes any free one)"
        )
    if error.errno == errno.EACCES:
        return f"cannot listen on {address}: no right to use this port; choose one from 1024 up"
    return f"cannot listen on {address}: {error.strerror or error}; is this an address of ours?"


def dial(address: Address) -> str | None:
    """Why nobody can be reached at ``address``, or None when somebody listens there."""
    if address.kind != socket.SOCK_STREAM:
        return None
    try:
        with socket.create_connection((address.host, address.port), DIAL_TIMEOUT_S):
            return None
    except (OSError, UnicodeError) as error:
        return why_unreached(error)


def why_unreached(error: OSError | UnicodeError) -> str:
    """Why a host or a port cannot be called."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "the host name is unknown"
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return "no reply (is it switched on, is a firewall in the way?)"
    match error.errno:
        case errno.ECONNREFUSED:
            return "the host is there, but nothing listens on that port"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            return "there is no way to that host from here"
    return error.strerror or str(error)


def numbered(address: Address) -> Address:
    """An address with the number of its zone in place of its name, which the engine of the mesh
    does not know."""
    number, _, zone = address.host.partition("%")
    if not zone or zone.isdigit():
        return address
    try:
        scope = socket.if_nametoindex(zone)
    except OSError:
        return address
    return msgspec.structs.replace(address, host=f"{number}%{scope}")


def resolved(address: Address) -> list[str]:
    """An address as the engine of the mesh is told it: as it is written, so that a name is looked
    up again when it moves, and what the engine does not find out itself: the IPv6 addresses of a
    name, and the number of a zone."""
    if address.protocol != "tcp" or ":" in address.host:
        return [str(numbered(address))]
    try:
        found = socket.getaddrinfo(address.host, address.port, socket.AF_INET6, address.kind)
    except (OSError, UnicodeError):
        return [str(address)]
    hosts = dict.fromkeys(str(target[0]) for *_, target in found)
    return [str(address), *(str(msgspec.structs.replace(address, host=host)) for host in hosts)]

"""The devices, the links between them, and the gateway: what a cluster file says.

Checked when made, from YAML or in Python; every mistake is a ClusterError that names the place in
the document (``devices[1].speed``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from shoal.errors import ClusterError
from shoal.plan import safe_yaml, size
from shoal.plan.size import Size

MAX_DEVICES = 4096
MAX_NAME = 64

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")
_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)/)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})"
)
SCHEMES = ("tcp", "tls", "quic")


def normal_address(address: str) -> str | None:
    """``host:port`` or ``tcp/host:port`` as the latter; None when it is neither."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        return None
    scheme = match["scheme"] or "tcp"
    if scheme not in SCHEMES:
        return None
    return f"{scheme}/{match['host']}:{int(match['port'])}"


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device draws in watts: waiting, computing, sending."""

    idle_w: float = 0.0
    busy_w: float = 0.0
    transmit_w: float = 0.0


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node that runs parts.

    ``address`` is where it listens (``tcp/192.168.1.11:7447``, or without ``tcp/``; None: it finds
    the gateway itself).
    ``memory`` bounds its loaded parts in bytes (0: none). ``speed`` is how much faster it is than
    the machine that measured the profile (1.0: as fast), used when the device itself cannot be
    measured. Devices of one ``host`` share its cores (None: a host of its own).
    """

    name: str
    address: str | None = None
    threads: int = 1
    provider: str = "CPUExecutionProvider"
    memory: Size = Size(0)
    speed: float = 1.0
    host: str | None = None
    power: Power | None = None

    def __post_init__(self) -> None:
        full = normal_address(self.address) if self.address is not None else None
        if full is not None:
            msgspec.structs.force_setattr(self, "address", full)


class Gateway(Device, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The node in the user's process. ``compute``: it may also run parts of plans that spread a
    network (the strategy ``local`` always runs there)."""

    name: str = "gateway"
    compute: bool = False


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a link carries in one direction, and the time there and back."""

    mbit_s: float = 940.0
    rtt_ms: float = 0.5


LOOPBACK = Rate(mbit_s=8000.0, rtt_ms=0.1)
"""Between devices of one host, unless the file says otherwise."""


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The link of two nodes: ``mbit_s`` from the first to the second, ``back_mbit_s`` the other
    way (None: the same). What is left out is as in the default."""

    first: str = msgspec.field(name="from")
    second: str = msgspec.field(name="to")
    mbit_s: float | None = None
    back_mbit_s: float | None = None
    rtt_ms: float | None = None


class Links(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All links: ``default`` for every pair of hosts that is not listed in ``pairs``."""

    default: Rate = Rate()
    pairs: tuple[Pair, ...] = ()


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine that several devices share."""

    cores: float


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A gateway and at least one device.

    ``lease_ms`` is the silence after which a peer counts as gone; ``wait_s`` how long a
    deployment waits for the devices to appear.
    """

    name: str = "cluster"
    devices: tuple[Device, ...]
    gateway: Gateway = Gateway()
    links: Links = Links()
    hosts: dict[str, Host] = {}
    lease_ms: int = 400
    wait_s: float = 10.0

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def load(cls, path: str | Path) -> Cluster:
        """Read a cluster file; ClusterError says what is wrong, where, and what to do."""
        path = Path(path)
        return cls.from_yaml(safe_yaml.read_text(path), source=str(path))

    @classmethod
    def from_yaml(cls, text: str, source: str = "cluster") -> Cluster:
        """A cluster from YAML text; ``source`` names it in errors (ClusterError)."""
        data = safe_yaml.parse(text, source)
        if not isinstance(data, dict):
            raise ClusterError(
                f"{source}: holds no settings; a cluster file needs at least 'devices:' with one "
                "device (docs/clusters.md)"
            )
        try:
            return msgspec.convert(data, cls, dec_hook=_from_plain)
        except msgspec.ValidationError as error:
            raise ClusterError(f"{source}: {_explain(str(error))}") from None
        except ClusterError as error:
            raise ClusterError(f"{source}: {error}") from None

    @classmethod
    def on_one_host(cls, count: int, cores: float, **settings: Any) -> Cluster:
        """``count`` devices ``worker-1`` ... and the gateway, all on one host of ``cores``."""
        return cls(
            name=f"{count} workers on one host",
            devices=tuple(Device(name=f"worker-{k + 1}", host="here") for k in range(count)),
            gateway=Gateway(host="here"),
            hosts={"here": Host(cores)},
            **settings,
        )

    def to_yaml(self) -> str:
        """The cluster as YAML that :meth:`from_yaml` reads; defaults are left out."""
        plain = _without_defaults(self)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the devices, in the order of the file (without the gateway)."""
        return tuple(device.name for device in self.devices)

    @property
    def computing(self) -> tuple[Device, ...]:
        """The devices that a network may be spread over: all, and the gateway if it computes."""
        return (*self.devices, self.gateway) if self.gateway.compute else self.devices

    def node(self, name: str) -> Device:
        """The device or gateway called ``name``; ClusterError if there is none."""
        for node in self._nodes():
            if node.name == name:
                return node
        raise ClusterError(
            f"no device is called {name!r} (there are: {', '.join(n.name for n in self._nodes())})"
        )

    def host_of(self, name: str) -> str:
        """The host of a node: as stated, or one of its own."""
        return self.node(name).host or name

    def cores_of(self, host: str) -> float:
        """Cores of a host as stated; for a device with a host of its own, its threads."""
        return self.hosts[host].cores if host in self.hosts else float(self.node(host).threads)

    def rate(self, giver: str, taker: str) -> Rate:
        """What the link from one node to another carries."""
        same_host = self.host_of(giver) == self.host_of(taker)
        usual = LOOPBACK if same_host else self.links.default
        for pair in self.links.pairs:
            if {pair.first, pair.second} == {giver, taker}:
                there = pair.mbit_s or usual.mbit_s
                back = pair.back_mbit_s or there
                return Rate(
                    there if giver == pair.first else back,
                    usual.rtt_ms if pair.rtt_ms is None else pair.rtt_ms,
                )
        return usual

    def _nodes(self) -> Iterator[Device]:
        yield from self.devices
        yield self.gateway


def _check(cluster: Cluster) -> None:
    """Everything that types cannot say; ClusterError with the place."""
    if not cluster.devices:
        raise ClusterError("devices: is empty; list at least one device")
    if len(cluster.devices) > MAX_DEVICES:
        raise ClusterError(
            f"devices: holds {len(cluster.devices)}, at most {MAX_DEVICES} are allowed; "
            "make several clusters"
        )
    _positive("lease_ms", cluster.lease_ms)
    _positive("wait_s", cluster.wait_s)
    places = [(f"devices[{k}]", device) for k, device in enumerate(cluster.devices)]
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for place, node in [*places, ("gateway", cluster.gateway)]:
        _check_node(place, node, cluster)
        if node.name in names:
            raise ClusterError(
                f"{place}.name: {node.name!r} is also the name of {names[node.name]}; "
                "give every device and the gateway a name of its own"
            )
        names[node.name] = place
        address = node.address
        if address is None:
            continue
        if normal_address(address) is None:
            raise ClusterError(
                f"{place}.address: {address!r} is not an address; write it like "
                f"tcp/192.168.1.11:7447 or pi-1:7447 (kinds: {', '.join(SCHEMES)})"
            )
        if address in addresses:
            raise ClusterError(
                f"{place}.address: {address} is also the address of {addresses[address]}; "
                "give each device a port of its own"
            )
        addresses[address] = place
    for host, facts in cluster.hosts.items():
        _positive(f"hosts.{host}.cores", facts.cores)
        if host not in {node.host for node in cluster._nodes()}:
            raise ClusterError(
                f"hosts.{host}: no device is on this host; set 'host: {host}' on its devices or "
                "remove it"
            )
    _check_links(cluster, names)


def _check_node(place: str, node: Device, cluster: Cluster) -> None:
    if not _NAME.fullmatch(node.name):
        raise ClusterError(
            f"{place}.name: {node.name!r} is not a name; use 1 to {MAX_NAME} letters, digits, "
            "'-', '_' or '.', beginning with a letter or digit"
        )
    if not 1 <= node.threads <= 1024:
        raise ClusterError(
            f"{place}.threads: {node.threads} is not a number of threads; write 1 to 1024"
        )
    if not 0 <= node.memory < size.MAX:
        raise ClusterError(
            f"{place}.memory: {int(node.memory)} is not a size; write it like 900 MiB (0: no limit)"
        )
    if not node.provider or len(node.provider) > 100:
        raise ClusterError(
            f"{place}.provider: is not the name of an ONNX Runtime provider; "
            "write for example CPUExecutionProvider"
        )
    _positive(f"{place}.speed", node.speed)
    if node.host is not None:
        if not _NAME.fullmatch(node.host):
            raise ClusterError(f"{place}.host: {node.host!r} is not a name; use letters and digits")
        if node.host not in cluster.hosts:
            raise ClusterError(
                f"{place}.host: {node.host!r} is not in 'hosts'; add 'hosts: {{{node.host}: "
                "{cores: 4}}' so that its cores can be shared out"
            )
    if node.power is not None:
        for name in ("idle_w", "busy_w", "transmit_w"):
            _not_negative(f"{place}.power.{name}", getattr(node.power, name))


def _check_links(cluster: Cluster, names: dict[str, str]) -> None:
    _check_rate("links.default", cluster.links.default.mbit_s, cluster.links.default.rtt_ms)
    seen: dict[frozenset[str], str] = {}
    for k, pair in enumerate(cluster.links.pairs):
        place = f"links.pairs[{k}]"
        for key, end in (("from", pair.first), ("to", pair.second)):
            if end not in names:
                raise ClusterError(
                    f"{place}.{key}: no device is called {end!r} (there are: {', '.join(names)})"
                )
        if pair.first == pair.second:
            raise ClusterError(f"{place}: links {pair.first!r} to itself; name two devices")
        ends = frozenset((pair.first, pair.second))
        if ends in seen:
            raise ClusterError(
                f"{place}: {pair.first} and {pair.second} are linked in {seen[ends]} already; "
                "write one entry (back_mbit_s is the rate of the other direction)"
            )
        seen[ends] = place
        _check_rate(place, pair.mbit_s, pair.rtt_ms)
        if pair.back_mbit_s is not None:
            _positive(f"{place}.back_mbit_s", pair.back_mbit_s)


def _check_rate(place: str, mbit_s: float | None, rtt_ms: float | None) -> None:
    if mbit_s is not None:
        _positive(f"{place}.mbit_s", mbit_s)
    if rtt_ms is not None:
        _not_negative(f"{place}.rtt_ms", rtt_ms)


def _positive(place: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ClusterError(f"{place}: {value:g} makes no sense; write a number above 0")


def _not_negative(place: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ClusterError(f"{place}: {value:g} makes no sense; write a number of 0 or more")


def _from_plain(kind: type, value: object) -> object:
    if kind is Size:
        return Size.parse(value)
    raise TypeError(f"cannot read a {kind.__name__}")


def _without_defaults(struct: msgspec.Struct) -> dict[str, Any]:
    """A struct as plain data without the fields that hold their default."""
    plain: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if value != default:
            plain[field.encode_name] = _plain(value)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _without_defaults(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Size) else value


_KINDS: dict[str, type[msgspec.Struct]] = {
    "devices[]": Device,
    "gateway": Gateway,
    "power": Power,
    "links": Links,
    "default": Rate,
    "pairs[]": Pair,
    "hosts[]": Host,
}


def _explain(text: str) -> str:
    """A conversion error of msgspec in our words: the place first, then what to do."""
    what, _, place = text.partition(" - at `$")
    place = place.rstrip("`").replace("[...]", "[]").lstrip(".")
    place = place.removeprefix("key in ")
    where = f"{place}: " if place else ""
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if unknown or missing:
        last = re.sub(r"\[\d*\]$", "[]", place.rsplit(".", 1)[-1])
        keys = [f.encode_name for f in msgspec.structs.fields(_KINDS.get(last, Cluster))]
        if unknown:
            return f"{where}unknown key {unknown[1]!r}; the keys here are {', '.join(keys)}"
        if missing:
            return f"{where}the key {missing[1]!r} is missing; add it"
    return f"{where}{what[:1].lower()}{what[1:]}; see docs/clusters.md for what is expected"

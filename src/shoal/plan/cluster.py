"""The devices, the links between them, and the gateway: what a cluster file says.

Checked when made, from YAML or in Python; every mistake is a ClusterError that names the place in
the document (``devices[1].speed``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from shoal import safe_yaml
from shoal.errors import ClusterError
from shoal.plan.cluster_check import check, normal_address, split_address
from shoal.plan.size import Size


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device draws in watts: waiting, computing, sending."""

    idle_w: float = 0.0
    busy_w: float = 0.0
    transmit_w: float = 0.0


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node that runs parts.

    ``address`` is where it listens (``tcp/192.168.1.11:7447``, or without ``tcp/``; None: it finds
    the gateway itself). ``data_port`` is where it takes requests and parts (None: the port of its
    address plus 1, or any free one if another node of its machine has that; 0: any free one).
    ``memory`` bounds its loaded parts in bytes (0: none). ``speed`` is how much faster it is than
    the machine that measured the profile (1.0: as fast), used when the device itself cannot be
    measured. Devices of one ``host`` share its cores (None: a host of its own). ``reliability`` is
    the share of the time at which it is there.
    """

    name: str
    address: str | None = None
    data_port: int | None = None
    threads: int = 1
    provider: str = "CPUExecutionProvider"
    memory: Size = Size(0)
    speed: float = 1.0
    host: str | None = None
    reliability: float = 1.0
    power: Power | None = None

    def __post_init__(self) -> None:
        full = normal_address(self.address) if self.address is not None else None
        if full is not None:
            msgspec.structs.force_setattr(self, "address", full)


class Gateway(Device, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The node in the user's process. ``compute``: it may also run parts of plans that spread a
    network (what is not distributed runs there anyway)."""

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
        check(self)

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

    def to_yaml(self) -> str:
        """The cluster as YAML that :meth:`from_yaml` reads; defaults are left out."""
        return yaml.safe_dump(_plain(self), sort_keys=False, allow_unicode=True)

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
        known = ", ".join(n.name for n in self._nodes())
        raise ClusterError(
            f"no device is called {name!r} (there are: {known}); give one of these with --name"
        )

    def data_port(self, name: str) -> int | None:
        """The port at which a node takes requests and parts: 0 for any free one, None for the one
        after that of its address if it is free."""
        node = self.node(name)
        at = split_address(node.address)
        if node.data_port is not None or at is None:
            return node.data_port
        others = (split_address(other.address) for other in self._nodes() if other.name != name)
        return 0 if (at[0], at[1] + 1) in others else None

    def known(self) -> dict[str, tuple[str, int]]:
        """Host and data port of each node with an address, by name (port 0: it tells it)."""
        places = ((node, split_address(node.address)) for node in self._nodes())
        return {node.name: (at[0], node.data_port or 0) for node, at in places if at is not None}

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


def _from_plain(kind: type, value: object) -> object:
    if kind is Size:
        return Size.parse(value)
    raise TypeError(f"cannot read a {kind.__name__}")


def _plain(value: Any) -> Any:
    """A value as plain data; structs without the fields that hold their default."""
    if isinstance(value, msgspec.Struct):
        fields = ((each, getattr(value, each.name)) for each in msgspec.structs.fields(value))
        return {each.encode_name: _plain(own) for each, own in fields if own != _default(each)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Size) else value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


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

"""What a node knows of the devices and links around it when it decides about the next hop."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from shoal.core.messages import Load
from shoal.core.policy import DeviceView, LinkView
from shoal.core.shared.membership import Membership


class Without(Mapping[str, DeviceView]):
    """Devices as in ``views``, those in ``names`` unusable."""

    def __init__(self, views: Mapping[str, DeviceView], names: Collection[str]) -> None:
        self._views, self._names = views, names

    def __getitem__(self, name: str) -> DeviceView:
        view = self._views[name]
        return msgspec.structs.replace(view, usable=False) if name in self._names else view

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


@dataclass(slots=True)
class _Neighbour:
    load: Load = field(default_factory=Load)
    given: int = 0


class Neighbours(Mapping[str, DeviceView]):
    """The devices as a worker sees them: itself, and the peers with what they last said of their
    load and what was given to them since. ``links`` are those from here, by peer."""

    def __init__(self, name: str, members: Membership) -> None:
        self.own = Load()
        self.links: dict[str, LinkView] = {}
        self._name = name
        self._members = members
        self._peers: dict[str, _Neighbour] = {}

    def heard(self, peer: str, load: Load) -> None:
        """A peer said how busy it is."""
        if self._members.get(peer) is not None:
            self._peers[peer] = _Neighbour(load)

    def gave(self, peer: str) -> None:
        """A peer was given a job."""
        if self._members.get(peer) is not None:
            self._peers.setdefault(peer, _Neighbour()).given += 1

    def kept_back(self, peer: str) -> None:
        """What was to be given to a peer did not leave: it will never say that it is done."""
        known = self._peers.get(peer)
        if known is not None and known.given:
            known.given -= 1

    def restarted(self, peer: str) -> None:
        """A peer knows nothing of what it was given, and has nothing to say of it."""
        self._peers.pop(peer, None)

    def gone(self, peer: str) -> None:
        """A peer is gone."""
        self._peers.pop(peer, None)
        self.links.pop(peer, None)

    def __getitem__(self, name: str) -> DeviceView:
        if name == self._name:
            load, given, usable = self.own, 0, True
        else:
            known = self._peers.get(name)
            load, given = (known.load, known.given) if known else (Load(), 0)
            usable = self._members.alive(name) and not self._members.draining(name)
            if known is None and self._members.get(name) is None:
                raise KeyError(name)
        outstanding = load.waiting + load.running + load.held + given
        return DeviceView(usable, outstanding, outstanding * load.run_ms, load=load)

    def __iter__(self) -> Iterator[str]:
        yield self._name
        yield from (name for name, _ in self._members.items() if name != self._name)

    def __len__(self) -> int:
        return sum(1 for _ in self)

"""A walk through the nodes of a region: what of each tensor the devices have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from shoal.model.network import Network
from shoal.model.shards.layout import Dealt, Partial, State, Widths
from shoal.model.shards.operators import LAYERS, Look, looks
from shoal.model.shards.region import Kind, Point, Region, Share, Width
from shoal.model.shards.rules import apply, begin


class Cost(NamedTuple):
    """Multiplications for one image and bytes of weights, of a node or of all that is like it."""

    macs: float
    bytes: float


class Walk:
    """The ``nodes`` of a network from ``start`` on, as far as :meth:`step` went.

    Layers that read what all devices have begin a width each, but for those in ``whole``, which
    every device computes. ``states`` are of the tensors that not every device has all of, ``kinds``
    of the nodes. ``points`` are the tensors whose units are summed over.
    """

    def __init__(self, nodes: Sequence[Look], start: int, whole: Collection[int] = ()) -> None:
        self.nodes = nodes
        self.network = nodes[0].network
        self.start = self.at = start
        self.states: dict[str, State] = {}
        self.kinds: list[Kind] = []
        self.widths = Widths()
        self.points: dict[str, Dealt] = {}
        self._whole = frozenset(whole)

    @classmethod
    def through(cls, network: Network, region: Region) -> Walk:
        """The walk that found a region of this network."""
        whole = (share.node for share in region.shares if share.kind is Kind.WHOLE)
        walk = cls(looks(network), region.start, tuple(whole))
        while walk.at < region.end:
            walk.step()
        return walk

    def __iter__(self) -> Iterator[tuple[Look, Kind]]:
        return zip(self.nodes[self.start : self.at], self.kinds, strict=True)

    def step(self) -> None:
        """Take in the next node. Raises :class:`Undealable` where it cannot be computed from what
        the devices have; then only :meth:`makers` tells something."""
        look = self.nodes[self.at]
        states = {name: self.states[name] for name in look.fed() if name in self.states}
        layer = look.layer
        made: State | None = None
        if states:
            made = apply(look, states, self.widths)
        elif self.at not in self._whole and not isinstance(layer, str) and layer.makes > 1:
            made = begin(look, layer, self.widths)
        if made is None:
            self.kinds.append(Kind.WHOLE)
        else:
            self.states[look.made] = made
            self.kinds.append(Kind.DEALT if isinstance(made, Dealt) else Kind.PARTIAL)
        if isinstance(made, Partial):
            for name, state in states.items():
                if isinstance(state, Dealt):
                    self.points[name] = state
        self.at += 1

    def makers(self, tensors: Iterable[str]) -> frozenset[int]:
        """The layers that begin the widths behind these tensors."""
        states = [self.states[name] for name in tensors]
        return self.widths.makers(name for each in states for name in self.widths.behind(each))

    def point(self, name: str, state: Dealt) -> Point:
        """A dealt tensor in units."""
        spec = self.network.spec(name)
        assert spec is not None, "what is dealt has a shape"
        return Point(spec, state.axis, self.widths.runs(state))

    def shares(self) -> tuple[Share, ...]:
        """Who computes each node."""
        return tuple(
            Share(look.number, kind, look.macs, self._fractions(look, kind)) for look, kind in self
        )

    def _fractions(self, look: Look, kind: Kind) -> dict[str, float]:
        """The share of a node's computing that belongs to each width."""
        if kind is Kind.WHOLE:
            return {}
        state = self.states.get(look.made if kind is Kind.DEALT else look.reads[0])
        if not isinstance(state, Dealt):
            return {}  # what is done to a sum has no multiplications of its own
        total = sum(strip.entries for strip in state.strips)
        found: dict[str, float] = defaultdict(float)
        for strip in state.strips:
            if strip.width:
                found[self.widths.root(strip.width)] += strip.entries / total
        return dict(found)

    def weigh(self, shares: tuple[Share, ...]) -> tuple[tuple[Width, ...], Cost]:
        """The widths with what each unit costs, and what every device computes and holds."""
        macs: dict[str, float] = defaultdict(float)
        held: dict[str, float] = defaultdict(float)
        whole_macs = whole_bytes = 0.0
        for share in shares:
            shared, everywhere = self._bytes(self.nodes[share.node], share.kind)
            rest = 1.0 - sum(share.widths.values())
            whole_macs += share.macs * rest
            whole_bytes += everywhere + shared * rest
            for name, part in share.widths.items():
                macs[name] += share.macs * part
                held[name] += shared * part
        widths = []
        for name in macs:
            units = self.widths.units(name)
            widths.append(Width(name, units, held[name] / units, macs[name] / units))
        return tuple(widths), Cost(whole_macs, whole_bytes)

    def _bytes(self, look: Look, kind: Kind) -> tuple[int, int]:
        """Bytes of a node's weights that go with the units, and of those that do not."""
        weights = self.network.graph.weights
        sizes = [weights[name].nbytes if name in weights else 0 for name in look.reads]
        if kind is Kind.WHOLE:
            _, behind = self.network.constants(look.reads)
            return 0, sum(weight.nbytes for weight in behind.values())
        if kind is Kind.PARTIAL:
            weight = sizes[1] if look.op in LAYERS else 0
            return weight, sum(sizes) - weight
        return sum(sizes), 0

"""A network of a few lines that answers what planning asks: no ONNX, no engine.

Node ``k`` makes ``t{k+1} = tanh(W t{k})``, plus ``t{j}`` for each ``j`` in ``skips[k]``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from shoal.model.proof import difference
from shoal.model.spec import TensorSpec
from shoal.model.strength import Strength
from shoal.plan.plan import PartInfo


@dataclass(frozen=True)
class ToyCut:
    at: int
    names: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class ToyPart:
    network: ToyNetwork
    first: int
    last: int
    spoilt: bool = False

    @property
    def hash(self):
        return f"{self.network.hash}-{self.first}-{self.last}" + "-spoilt" * self.spoilt

    @property
    def range(self):
        return (self.first, self.last)

    @property
    def inputs(self):
        return self.network.crossing(self.first)

    @property
    def outputs(self):
        return self.network.crossing(self.last)

    @property
    def info(self):
        memory = self.network.node_memory * (self.last - self.first)
        return PartInfo(size=100, blobs={}, memory=memory, stacks=self.network.stacks)

    def session(self):
        return self

    def run_on(self, session, feeds):
        at_hand = dict(feeds)
        for k in range(self.first, self.last):
            at_hand[f"t{k + 1}"] = self.network.node(k, at_hand) + 0.1 * self.spoilt
        return {name: at_hand[name] for name in self.outputs}


@dataclass(frozen=True)
class ToyCase:
    feeds: dict
    expected: dict

    def difference(self, name, found):
        return difference(self.expected[name], found)


@dataclass(frozen=True, eq=False)
class ToyNetwork:
    """``widths[k]`` is the size of tensor ``k``; a skip needs equal widths at both ends."""

    widths: tuple[int, ...] = (8, 8, 8, 8, 8)
    skips: dict[int, tuple[int, ...]] = field(default_factory=dict)
    node_memory: int = 1000
    name: str = "toy"
    hash: str = "toyhash"
    tolerance: float = 1e-4
    stacks: bool = True
    preprocessing: None = None

    @property
    def nodes(self):
        return len(self.widths) - 1

    @property
    def inputs(self):
        return (TensorSpec("t0", "float32", (None, self.widths[0])),)

    @property
    def outputs(self):
        return (TensorSpec(f"t{self.nodes}", "float32", (None, self.widths[-1])),)

    @property
    def cuts(self):
        return tuple(
            ToyCut(at, self.crossing(at), 4 * sum(self.width(n) for n in self.crossing(at)))
            for at in range(1, self.nodes)
        )

    def width(self, name):
        return self.widths[int(name[1:])]

    def crossing(self, at):
        skipped = {j for k, sources in self.skips.items() if k >= at for j in sources if j < at}
        return tuple(f"t{j}" for j in sorted(skipped | {at}))

    def split(self, cuts, *, prove=True):
        ends = [0, *cuts, self.nodes]
        return [ToyPart(self, a, b) for a, b in itertools.pairwise(ends)]

    def probe(self, seed=0, batch=1):
        random = np.random.default_rng(seed)
        return {"t0": random.standard_normal((batch, self.widths[0])).astype(np.float32)}

    def cases(self, seed=0):
        return self.given([self.probe(seed, 1), self.probe(seed, 2)])

    def given(self, feeds):
        whole = ToyPart(self, 0, self.nodes)
        return [ToyCase(each, whole.run_on(None, each)) for each in feeds]

    def strength(self, given=()):
        return Strength("toys", 3 + len(given), self.tolerance)

    def node(self, k, at_hand):
        random = np.random.default_rng(k)
        weights = random.standard_normal((self.widths[k], self.widths[k + 1])).astype(np.float32)
        made = np.tanh(at_hand[f"t{k}"] @ weights)
        for j in self.skips.get(k, ()):
            made = made + at_hand[f"t{j}"]
        return made


@dataclass(frozen=True)
class ToyProfile:
    """Times by node, ``fixed_ms`` for each run, and memory by node."""

    node_ms: tuple[float, ...]
    fixed_ms: float = 0.0
    node_memory: int = 1000

    @classmethod
    def even(cls, network, ms=10.0, **facts):
        return cls((ms / network.nodes,) * network.nodes, **facts)

    def range_ms(self, first, last):
        return self.fixed_ms + sum(self.node_ms[first:last])

    def range_memory(self, first, last):
        return self.node_memory * (last - first)

"""What planning asks of a network, its parts and its profile (``shoal.model`` answers it).

Planning knows networks only through these, so that it imports no engine and a test can stand in
for a network with a few lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.spec import TensorSpec
from shoal.model.strength import Strength
from shoal.plan.plan import PartInfo

Array: TypeAlias = npt.NDArray[Any]
Feeds: TypeAlias = dict[str, Array]


class Cut(Protocol):
    """A place where the network may be divided: before node ``at`` of its topological order.
    The tensors ``names`` cross it, ``bytes`` in all at batch 1."""

    @property
    def at(self) -> int: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def bytes(self) -> int: ...


class Part(Protocol):
    """A runnable piece, named by the hash of its content. ``run_on`` takes all of ``inputs`` and
    gives all of ``outputs``, those that it only carries too."""

    @property
    def hash(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def info(self) -> PartInfo: ...
    def session(self) -> Any: ...
    def run_on(self, session: Any, feeds: Mapping[str, Array], /) -> Feeds: ...


class Case(Protocol):
    """Inputs to prove a plan on, and what the whole network gives for them. ``difference`` is how
    far an output is off it, relative to its largest value (of labels: the share of others)."""

    @property
    def feeds(self) -> Feeds: ...
    @property
    def expected(self) -> Feeds: ...
    def difference(self, name: str, found: Array, /) -> float: ...


class Network(Protocol):
    """A whole network. ``split`` takes the places (``at``) of cuts; ``tolerance`` is how far its
    parts may be off, relative to the largest output; ``stacks`` tells whether several images may
    be run at once, each as if alone. ``cases`` are what plans are proved on, ``given`` makes more
    of them from inputs at hand, and ``strength`` tells how much a proof on both says."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def cuts(self) -> Sequence[Cut]: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def stacks(self) -> bool: ...
    def split(self, cuts: Sequence[int], *, prove: bool = True) -> Sequence[Part]: ...
    def probe(self, seed: int = 0, batch: int = 1) -> Feeds: ...
    def cases(self, seed: int = 0) -> Sequence[Case]: ...
    def given(self, feeds: Sequence[Feeds]) -> Sequence[Case]: ...
    def strength(self, given: Sequence[Any] = ()) -> Strength: ...


class RangeProfile(Protocol):
    """How long a device computes any range of nodes, and what it holds in memory for it.

    ``node_ms`` has a time for each node; ``range_ms`` is the time of one run at batch 1 (with the
    fixed cost of a run); ``range_memory`` the resident bytes of a loaded session.
    """

    @property
    def node_ms(self) -> Sequence[float]: ...
    def range_ms(self, start: int, end: int, /) -> float: ...
    def range_memory(self, start: int, end: int, /) -> int: ...


def tensor_bytes(specs: Sequence[TensorSpec]) -> int:
    """Bytes of tensors at batch 1 (a free dimension counts as 1)."""
    total = 0
    for spec in specs:
        count = 1
        for size in spec.shape:
            count *= size or 1
        total += count * np.dtype(spec.dtype).itemsize
    return total

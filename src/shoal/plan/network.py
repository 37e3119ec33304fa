"""The network, its parts and its profile, as planning sees them.

Networks and parts are those of :mod:`shoal.model`. Only type checkers load them from there, so that
planning imports no engine, and a test can stand in for a network with a few lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from shoal.model.dtypes import Array as Array
from shoal.model.spec import TensorSpec

if TYPE_CHECKING:
    from shoal.model.case import Case as Case
    from shoal.model.network import Network as Network
    from shoal.model.part import Part as Part
else:
    Case = Network = Part = Any

Feeds: TypeAlias = dict[str, Array]


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
    return sum(
        math.prod(size or 1 for size in spec.shape) * np.dtype(spec.dtype).itemsize
        for spec in specs
    )

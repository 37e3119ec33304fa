"""Which regions a network has."""

from __future__ import annotations

from shoal.model.network import Network
from shoal.model.shards.region import Found


def regions(network: Network) -> Found:
    """All regions of a network between two places that one tensor crosses (0 and the number of
    nodes count, where one tensor enters and leaves), of at most ``MOST_NODES`` nodes; and why
    nodes with weights are dealt in none of them."""
    raise NotImplementedError

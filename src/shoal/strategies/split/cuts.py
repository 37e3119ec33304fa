"""Which places of a network are worth cutting at, between a weak device and a strong server."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shoal.plan.network import Network, tensor_bytes

FLOAT_BYTES = 4
SLACK = 1.25
"""A later cut may be this much wider than the narrowest before it and still be looked at: what
crosses it may need fewer bits, or be compressed better."""


@dataclass(frozen=True)
class Place:
    """A place between device and server: before node ``at``, where ``raw_bytes`` cross for one
    image. ``at`` 0 is the image itself, before the network."""

    at: int
    raw_bytes: int


def places(network: Network, slack: float = SLACK) -> tuple[Place, ...]:
    """The image itself, and the cuts worth looking at, in order: those that are not beaten by an
    earlier one, which leaves the device less to do, and where less crosses.

    Compared are float32 bytes, which rounding makes fewer alike. Against the image they are
    compared as values: what crosses must be fewer of them than it has.
    """
    inputs = network.inputs
    found = [Place(0, tensor_bytes(inputs))]
    values = sum(tensor_bytes([spec]) // np.dtype(spec.dtype).itemsize for spec in inputs)
    narrowest = math.inf
    for cut in network.cuts:
        if cut.bytes < FLOAT_BYTES * values and cut.bytes <= slack * narrowest:
            found.append(Place(cut.at, cut.bytes))
        narrowest = min(narrowest, cut.bytes)
    return tuple(found)

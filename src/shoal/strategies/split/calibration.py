"""What a calibration found: for each place and way to pack, accuracy, bytes and time. Data only."""

from __future__ import annotations

import msgspec

from shoal.plan.statistics import lower_bound

VERSION = 3
"""Counts up when what is measured changes, so that older results are not taken for new ones."""


class Outcome(msgspec.Struct, frozen=True):
    """What a plan made of one image: the class it named, and the divergence in bits."""

    top1: int
    divergence: float


class Entry(msgspec.Struct, frozen=True):
    """One way to pack what crosses one place. ``exact``: what arrives is what was sent.

    Of ``images`` that count, ``good`` were answered as well as by the whole network.
    ``bytes_mean`` are those of a frame; ``pack_ms`` and ``unpack_ms`` CPU time
    on the machine that calibrated. ``first`` are the outcomes of the first images.
    """

    at: int
    codec: str
    bits: int
    how: str
    exact: bool
    images: int
    good: int
    bytes_mean: float
    pack_ms: float
    unpack_ms: float
    first: tuple[Outcome, ...] = ()

    def accuracy(self, confidence: float) -> float:
        """The share of the whole network's accuracy that is guaranteed."""
        return 1.0 if self.exact else lower_bound(self.good, self.images, confidence)


class Calibration(msgspec.Struct, frozen=True):
    """All entries. ``labelled``: good means right where the whole network is right; else it means
    the same class. ``top1`` is the share that the whole network got right (None: no labels),
    ``whole_ms`` its CPU time for one image on the machine that calibrated."""

    version: int
    network: str
    images: str
    count: int
    labelled: bool
    top1: float | None
    whole_ms: float
    seconds: float
    entries: tuple[Entry, ...]

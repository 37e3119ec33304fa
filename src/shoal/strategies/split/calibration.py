"""What a calibration found: for each place and way to pack, accuracy, bytes and time. Data only."""

from __future__ import annotations

import msgspec

from shoal.plan.statistics import lower_bound

VERSION = 4
"""Counts up when what is measured changes, so that older results are not taken for new ones."""


class Outcome(msgspec.Struct, frozen=True):
    """How alike a plan answered one image (:class:`shoal.task.Agreement`)."""

    score: float | None
    apart: float


class Entry(msgspec.Struct, frozen=True):
    """One way to pack what crosses one place. ``exact``: what arrives is what was sent.

    ``good`` is the sum of the scores of the ``images`` that count.
    ``bytes_mean`` are those of a frame; ``pack_ms`` and ``unpack_ms`` CPU time
    on the machine that calibrated. ``first`` are the outcomes of some images.
    """

    at: int
    codec: str
    bits: int
    how: str
    exact: bool
    images: int
    good: float
    bytes_mean: float
    pack_ms: float
    unpack_ms: float
    first: tuple[Outcome, ...] = ()

    def accuracy(self, confidence: float) -> float:
        """The share of the whole network's accuracy that is guaranteed."""
        return 1.0 if self.exact else lower_bound(self.good, self.images, confidence)


class Calibration(msgspec.Struct, frozen=True):
    """All entries. ``measured`` says what scores are a share of. Of all images (``count``) those
    are ``counted`` in which the whole network finds something and, where they are ``labelled``,
    what is right. ``top1`` is the share that it got right (None: no labels), ``whole_ms`` its CPU
    time for one image on the machine that calibrated. ``first`` are the places of the images whose
    outcomes the entries have."""

    version: int
    network: str
    images: str
    measured: str
    count: int
    counted: int
    labelled: bool
    top1: float | None
    whole_ms: float
    seconds: float
    first: tuple[int, ...]
    entries: tuple[Entry, ...]

"""What is kept of the answers with devices lost, by how units are dealt, and the weights it takes.

In one process, on the whole network with units taken out. What is kept is a share of the images
that the whole network gets right, or, where nobody has labelled them, of all its answers. The goals
are those of four equal devices one of which is lost.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from shoal.plan.statistics import lower_bound
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Kept, Sample
from shoal.strategies.shards.layout import Layout
from shoal.strategies.shards.promise import Promise
from shoal.strategies.shards.replicate import Common, most_common, uniform
from shoal.strategies.shards.trials import Dealings
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.layouts import ALL, INNER, Weights, dealt, ground_for, layout_of
from shoal_benchmarks.shards.subjects import SUBJECTS, Subject, some
from shoal_benchmarks.shards.ways import (
    BALANCED,
    CONTIGUOUS,
    FEW,
    MANY,
    MEAN,
    MEANS,
    REBUILDS,
    REBUILT,
    REPLICATED,
    Way,
    dealings,
    kept,
)
from shoal_benchmarks.subjects import FASHION, FASHION_VGG, LITE0, TEXT_ANGLE

log = logging.getLogger("shoal")

MAIN = 4
"""Devices of the comparison that has goals."""
DEVICES = (2, 3, 4, 6, 8)
CONFIDENCE = 0.95
IMAGES = {
    FASHION: (10_000, 4_000),
    FASHION_VGG: (10_000, 4_000),
    TEXT_ANGLE: (4_000, 1_000),
    LITE0: (315, 158),
}
QUICK_IMAGES = {
    FASHION: (500, 250),
    FASHION_VGG: (200, 50),
    TEXT_ANGLE: (100, 40),
    LITE0: (24, 12),
}
"""By network: those of the comparison that has goals, and of the others."""
JUDGED = {FASHION: 128, FASHION_VGG: 128, TEXT_ANGLE: 64, LITE0: 48}
"""Images by which it is found how much of each layer is common."""
RIGHT = {FASHION: 0.93, FASHION_VGG: 0.93}
"""What the whole network is to get right."""
LEAST: Mapping[str, Mapping[str, float]] = {
    FASHION: {each.name: 0.97 for each in (MEANS[1], REBUILDS[1])},
    FASHION_VGG: {each.name: 0.97 for each in (MEANS[1], REBUILDS[1])},
    TEXT_ANGLE: {},
    LITE0: dict(zip((each.name for each in REBUILDS), (0.6, 0.75, 0.85), strict=True)),
}
"""What is to be kept in the worst case, by network and way."""
PER_LAYER = {
    FASHION: (MEANS[1], MEANS[2], REBUILDS[1]),
    FASHION_VGG: (MEANS[1], MEANS[2]),
    TEXT_ANGLE: (MEANS[1], MEANS[2]),
    LITE0: (MEANS[1], MEANS[2]),
}
"""Ways beside which as much memory is divided layer by layer. (Where wide layers are rebuilt each
step solves for all of them again: left out.)"""


def rows(quick: bool) -> Iterator[Row]:
    """All networks."""
    for make in SUBJECTS:
        subject = make()
        if subject is not None:
            yield from rows_for(subject, *(QUICK_IMAGES if quick else IMAGES)[subject.name])


def rows_for(subject: Subject, most: int, few: int) -> Iterator[Row]:
    """One network: the comparison that has goals on ``most`` images, other numbers of devices on
    ``few``."""
    many, some_images = some(subject.test, most), some(subject.test, few)
    whole = whole_kept(many)
    if many.labels is not None:
        least = RIGHT.get(subject.name)
        goal = None if least is None else f">= {least:g}"
        yield row(f"{subject.name}, whole: right", whole, "share", goal)
    for deal in (ALL, INNER):
        case = Case.of(subject, deal)
        found = {}
        for way in MANY:
            least = LEAST[subject.name].get(way.name) if deal == INNER else None
            found[way.name] = case.shown(way, MAIN, 1, many)
            yield from found[way.name].rows(least)
        yield from ahead(f"{subject.name}, {deal}", found)
    yield from per_layer_rows(case, many, found)
    for devices, lost in [(each, 1) for each in DEVICES if each != MAIN] + [(MAIN, 2)]:
        for way in FEW:
            yield from case.shown(way, devices, lost, some_images).rows()


def whole_kept(sample: Sample) -> float:
    """The share of images that the whole network gets right; 1 where nobody knows."""
    if sample.labels is None:
        return 1.0
    return sample.whole.count / len(sample)


@dataclass(frozen=True)
class Shown:
    """What is kept by a way, for each set of devices that may be lost; the bytes of weights of the
    device that holds most, of what is dealt (``held``, of ``dealt`` in all) and in all, over those
    of the network (``weights``). ``closed`` is what the closed form says of ``held``; 0 where it
    does not apply."""

    name: str
    fill: str
    kept: tuple[Kept, ...]
    held: float
    dealt: float
    weights: float
    closed: float

    @property
    def worst(self) -> Kept:
        """That of the set without which least is kept."""
        return min(self.kept, key=lambda each: each.share)

    @property
    def mean(self) -> float:
        """Over the sets."""
        return sum(each.share for each in self.kept) / len(self.kept)

    def rows(self, least: float | None = None) -> Iterator[Row]:
        """Mean and worst; beside the worst, the ends of its interval."""
        shares = [each.share for each in self.kept]
        spread = (min(shares), max(shares))
        yield row(f"{self.name}: kept, mean", self.mean, "share", spread=spread)
        goal = None if least is None else f">= {least:g}"
        yield row(f"{self.name}: kept, worst", self.worst.share, "share", goal, between(self.worst))
        if self.fill != MEAN:  # the others hold as much as those
            return
        yield row(f"{self.name}: weights of a device", self.weights, "of the network")
        if self.closed:
            off = 100 * abs(self.held / self.dealt / self.closed - 1)
            yield row(f"{self.name}: weights of what is dealt, off rho + (1 - rho) / D", off, "%",
                      "<= 5")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network of which certain layers are dealt."""

    subject: Subject
    deal: str
    layout: Layout
    deck: Deck
    weights: Weights

    @classmethod
    def of(cls, subject: Subject, deal: str) -> Case:
        """All or the inner layers of a network."""
        network = subject.network
        layout = layout_of(ground_for(network, MAIN), deal)
        images = subject.calibration.images
        deck = Deck(network, dealt(layout), (1 / MAIN,) * MAIN, images, "rebuilt")
        return cls(subject, deal, layout, deck, Weights.of(network, layout))

    def shown(
        self, way: Way, devices: int, lost: int, sample: Sample, common: Common | None = None
    ) -> Shown:
        """What is kept by a way with so many of so many devices lost."""
        held = dealings(self.deck, way, devices, common)
        sets = itertools.combinations(range(devices), lost)
        found = tuple(kept(self.deck, sample, held, each, way.fill) for each in sets)
        most, total = self.most_held(held, devices), self.weights.dealt(self.layout)
        rest = sum(self.weights.steps.values()) - total
        name = f"{self.subject.name}, {self.deal}, {lost} of {devices} lost, {way.name}"
        closed = 0.0 if common is not None else way.rho + (1 - way.rho) / devices
        return Shown(
            name, way.fill, found, most, total, (most + rest) / self.weights.network, closed
        )

    def most_held(self, held: Dealings, devices: int) -> float:
        """Bytes of dealt weights of the device that has most."""
        network = self.subject.network
        return max(self.weights.held(network, self.layout, held, k) for k in range(devices))

    def per_layer(self, way: Way, judged: Sample) -> Common:
        """As much common as with the same share of each layer, where it matters most."""
        deck = self.deck if way.fill == REBUILT else replace(self.deck, fill="mean")
        promise = Promise(deck, judged, judged, 1, 1.0, CONFIDENCE)
        allowed = spent(deck, uniform(deck.layers, way.rho))
        return most_common(deck.layers, promise.loss, lambda common: spent(deck, common) <= allowed)


def spent(deck: Deck, common: Common) -> float:
    """Bytes of weights that all devices hold."""
    return sum(count * width.bytes for count, (_, width) in zip(common, deck.widths, strict=True))


def per_layer_rows(case: Case, sample: Sample, found: Mapping[str, Shown]) -> Iterator[Row]:
    """The same memory, divided by what each layer matters; what was found with means is rebuilt
    too."""
    name = case.subject.name
    judged = some(case.subject.calibration, JUDGED[name])
    for way in PER_LAYER[name]:
        common = case.per_layer(way, judged)
        for fill in dict.fromkeys((way.fill, REBUILT)):
            even = next(each for each in (*MEANS, *REBUILDS) if each[1:3] == (way.rho, fill))
            then = "" if fill == way.fill else f", then {fill}"
            named = even._replace(name=f"per layer as {way.name}{then}")
            shown = case.shown(named, MAIN, 1, sample, common)
            yield from shown.rows(LEAST[name].get(even.name))
            more = shown.worst.share - found[even.name].worst.share
            yield row(f"{shown.name}: worst, more than with the same share", more, "share", ">= 0")


def ahead(what: str, found: Mapping[str, Shown]) -> Iterator[Row]:
    """By how much the ways of this strategy are ahead in the worst case of dealing in turn with the
    same weights, and of dealing by importance with nothing common: from the lower end of the one's
    interval to the upper end of the other's."""
    plain: Sequence[Way] = (CONTIGUOUS, *REPLICATED)
    for way in (*MEANS, *REBUILDS):
        for other in (*(each for each in plain if each.rho == way.rho), BALANCED):
            low, _ = between(found[way.name].worst)
            _, high = between(found[other.name].worst)
            goal = ">= 0" if way.rho else None
            yield row(f"{what}, {way.name}: ahead of {other.name}", low - high, "share", goal)


def between(found: Kept) -> tuple[float, float]:
    """The ends of the interval of a share, each with 95 % confidence."""
    low = lower_bound(found.good, found.count, CONFIDENCE)
    return low, 1 - lower_bound(found.count - found.good, found.count, CONFIDENCE)

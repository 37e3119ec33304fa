"""What is kept with devices lost, and the replication that keeps what is promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from shoal.plan.statistics import share_needed
from shoal.strategies.promised import Promised
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Kept, Lost, Sample, failure_sets
from shoal.strategies.shards.replicate import Common, most_common, replicate, uniform
from shoal.strategies.shards.trials import Dealings, exact

BACK = (0.03, 0.1, 0.3, 1.0)
"""How far it is gone back from what was found to all that can be common, one after the other, where
the real parts keep less than the promise on images that were not searched by."""

FIRST = 0.8
"""Of the chance to promise too much, what the first way that is measured may have; those further
back share the rest."""


def confidence_of(way: int, confidence: float) -> float:
    """The confidence to measure a way with (0: the first), so that the one that is taken keeps its
    promise with this ``confidence``, though several were measured on the same images (Bonferroni,
    weighted). A best guess (0.5) stays one."""
    if confidence <= 0.5:
        return confidence
    part = FIRST if way == 0 else (1 - FIRST) / len(BACK)
    return 1 - (1 - confidence) * part


def confidence_share(share: float, confidence: float) -> float:
    """The confidence that leaves this ``share`` of the chance to promise too much."""
    return confidence if confidence <= 0.5 else 1 - (1 - confidence) * share


@dataclass(frozen=True)
class Promise:
    """At least ``least`` of the accuracy is kept with any ``most`` devices lost, with this
    ``confidence``. What is common is searched for on the images of ``judged``; what may be promised
    is measured on others (``held``), which have no say in the search."""

    deck: Deck
    judged: Sample
    held: Sample
    most: int
    least: float
    confidence: float

    @property
    def sets(self) -> tuple[Lost, ...]:
        """All sets of devices whose loss is to be survived."""
        return failure_sets(len(self.deck.shares), self.most)

    def loss(self, common: Common) -> float:
        """How far the answers are off in the worst case, in bits, as far as that can be told
        without trying: the sum of what each layer alone does, which goes with what is missing."""
        return math.fsum(
            rate * gone for rate, gone in zip(self._rates, self._gone(common), strict=True)
        )

    @cached_property
    def _rates(self) -> tuple[float, ...]:
        """By layer, how far the answers are off where it alone has a hole, over the hole: tried
        with half of it common."""
        layers = self.deck.layers
        full = uniform(layers, 1.0)
        found = []
        for index, layer in enumerate(layers):
            half = (*full[:index], layer.units // 2, *full[index + 1 :])
            dealings = self.deck.deal(half)
            apart = max(self._kept(self.judged, dealings, lost).apart for lost in self._hardest)
            found.append(apart / max(self._gone(half)[index], 1e-12))
        return tuple(found)

    def _gone(self, common: Common) -> list[float]:
        """By layer, what is missing in the worst case (:meth:`Deck.energy`)."""
        dealings = self.deck.deal(common)
        cases = [self.deck.energy(dealings, lost) for lost in self._hardest]
        return [max(each) for each in zip(*cases, strict=True)]

    def commons(self, fits: Callable[[Common], bool], confidence: float) -> Iterator[Common]:
        """What may be common so that the promise is kept with this ``confidence``, the least first;
        each is to be tried if the real parts have kept less than the promise with the one
        before."""
        layers = self.deck.layers
        needed = share_needed(self.least, self.counted, confidence_of(0, confidence))
        found = replicate(layers, self.loss, partial(self._keeps, needed), fits)
        yield found
        gaps = list(zip(found, most_common(layers, self.loss, fits), strict=True))
        back = (
            tuple(few + math.ceil(share * (most - few)) for few, most in gaps) for share in BACK
        )
        yield from (common for common in dict.fromkeys(back) if common != found)

    @property
    def counted(self) -> int:
        """How many images the promise is counted by: those in which the whole network finds
        something and, with labels, what is right."""
        return self.held.whole.count

    @property
    def stands(self) -> Promised:
        """What it stands on."""
        held = self.held
        labelled = held.labels is not None
        return Promised(held.measured, len(held), self.counted, self.confidence, labelled)

    def _keeps(self, needed: float, common: Common) -> bool:
        """Whether so much is kept of the images that are searched by."""
        dealings = self.deck.deal(common)
        return all(
            exact(dealings, lost) or self._kept(self.judged, dealings, lost).share >= needed
            for lost in self._hardest
        )

    def curve(self, shares: tuple[float, ...]) -> Iterator[tuple[float, list[Kept]]]:
        """For each share of all layers that might be common, what is kept in each of ``sets``."""
        for rho in shares:
            dealings = self.deck.deal(uniform(self.deck.layers, rho))
            yield rho, [self._kept(self.held, dealings, lost) for lost in self.sets]

    @property
    def _hardest(self) -> tuple[Lost, ...]:
        return tuple(lost for lost in self.sets if len(lost) == len(self.sets[-1]))

    def _kept(self, sample: Sample, dealings: Dealings, lost: Lost) -> Kept:
        return self.deck.kept(sample, dealings, lost)

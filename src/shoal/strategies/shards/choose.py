"""With which codec slices travel, and the plan that is made so."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from shoal.codec.named import exact
from shoal.strategies.shards.costs import RAW, Ground, Packing
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Sample
from shoal.strategies.shards.layout import Layout, duration_ms
from shoal.strategies.shards.packing import GAIN, TRIED, loses, packing
from shoal.strategies.shards.promise import Promise, confidence_share
from shoal.strategies.shards.settle import Settled, Wish, first_look, settle

Ways: TypeAlias = tuple[Ground, Layout]
PACKED = 0.2
"""Of the chance to promise too much, what those have together that are packed unasked: each is
looked at once, and if none keeps the promise the rest is for what is not packed."""


class Chosen(NamedTuple):
    """A plan that keeps the promise, and what it was made of."""

    ground: Ground
    layout: Layout
    deck: Deck
    promise: Promise | None
    settled: Settled


def choose(
    lay: Callable[[Packing], Ways], judged: Sample | None, held: Sample | None, wish: Wish
) -> Chosen:
    """The plan with the codec that the options name. Where they name none: the quickest, by the
    forecast, of those that make a request much quicker, if it keeps the promise; else nothing is
    packed. ``lay`` says what is dealt. PlanError where the promise cannot be kept."""
    asked = wish.options.codec
    confidence, decks = wish.options.confidence, Decks(judged, held, wish)
    if asked is not None or judged is None or held is None:
        ground, layout = lay(packing(asked or "raw"))
        deck, promise = decks.of(ground, layout, asked is not None and not exact(asked))
        settled = settle(ground, layout, deck, promise, wish, confidence)
        return Chosen(ground, layout, deck, promise, settled)
    plain = lay(RAW)
    most_ms = (1 - GAIN) * duration_ms(*plain)
    ways = sorted((lay(packing(codec)) for codec in TRIED), key=lambda way: duration_ms(*way))
    ways = [way for way in ways if duration_ms(*way) <= most_ms]
    for ground, layout in ways:
        deck, promise = decks.of(ground, layout, True)
        assert promise is not None, "there are images"
        sure = confidence_share(PACKED / len(ways), confidence)
        found = first_look(ground, layout, deck, promise, wish, sure)
        if found is not None and loses(found.made.plan):
            return Chosen(ground, layout, deck, promise, found)
    ground, layout = plain
    deck, promise = decks.of(ground, layout, False)
    sure = confidence_share(1 - PACKED, confidence) if ways else confidence
    return Chosen(*plain, deck, promise, settle(ground, layout, deck, promise, wish, sure))


class Decks:
    """The units of regions that are dealt, judged once for the same regions and shares."""

    def __init__(self, judged: Sample | None, held: Sample | None, wish: Wish) -> None:
        self._judged, self._held, self._wish = judged, held, wish
        self._known: dict[object, tuple[Deck, Promise | None]] = {}

    def of(self, ground: Ground, layout: Layout, measured: bool) -> tuple[Deck, Promise | None]:
        """What is dealt, and the promise where devices may be lost or something else is to be
        ``measured``, if there are images."""
        options, judged = self._wish.options, self._judged
        dealt = tuple(step.what for step in layout if step.what is not None)
        key = tuple(region.key for region in dealt), ground.shares
        if key not in self._known:
            images = None if judged is None else judged.images
            deck = Deck(ground.network, dealt, ground.shares, images, options.fill)
            promise = None
            if judged is not None and self._held is not None:
                terms = self._wish.most, self._wish.least, options.confidence
                promise = Promise(deck, judged, self._held, *terms)
            self._known[key] = deck, promise
        deck, promise = self._known[key]
        return deck, promise if self._wish.most or measured else None

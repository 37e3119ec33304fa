"""What is kept with a device lost, by how it is told what a unit matters: what its loss changes (as
``shoal plan`` does), the L1 norm of its filter, or the loss of accuracy by its gradients.

The divergence of the network from its own output is least where nothing is missing, so its
gradients are 0 there and rank nothing. Two that are not are tried: the cross entropy to its own
answer, and the second order of the divergence itself (the Fisher information), by answers drawn as
likely as it holds them.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.shards import Region, Width
from shoal.model.shards.operators import looks
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.trials import batches
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.accuracy import IMAGES, MAIN, QUICK_IMAGES, Case, between
from shoal_benchmarks.shards.layouts import ALL, INNER
from shoal_benchmarks.shards.subjects import Subject, fashion, lite0, some
from shoal_benchmarks.shards.ways import MEANS, REBUILDS, dealings, kept

log = logging.getLogger("shoal")

Values: TypeAlias = tuple[npt.NDArray[np.float64], ...]
"""What the units of each width matter."""

RANKED = (fashion, lite0)
JUDGING = 192
"""Images whose gradients are taken."""


def rows(quick: bool) -> Iterator[Row]:
    """The networks of ``RANKED``, one of four lost."""
    for make in RANKED:
        subject = make()
        if subject is not None:
            count = (QUICK_IMAGES if quick else IMAGES)[subject.name][0]
            for deal in (ALL, INNER):
                yield from rows_for(subject, deal, count)


def rows_for(subject: Subject, deal: str, count: int) -> Iterator[Row]:
    """One network, on so many images."""
    case, sample = Case.of(subject, deal), some(subject.test, count)
    sets = tuple(itertools.combinations(range(MAIN), 1))
    for name, judge in JUDGES.items():
        values = judge(case.deck, subject)
        for way in (*MEANS, *REBUILDS):
            held = dealings(case.deck, way, MAIN, values=values)
            found = [kept(case.deck, sample, held, lost, way.fill) for lost in sets]
            what = f"{subject.name}, {deal}, 1 of {MAIN} lost, {way.name}, by {name}"
            worst = min(found, key=lambda each: each.share)
            yield row(f"{what}: kept, mean", sum(each.share for each in found) / MAIN, "share")
            yield row(f"{what}: kept, worst", worst.share, "share", None, between(worst))


def by_change(deck: Deck, subject: Subject) -> Values:
    """As the strategy does."""
    return deck.importance


def by_norm(deck: Deck, subject: Subject) -> Values:
    """The L1 norm of the weights that make the unit."""
    makers = {look.made: look for look in looks(deck.network)}
    found = []
    for _, width in deck.widths:
        layer = makers[width.name].layer
        assert not isinstance(layer, str), "a width begins with a layer"
        rest = tuple(axis for axis in range(layer.weight.ndim) if axis != layer.outputs)
        found.append(np.abs(layer.weight).sum(axis=rest).reshape(width.units, -1).sum(axis=1))
    return tuple(found)


def by_answer(deck: Deck, subject: Subject) -> Values:
    """The mean over images of the absolute first-order change of the cross entropy to the network's
    own answer, were the unit nothing (P. Molchanov et al., ICLR 2017)."""
    return _summed(deck, subject, _top, {}, lambda slopes: np.abs(slopes).mean(axis=0))


def by_fisher(deck: Deck, subject: Subject) -> Values:
    """The root of the mean square of that change, were the unit its mean, for answers drawn by what
    the network holds likely: the second order of the divergence (L. Theis et al., Faster gaze
    prediction with dense networks and Fisher pruning, 2018)."""
    means = deck.means or {}
    return _summed(deck, subject, _drawn, means, lambda slopes: (slopes**2).mean(axis=0) ** 0.5)


JUDGES: Mapping[str, Callable[[Deck, Subject], Values]] = {
    "what its loss changes": by_change,
    "the L1 norm": by_norm,
    "Taylor": by_answer,
    "Fisher": by_fisher,
}

Floats: TypeAlias = npt.NDArray[np.floating]
Answer: TypeAlias = Callable[[Floats], npt.NDArray[np.int64]]


def _top(chances: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(chances.argmax(axis=1))


def _drawn(chances: Floats) -> npt.NDArray[np.int64]:
    drawn = np.random.default_rng(0).random((len(chances), 1))
    return np.asarray((chances.cumsum(axis=1) < drawn).sum(axis=1).clip(max=chances.shape[1] - 1))


def _summed(
    deck: Deck,
    subject: Subject,
    answer: Answer,
    means: Mapping[str, npt.NDArray[np.floating]],
    over: Callable[[Floats], Floats],
) -> Values:
    """``over`` the slopes of the units of each width, a row for each image."""
    found = slopes(deck, some(subject.calibration, JUDGING).images, answer, means)

    def of(region: Region, width: Width) -> npt.NDArray[np.float64]:
        total = np.zeros((len(next(iter(found.values()))), width.units))
        for point in region.points:
            places = [list(point.of(width.name, (unit,))) for unit in range(width.units)]
            if places[0]:
                total += found[point.tensor.name][:, places].sum(axis=2)
        return np.asarray(over(total), np.float64)

    return tuple(of(region, width) for region, width in deck.widths)


def slopes(
    deck: Deck, images: npt.NDArray[np.generic], answer: Answer, means: Mapping[str, Floats]
) -> dict[str, Floats]:
    """By point, a row for each image: the slope of the cross entropy to ``answer`` in what is kept
    of each entry, where its mean stands in for the rest."""
    import torch

    from shoal.model.shards import masked
    from shoal_train.graph import PartModule
    from shoal_train.tuning import logits

    made = masked(deck.network, deck.regions)
    module = PartModule(made.part).eval()
    found: dict[str, list[Floats]] = {point.tensor.name: [] for point in made.points}
    for feeds in batches(deck.network, images):
        given = {name: torch.from_numpy(array) for name, array in feeds.items()}
        keeps = {}
        for point in made.points:
            name, shape = point.tensor.name, [1] * len(point.tensor.shape)
            shape[0], shape[point.axis] = len(next(iter(given.values()))), point.entries
            keeps[name] = torch.ones(shape, requires_grad=True)
            stand_in = torch.from_numpy(np.asarray(means.get(name, np.zeros(point.entries)), "f4"))
            given[made.masks[name].keep] = keeps[name]
            given[made.masks[name].fill] = (1 - keeps[name]) * stand_in.reshape([1, *shape[1:]])
        scores = logits(module(given)[0])
        chances = torch.softmax(scores.detach(), 1).numpy()
        expected = torch.from_numpy(answer(chances))
        torch.nn.functional.cross_entropy(scores, expected, reduction="sum").backward()
        for name, keep in keeps.items():
            assert keep.grad is not None
            found[name].append(keep.grad.reshape(len(keep), -1).numpy())
    return {name: np.concatenate(each) for name, each in found.items()}

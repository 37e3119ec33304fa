"""Who holds what so that the promise is kept, and the plan that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from shoal.errors import PlanError
from shoal.model.network import Network
from shoal.model.shards import Region
from shoal.plan.plan import Missing
from shoal.plan.prove import prove_without
from shoal.strategies.shards.costs import Ground, Held
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Kept, Lost, failure_sets
from shoal.strategies.shards.layout import Layout, memory
from shoal.strategies.shards.packing import loses
from shoal.strategies.shards.plans import Made, make_plan, owned, shares
from shoal.strategies.shards.prepare import ShardOptions
from shoal.strategies.shards.promise import Promise, confidence_of
from shoal.strategies.shards.proof import measure
from shoal.strategies.shards.replicate import Common, uniform
from shoal.strategies.shards.trials import Dealings, exact


@dataclass(frozen=True)
class Wish:
    """What is asked: ``least`` accuracy with ``most`` devices lost, within ``limits`` of memory."""

    most: int
    least: float
    limits: Mapping[str, float]
    options: ShardOptions

    @property
    def remedy(self) -> str:
        """What would do where devices have not the memory."""
        ways = ["raise a limit, add devices"]
        if self.options.rho:
            ways.append("or take a smaller --rho")
        if self.options.fill == "rebuilt":
            ways.append("or take --fill mean (to rebuild, there are shards for each loss besides)")
        return ", ".join([*ways, *(["or take another strategy"] if len(ways) == 1 else [])])


class Mended(NamedTuple):
    """A plan for when certain devices are missing, whose parts rebuild what is missing, and what it
    keeps."""

    made: Made
    kept: Kept
    missing: Missing


@dataclass(frozen=True)
class Settled:
    """A plan, who holds what by it, and what it keeps without whom: of the answers on the images
    (None where it was not measured, as nothing is missing), and for sure, with this
    ``confidence``. ``whole`` is what it keeps with nobody lost, where packing loses something."""

    made: Made
    dealings: Dealings
    kept: tuple[Kept | None, ...]
    missing: tuple[Missing, ...]
    confidence: float
    mended: tuple[Mended, ...] = ()
    whole: Kept | None = None

    @property
    def worst(self) -> float:
        """The least accuracy that is kept for sure, once it is known who is lost."""
        later = {each.missing.devices: each.missing.accuracy for each in self.mended}
        sure = (later.get(each.devices, each.accuracy) for each in self.missing)
        return min((self.made.plan.forecast.accuracy, *sure))


def settle(
    ground: Ground,
    layout: Layout,
    deck: Deck,
    promise: Promise | None,
    wish: Wish,
    confidence: float,
) -> Settled:
    """The first way to replicate with which the real parts keep the promise, with ``confidence``;
    PlanError, with what can be had, if there is none."""
    best: Settled | None = None
    fixed = wish.options.rho is not None or not wish.most
    for way, common in enumerate(_commons(ground, layout, deck, promise, wish, confidence)):
        sure = confidence if fixed else confidence_of(way, confidence)
        found = _settled(ground, layout, deck, common, promise, sure, wish)
        if best is None or found.worst > best.worst:
            best = found
        if found.worst >= wish.least:
            return found
    assert best is not None, "there is at least one way"
    raise PlanError(
        f"{wish.least:g} of the accuracy with {wish.most} lost cannot be promised "
        f"{'with that rho' if fixed else 'within the memory of the devices'}, "
        f"{best.worst:.3f} can: ask for that with --min-accuracy, give more images, or raise "
        f"{'rho' if fixed else 'a memory limit'}"
        + (", or take a --codec that loses less" if loses(best.made.plan) else "")
    )


def first_look(
    ground: Ground,
    layout: Layout,
    deck: Deck,
    promise: Promise,
    wish: Wish,
    confidence: float,
) -> Settled | None:
    """The first of these ways alone, if it keeps the promise."""
    common = next(_commons(ground, layout, deck, promise, wish, confidence))
    found = _settled(ground, layout, deck, common, promise, confidence, wish)
    return found if found.worst >= wish.least else None


def _commons(
    ground: Ground,
    layout: Layout,
    deck: Deck,
    promise: Promise | None,
    wish: Wish,
    confidence: float,
) -> Iterator[Common]:
    rho = wish.options.rho
    if promise is None or rho is not None or not wish.most:
        return iter([uniform(deck.layers, rho or 0.0)])

    def fits(common: Common) -> bool:
        return _fits(ground, layout, deck, common, wish.limits)

    return promise.commons(fits, confidence)


def _settled(
    ground: Ground,
    layout: Layout,
    deck: Deck,
    common: Common,
    promise: Promise | None,
    confidence: float,
    wish: Wish,
) -> Settled:
    dealings = deck.deal(common)
    made = make_plan(ground, layout, deck, dealings, len(ground.devices) - wish.most)
    whole = None
    if loses(made.plan):
        assert promise is not None, "without images nothing is rounded"
        _prove_raw(made, ground.network)
        made, whole = told(made, ground.network, promise, confidence)
    kept: list[Kept | None] = []
    missing: list[Missing] = []
    for absent in failure_sets(len(ground.devices), wish.most):
        names = _names(ground, absent)
        found, sure = None, 1.0
        if whole is not None or not exact(dealings, absent):
            assert promise is not None, "without images all is common"
            found = measure(made.plan, made.parts, ground.network, promise.held, names)
            sure = found.bound(confidence)
        kept.append(found)
        missing.append(Missing(names, sure))
    mended = []
    if deck.fill == "rebuilt" and promise is not None:
        lost = (each for each in promise.sets if not exact(dealings, each))
        mended = [
            _mended(ground, layout, deck, dealings, promise, confidence, each) for each in lost
        ]
    sets = tuple(kept), tuple(missing)
    return Settled(made, dealings, *sets, confidence, tuple(mended), whole)


def told(
    made: Made, network: Network, promise: Promise, confidence: float
) -> tuple[Made, Kept | None]:
    """The plan with what it keeps of the accuracy for sure, where packing loses something; and what
    that is on the images."""
    if not loses(made.plan):
        return made, None
    kept = measure(made.plan, made.parts, network, promise.held, ())
    forecast = msgspec.structs.replace(made.plan.forecast, accuracy=kept.bound(confidence))
    plan = msgspec.structs.replace(made.plan, forecast=forecast, tolerance=None)
    return replace(made, plan=plan), kept


def _prove_raw(made: Made, network: Network) -> None:
    """That the parts give what the whole network gives where nothing is packed: what is measured
    beyond that is what packing loses. ProofError where they do not."""
    stages = tuple(msgspec.structs.replace(stage, codec="raw") for stage in made.plan.stages)
    prove_without(msgspec.structs.replace(made.plan, stages=stages), made.parts, network, [()])


def _mended(
    ground: Ground,
    layout: Layout,
    deck: Deck,
    dealings: Dealings,
    promise: Promise,
    confidence: float,
    lost: Lost,
) -> Mended:
    """The plan of the others while these devices are lost."""
    network = deck.mended(dealings, lost)
    left = replace(ground.without(lost), network=network)
    dealt = {name: each.without(lost) for name, each in dealings.items()}
    made = make_plan(left, layout, deck, dealt, len(left.devices))
    kept = measure(made.plan, made.parts, network, promise.held, ())
    sure = kept.bound(confidence)
    names = _names(ground, lost)
    plan = msgspec.structs.replace(
        made.plan,
        name=f"rebuilt without {'+'.join(names)}"[:200],
        forecast=msgspec.structs.replace(made.plan.forecast, accuracy=sure),
        tolerance=None,
        spare=True,
    )
    return Mended(replace(made, plan=plan), kept, Missing(names, sure))


def _names(ground: Ground, absent: Lost) -> tuple[str, ...]:
    return tuple(ground.devices[index] for index in absent)


def _fits(
    ground: Ground, layout: Layout, deck: Deck, common: Common, limits: Mapping[str, float]
) -> bool:
    if not limits:
        return True
    dealings = deck.deal(common)

    def fits(index: int, limit: float) -> bool:
        def held(region: Region) -> Held:
            return shares(region, owned(region, dealings, index))

        return memory(ground, layout, held) <= limit

    return all(fits(ground.devices.index(name), limit) for name, limit in limits.items())

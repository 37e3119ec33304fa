"""Plans for when a device is lost for good: the others hold what only it held, beside their own.

A repaired part has the weights of the part before it and those of the units that it adopts, each as
blobs of their own. So only these are brought to a device: it has the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from shoal.plan.network import Part
from shoal.plan.plan import Reserve
from shoal.strategies.ledger import Ledger
from shoal.strategies.shards.costs import RAW, Ground, shares_of
from shoal.strategies.shards.dealing import adopt
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.layout import Layout
from shoal.strategies.shards.plans import Made, make_plan
from shoal.strategies.shards.promise import Promise
from shoal.strategies.shards.settle import Settled, told

MOST_DEVICES = 16
"""Among more there is no repair: its parts grow with the square of their number."""


class Repair(NamedTuple):
    """What is done once the device ``lost`` is lost for good: ``made`` is the plan of the others,
    None where they have not the room for it; ``instead`` where they have it only if all that they
    hold makes room. By device, the bytes of ``weights`` that are brought to it, and of the
    ``graphs`` of its parts."""

    lost: str
    made: Made | None
    instead: bool
    weights: Mapping[str, int]
    graphs: Mapping[str, int]


@dataclass(frozen=True)
class Repairing:
    """What was settled, and the devices that hold it: ``ledger`` has all their parts, within
    ``limits``. Packed slices are measured on the images of ``promise``; where less than ``least``
    is kept nothing is packed."""

    ground: Ground
    layout: Layout
    deck: Deck
    settled: Settled
    ledger: Ledger
    limits: Mapping[str, float]
    promise: Promise | None
    least: float

    def repairs(self, after_s: float) -> list[Repair]:
        """What is done for the loss of each device that holds something alone, when it has been
        away for ``after_s`` seconds."""
        dealings = self.settled.dealings.values()
        alone = [
            index
            for index in range(len(self.ground.devices))
            if any(each.missing((index,)) for each in dealings)
        ]
        return [self._repair(index, after_s) for index in alone]

    def _repair(self, lost: int, after_s: float) -> Repair:
        """The units go to the others by their shares, or, where one has no room for its own, by the
        room that they have; or else by their shares, in the place of what they hold."""
        shares = self.ground.without((lost,)).shares
        even = self._made(lost, shares if math.fsum(shares) > 0 else [1.0] * len(shares))
        made = even if self._fits(even) else self._made(lost, self._by_room(even))
        instead = not self._fits(made)
        if instead:
            made = even
        name = self.ground.devices[lost]
        plan = msgspec.structs.replace(
            made.plan,
            name=f"repaired without {name}"[:200],
            spare=True,
            reserve=Reserve((name,), after_s, instead),
        )
        fits = not instead or Ledger(self.limits).put(made.held)
        graphs = {n: sum(each.info.size for each in new) for n, new in self._new(made).items()}
        found = replace(made, plan=plan) if fits else None
        return Repair(name, found, instead, self._weights(made), graphs)

    def _made(self, lost: int, shares: Sequence[float]) -> Made:
        deck, dealings = self.deck, self.settled.dealings
        adopted = {
            width.name: adopt(dealings[width.name], lost, values.tolist(), shares)
            for (_, width), values in zip(deck.widths, deck.importance, strict=True)
        }
        left = self.ground.without((lost,))
        made = make_plan(left, self.layout, deck, adopted, len(left.devices))
        if self.promise is None:
            return made
        made, _ = told(made, left.network, self.promise, self.settled.confidence)
        if made.plan.forecast.accuracy >= self.least:
            return made
        raw = replace(left, packing=RAW)
        return make_plan(raw, self.layout, deck, adopted, len(left.devices))

    def _fits(self, made: Made) -> bool:
        """Whether all have room, as long as no other device is repaired for."""
        new = self._new(made)
        return self.ledger.copy().put((n, part) for n, parts in new.items() for part in parts)

    def _by_room(self, made: Made) -> list[float]:
        """The shares for which there is room beside what parts take that adopt nothing."""
        room, new, adopted = self.ledger.room, self._new(made), self._weights(made)
        rooms = [
            room.get(name, math.inf) - sum(part.info.memory for part in parts) + adopted[name]
            for name, parts in new.items()
        ]
        return shares_of([1.0] * len(rooms), rooms, math.fsum(adopted.values()))

    def _new(self, made: Made) -> dict[str, list[Part]]:
        """The parts of each device that it does not hold yet."""
        return {
            name: [
                made.parts[part] for part in _parts(made, name) - _parts(self.settled.made, name)
            ]
            for name in sorted(made.plan.devices, key=self.ground.devices.index)
        }

    def _weights(self, made: Made) -> dict[str, int]:
        """The bytes of weights in them that it has not."""
        found = {}
        for name, parts in self._new(made).items():
            has = [self.settled.made.parts[part] for part in _parts(self.settled.made, name)]
            known = {blob for part in has for blob in part.info.blobs}
            blobs = {blob: size for part in parts for blob, size in part.info.blobs.items()}
            found[name] = sum(size for blob, size in blobs.items() if blob not in known)
        return found


def _parts(made: Made, name: str) -> set[str]:
    return {stage.parts[name] for stage in made.plan.stages if name in stage.parts}

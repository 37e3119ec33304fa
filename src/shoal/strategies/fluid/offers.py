"""Which sub-networks which devices could run: alone, and together in every set that may be left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from shoal.errors import PlanError
from shoal.model.bundle import SubNetwork, Variant
from shoal.plan.network import Part
from shoal.plan.size import readable
from shoal.strategies.fluid.deal import Groups, teams
from shoal.strategies.ledger import Ledger

MANY = 4
"""With more devices than these, those who exchange channels are made ready for the loss of one
device, not of several: each set of devices needs sessions of its own, and there are 2^n sets.
Adding logits needs none."""


class Offer(NamedTuple):
    """A sub-network and the devices that are its owners, in order."""

    subnet: SubNetwork
    devices: tuple[str, ...]

    def parts(self) -> Iterator[tuple[str, str]]:
        """Who needs which part (by hash)."""
        for stage in self.subnet.stages:
            for owner, part in stage.parts.items():
                yield self.devices[int(owner)], part


def offers(subnets: Sequence[SubNetwork], dealt: Mapping[str, Groups]) -> list[Offer]:
    """What devices with these groups can do: each alone, then together, the largest sets first."""
    alone = {s.groups: s for s in subnets if s.variant is Variant.ALONE}
    found = [Offer(alone[groups], (name,)) for name, groups in dealt.items() if groups in alone]
    together: dict[frozenset[Groups], list[SubNetwork]] = defaultdict(list)
    for subnet in subnets:
        if subnet.variant is not Variant.ALONE:
            together[frozenset(subnet.owners)].append(subnet)
    team = teams(dealt)
    owner = {dealt[name]: name for name in team}
    for size in range(len(team), 1, -1):
        for names in combinations(team, size):
            for subnet in together[frozenset(dealt[name] for name in names)]:
                several = len(team) > MANY and size < len(team) - 1
                if subnet.variant is Variant.LOGITS or not several:
                    found.append(Offer(subnet, tuple(owner[own] for own in subnet.owners)))
    return found


def within_memory(
    offered: Iterable[Offer], limits: Mapping[str, float], part: Callable[[str], Part]
) -> tuple[list[Offer], dict[str, Part], list[str]]:
    """The offers whose parts all fit on their devices together, the first ones first; these parts;
    and a sentence on each device with no room even for what it does alone.

    ``limits`` are bytes by device, ``part`` gives a part by its hash. PlanError when nothing fits.
    """
    ledger = Ledger(limits)
    kept, notes = [], []
    for offer in offered:
        needed = [(device, part(name)) for device, name in offer.parts()]
        if ledger.put(needed):
            kept.append(offer)
        elif len(offer.devices) == 1:
            (device,) = offer.devices
            size = sum({each.hash: each.info.memory for _, each in needed}.values())
            notes.append(
                f"{device} is left out: its groups alone need {readable(size)}, its limit is "
                f"{readable(limits[device])}"
            )
    if not kept:
        raise PlanError(
            f"no device can hold its sub-network ({'; '.join(notes) or 'none was dealt any'}); "
            "raise a memory limit or train more groups"
        )
    return kept, ledger.parts, notes

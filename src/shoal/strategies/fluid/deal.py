"""Which device owns which groups of channels. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from shoal.model.bundle import SubNetwork, Variant

Groups: TypeAlias = tuple[int, ...]
Owners: TypeAlias = tuple[Groups, ...]


def deal(
    subnets: Sequence[SubNetwork], widths: Sequence[float], speeds: Mapping[str, float]
) -> dict[str, Groups]:
    """The groups of each device; wider ones for faster devices (``speeds``: images/s of the whole
    network alone).

    Of the ways to deal out all groups that the bundle has parts for, the one is taken whose
    slowest device has the least to do for its speed; of equals, the one with most devices. A
    device beyond those that this takes gets the same groups as one of them, in turn: it can
    answer alone. One device alone gets all groups.
    """
    order = sorted(speeds, key=lambda name: -speeds[name])
    everything = tuple(range(len(widths)))

    def width(groups: Groups) -> float:
        return sum(widths[group] for group in groups)

    dealings: list[Owners] = [(everything,)]
    dealings += [
        subnet.owners
        for subnet in subnets
        if subnet.variant is not Variant.ALONE
        and subnet.groups == everything
        and len(subnet.owners) <= len(order)
    ]

    def slowest(owners: Owners) -> tuple[float, int]:
        ranked = sorted(owners, key=width, reverse=True)
        times = [width(own) / speeds[name] for own, name in zip(ranked, order, strict=False)]
        return (max(times), -len(owners))

    evenest: Owners = min(dealings, key=slowest)
    best = sorted(evenest, key=width, reverse=True)
    return {name: best[index % len(best)] for index, name in enumerate(order)}


def teams(dealt: Mapping[str, Groups]) -> tuple[str, ...]:
    """The devices that can answer together: one for each set of groups, the fastest of those that
    have it (``dealt`` has the fastest first)."""
    first: dict[Groups, str] = {}
    for name, groups in dealt.items():
        first.setdefault(groups, name)
    return tuple(first.values())

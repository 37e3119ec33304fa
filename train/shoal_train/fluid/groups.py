"""Groups of channels, and the sub-networks that they make. Plain data, no PyTorch.

A *group* is a share of the channels of every hidden layer. A *sub-network* is a set of groups that
see one another and nothing else. A device owns one group or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, TypeAlias

from shoal.errors import UnsupportedModelError, UsageError

MAX_DEVICES = 8
"""With more there are thousands of subsets: too many to measure each."""
PRIVATE_UP_TO = 16
"""With so many sub-networks at most, each has biases of its own. With more, those with as many
groups share them, since none would see enough images to learn its own."""

Kind: TypeAlias = Literal["fluid", "static", "dynamic", "slimmable"]
KINDS: tuple[Kind, ...] = ("fluid", "static", "dynamic", "slimmable")


@dataclass(frozen=True)
class SubNetwork:
    """A sub-network: the blocks of the weights from ``groups`` to ``groups``."""

    name: str
    groups: tuple[int, ...]
    """Ascending, from 0."""
    affine: str
    """Whose biases (and scales of batch norm) it uses: mostly its own."""
    statistics: str
    """Whose means and variances of batch norm it uses: mostly its own."""


@dataclass(frozen=True)
class Division:
    """How the channels of a network are divided, and who owns what."""

    widths: tuple[float, ...]
    """Relative width of each group."""
    owners: tuple[tuple[int, ...], ...]
    """The groups of each device."""

    @property
    def everything(self) -> tuple[int, ...]:
        """All groups."""
        return tuple(range(len(self.widths)))

    def share(self, groups: Sequence[int]) -> float:
        """The share of the channels that ``groups`` have, 0 to 1."""
        return sum(self.widths[group] for group in groups) / sum(self.widths)

    def name(self, groups: Sequence[int]) -> str:
        """What the sub-network of these groups is called.

        Two devices: L25, L50 (lower: the first device), U25, U50 (upper: the second), C75, C100
        (combined), with the share of the width in percent. More: the devices, such as ``1+3``.
        """
        if len(self.owners) != 2:
            return "+".join(str(group + 1) for group in groups)
        first, second = (set(owned) for owned in self.owners)
        letter = "L" if first.issuperset(groups) else "U" if second.issuperset(groups) else "C"
        return f"{letter}{round(100 * self.share(groups))}"

    def ladder(self) -> tuple[tuple[int, ...], ...]:
        """The first group, the first two, and so on to all."""
        return tuple(self.everything[: count + 1] for count in self.everything)

    def apart(self) -> tuple[tuple[int, ...], ...]:
        """The sets of groups that are not on the ladder: they work without the first group.

        Two devices: the second device's lower part, and all of it. More: every other subset.
        """
        if len(self.owners) == 2:
            upper = self.owners[1]
            return tuple(upper[: count + 1] for count in range(len(upper)))
        ladder = set(self.ladder())
        return tuple(groups for groups in subsets(self.everything) if groups not in ladder)

    def served(self) -> tuple[tuple[int, ...], ...]:
        """The sets of groups that some set of devices has: what there must be an answer from."""
        return tuple(
            tuple(sorted(group for device in devices for group in self.owners[device]))
            for devices in subsets(tuple(range(len(self.owners))))
        )


def subsets(items: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """All non-empty subsets, the small ones first."""
    return tuple(
        chosen for count in range(1, len(items) + 1) for chosen in combinations(items, count)
    )


def divide(groups: int | str | Sequence[float]) -> Division:
    """A division for so many equal devices, or for devices of these relative widths.

    ``"2:1:1"`` is the same as ``(2, 1, 1)``. With two devices each one's share is halved again, as
    in the paper, so that the four quarters can be learned one after the other.
    """
    widths = _widths(groups)
    if not 2 <= len(widths) <= MAX_DEVICES:
        raise UsageError(f"{len(widths)} groups cannot be trained: use 2 to {MAX_DEVICES}")
    if any(not 0 < width < 1e6 for width in widths):
        raise UsageError(f"the width of every group must be above 0: {groups!r} is not")
    if len(widths) == 2:
        first, second = widths
        return Division((first / 2, first / 2, second / 2, second / 2), ((0, 1), (2, 3)))
    return Division(tuple(widths), tuple((group,) for group in range(len(widths))))


def _widths(groups: int | str | Sequence[float]) -> tuple[float, ...]:
    if isinstance(groups, str):
        try:
            parts = [float(part) for part in groups.split(":")]
        except ValueError:
            raise UsageError(
                f"groups {groups!r} make no sense: give a number such as 4, or relative widths "
                "such as 2:1:1"
            ) from None
        if len(parts) > 1:
            return tuple(parts)
        if not parts[0].is_integer():
            raise UsageError(f"the number of groups must be whole, not {groups}")
        groups = int(parts[0])
    if isinstance(groups, int):
        return (1.0,) * max(0, min(groups, MAX_DEVICES + 1))
    try:
        return tuple(float(width) for width in groups)
    except (TypeError, ValueError):
        raise UsageError(
            f"groups {groups!r} make no sense: give a whole number such as 4, or relative widths "
            "such as (2, 1, 1)"
        ) from None


def sub_networks(division: Division, kind: Kind = "fluid") -> tuple[SubNetwork, ...]:
    """All sub-networks that are measured, smallest first within ladder and rest; the full is
    last.

    Those that ``kind`` does not train borrow the private values of the full network: this is what
    a device has when nobody trained it to work without the others.
    """
    trained = set(trained_sets(division, kind))
    every = dict.fromkeys((*division.ladder()[:-1], *division.apart(), division.everything))
    full = division.name(division.everything)
    few = len(every) <= PRIVATE_UP_TO
    return tuple(
        SubNetwork(name, groups, name if few else f"of{len(groups)}", name)
        if groups in trained
        else SubNetwork(name, groups, full if few else f"of{len(division.widths)}", full)
        for groups in every
        for name in (division.name(groups),)
    )


def trained_sets(division: Division, kind: Kind) -> tuple[tuple[int, ...], ...]:
    """Which sets of groups a training of this kind trains."""
    match kind:
        case "static":
            return (division.everything,)
        case "dynamic" | "slimmable":
            return division.ladder()
        case "fluid":
            return (*division.ladder(), *division.apart())
    raise UsageError(f"there is no kind {kind!r}: use {', '.join(KINDS)}")


def split_channels(channels: int, widths: Sequence[float], layer: str) -> tuple[int, ...]:
    """How many of ``channels`` each group gets: as near to its width as whole channels allow."""
    if channels < len(widths):
        raise UnsupportedModelError(
            f"layer {layer} has {channels} channels, too few for {len(widths)} groups: use fewer "
            "groups or a wider network"
        )
    total, before, edges = sum(widths), 0.0, [0]
    for group, width in enumerate(widths):
        before += width
        left = len(widths) - group - 1
        edge = round(channels * before / total)
        edges.append(min(max(edge, edges[-1] + 1), channels - left))
    return tuple(after - at for at, after in pairwise(edges))

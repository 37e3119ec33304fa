"""What is trained when: a training as a list of turns. Plain data, no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shoal.errors import UsageError
from shoal_train.fluid.groups import Division, Kind, SubNetwork, trained_sets

Policy: TypeAlias = Literal["none", "nested", "joint"]
POLICIES: tuple[Policy, ...] = ("none", "nested", "joint")

ROUNDS = 4
"""How often the sub-networks are gone through one by one; with one or two rounds the parts
suffer (Xun et al.)."""
RATE_PER_ROUND = 0.6
"""Each round learns more slowly than the one before, so that less is forgotten."""
ALL_IN_ONE_STEP = 7
"""Up to so many sub-networks are trained in every step; of more, some are drawn."""
DRAWN = 2
MANY = 16
"""Of more sub-networks most are of a middling size, so that the large ones would hardly ever be
drawn, and what the small ones want of the weights would outweigh the full one: then sizes are drawn
first, and each sub-network counts as much as its share of the width."""

Block: TypeAlias = tuple[int, int]
"""A block of the weights: to a group, from a group."""


@dataclass(frozen=True)
class Turn:
    """Some steps in which the same sub-networks are trained."""

    name: str
    subs: tuple[SubNetwork, ...]
    """Trained in every step."""
    steps: int
    pool: tuple[SubNetwork, ...] = ()
    """Of these, one of the smallest and ``DRAWN`` others are trained as well."""
    frozen: frozenset[Block] = frozenset()
    """Blocks that stay as they are."""
    rate: float = 1.0
    """Factor on the learning rate."""
    start: SubNetwork | None = None
    """Whose private values the sub-network starts from."""
    distilled: bool = False
    """Whether the sub-networks learn from the answers of the first one, too."""
    by_size: bool = False
    """Whether sizes are drawn before sub-networks of them, and losses weighed by width."""


def turns(
    subs: Sequence[SubNetwork], division: Division, kind: Kind, policy: Policy, steps: int
) -> tuple[Turn, ...]:
    """The turns of a training of ``steps`` steps in all; every kind and policy gets as many.

    Kinds: ``static`` trains the full network alone; ``dynamic`` the ladder from the first group to
    all, each rung once, with the rungs below frozen; ``slimmable`` all rungs in each step;
    ``fluid`` follows the policy. Policies: ``none`` goes through the sub-networks one by one in
    ``ROUNDS`` rounds (the nested incremental training of the paper); ``nested`` does so with the
    blocks frozen that smaller sub-networks have learned in this round; ``joint`` trains all in each
    step, and the small ones learn from the full one.
    """
    by_groups = {sub.groups: sub for sub in subs}
    trained = [by_groups[groups] for groups in trained_sets(division, kind)]
    full = by_groups[division.everything]
    if policy not in POLICIES:
        raise UsageError(f"there is no policy {policy!r}: use {', '.join(POLICIES)}")
    match kind:
        case "static":
            return (Turn(full.name, (full,), steps),)
        case "slimmable":
            return (Turn("all", (full, *trained[:-1]), steps),)
        case "dynamic":
            return _one_by_one(trained, full, steps, rounds=1, freeze=True)
    if policy != "joint":
        return _one_by_one(trained, full, steps, rounds=ROUNDS, freeze=policy == "nested")
    rest = tuple(sub for sub in trained if sub is not full)
    if len(trained) <= ALL_IN_ONE_STEP:
        return (Turn("all", (full, *rest), steps, distilled=True),)
    many = len(trained) > MANY
    return (Turn("some", (full,), steps, pool=rest, distilled=True, by_size=many),)


def _one_by_one(
    trained: Sequence[SubNetwork], full: SubNetwork, steps: int, *, rounds: int, freeze: bool
) -> tuple[Turn, ...]:
    edges = [steps * place // (rounds * len(trained)) for place in range(rounds * len(trained) + 1)]
    found: list[Turn] = []
    for number in range(rounds):
        learned: list[SubNetwork] = []
        for sub in trained:
            place = len(found)
            inner = [other for other in learned if set(other.groups) < set(sub.groups)]
            outer = [other for other in learned if set(other.groups) > set(sub.groups)]
            # The upper part of a combined sub-network goes on alone; a rung builds on the last.
            start = min(outer, key=lambda other: len(other.groups)) if outer else None
            if start is None and learned:
                start = learned[-1]
            blocks = frozenset(
                (to, source) for other in inner for to in other.groups for source in other.groups
            )
            found.append(
                Turn(
                    sub.name if rounds == 1 else f"{number + 1}/{rounds} {sub.name}",
                    (sub,),
                    edges[place + 1] - edges[place],
                    frozen=blocks if freeze else frozenset(),
                    rate=RATE_PER_ROUND**number,
                    start=start if number == 0 else None,
                )
            )
            learned.append(sub)
    return tuple(turn for turn in found if turn.steps)


def allowance(share: float) -> float:
    """How far below the full network one of this share of its width may be, 0 to 1.

    0.0025 for three quarters, 0.01 for a half (what the paper's halves lose), 0.0225 for a quarter.
    """
    return 0.04 * (1 - share) ** 2

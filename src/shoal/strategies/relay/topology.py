"""Who may give to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise


def neighbours(names: Sequence[str], topology: str) -> dict[str, tuple[str, ...]]:
    """To whom each device may give; none is named where each may give to each other."""
    if topology == "mesh":
        return {}
    count = len(names)
    found: dict[str, tuple[str, ...]] = {}
    for index, name in enumerate(names):
        places = (index - 1, index + 1)
        if topology == "ring":
            others = {names[place % count] for place in places}
        else:
            others = {names[place] for place in places if 0 <= place < count}
        found[name] = tuple(sorted(others - {name}))
    return found


def dead_end(
    holders: Sequence[Sequence[str]], near: Mapping[str, Sequence[str]]
) -> tuple[int, str] | None:
    """A task and one of its holders that can go on with it neither itself nor by those that it may
    give to (all, where it is not named); None where there is none."""
    for task, (here, there) in enumerate(pairwise(holders)):
        for name in here:
            if not {name, *near.get(name, there)}.intersection(there):
                return task, name
    return None

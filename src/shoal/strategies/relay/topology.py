"""Who may give to whom."""

from __future__ import annotations

from collections.abc import Sequence


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

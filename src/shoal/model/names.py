"""New names beside those that others gave: whatever a file calls its tensors, ours are others."""

from __future__ import annotations

from collections.abc import Iterable


class Names:
    """Names that are taken. One that was ever taken stays so, whatever became of its owner."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, like: str) -> str:
        """A name like ``like`` that is not taken yet; from now on it is."""
        number = self._next.get(like, 0)
        while (name := f"{like}_{number}") in self._taken:
            number += 1
        self._next[like] = number + 1
        self._taken.add(name)
        return name

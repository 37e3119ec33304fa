"""Taking a name: a node that starts asks everybody it can see whether its name is in use.

A predecessor that was killed is gone at once, one that is frozen stays visible until its lease
ends, and one that lives answers for itself. A new node may not see the holder of its name yet, but
those that it sees do. So a name is free when nobody sees it any more, and taken when its holder
says so, or is still seen long after a lease would have ended.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec


class Claimed(msgspec.Struct, frozen=True, array_like=True):
    """What ``node`` says to a claim: the ``life`` under that name which it sees (None: none), and
    whether that is its own."""

    node: str
    life: str | None = None
    own: bool = False


class Claim:
    """Collects answers, and decides. Times are seconds on any steady clock."""

    def __init__(self, patience_until: float) -> None:
        self.lives: set[str] = set()
        """All lives under the name that were heard of."""
        self._patience_until = patience_until
        self._answers: dict[str, Claimed] = {}

    def answered(self, answer: Claimed) -> None:
        """``answer`` replaces the last one of the same node."""
        self._answers[answer.node] = answer
        if answer.life is not None:
            self.lives.add(answer.life)

    def judge(self, visible: Collection[str], lives: Collection[str], now: float) -> bool | None:
        """True: the name is free; False: it is taken; None: too early to say.

        ``visible`` are the other nodes that can be seen, ``lives`` those under the claimed name.
        """
        self.lives.update(lives)
        witnesses = [self._answers[node] for node in visible if node in self._answers]
        if any(answer.own for answer in self._answers.values()):
            return False
        seen = bool(lives) or any(answer.life is not None for answer in witnesses)
        if now >= self._patience_until:
            return not seen
        return True if not seen and len(witnesses) == len(visible) else None

"""Does everybody see what I see? A state machine without I/O and without a clock.

Sightings (liveliness tokens) and messages take the same connections but not the same way through
the engine, and a connection may break for one side only. So every node says once a second whom it
sees. When that differs from what others say, and goes on to differ, the session is opened anew.

=====================================================  ===========================================
I see P, but hear nothing from it                      a half-open connection
I see P and hear it, but P does not see me             the same, from the other end
I hear P, but do not see it                            its token was lost
P sees Q, I see P but not Q                            no connection to Q was made, or it is gone
I see nobody, though there are addresses to call       the engine gave up
=====================================================  ===========================================

*Whom it concerns.* A node that knows who belongs to its cluster cares for these only. One that
does not cares for all that it is, or was, in touch with. A third node that it never met it misses
only if it has something to do with it (:meth:`Watchdog.concern`): there may be any number of nodes
that some other one sees.

*When.* Opening anew breaks what is under way with everybody. So it waits for a moment when nothing
is, on links that work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

BEAT_S = 1.0
"""How often a node says whom it sees."""
PATIENCE_S = 5.0
"""How long a difference must last; the node with the greater name waits twice as long, so that
the two do not both open anew."""
MAX_PATIENCE_S = 300.0
"""Patience doubles up to here with each attempt that did not help."""
MAX_HEARD = 1024


class Watchdog:
    """Collects what is heard, and decides when to open the session anew. ``calls``: there are
    addresses to call."""

    def __init__(self, name: str, incarnation: str, calls: bool) -> None:
        self._name = name
        self._incarnation = incarnation
        self._calls = calls
        self._needed: set[str] = set()
        self._met: set[str] = set()
        self._only = False  # nobody else concerns this node
        self._heard: dict[str, tuple[str, Mapping[str, str], float]] = {}
        self._since: dict[str, float] = {}
        self._factor = 1.0
        self._calm_since: float | None = None

    def concern(self, names: Iterable[str], only: bool = False) -> None:
        """This node has something to do with these; ``only``: with nobody that it was not told
        of."""
        self._only = self._only or only
        _note(self._needed, names)

    def heard(self, name: str, incarnation: str, sees: Mapping[str, str], now: float) -> None:
        """``name`` says whom it sees (names to incarnations)."""
        if name in self._heard or len(self._heard) < MAX_HEARD:
            self._heard[name] = (incarnation, sees, now)

    def reopened(self) -> None:
        """The session was opened anew; give it time before the next attempt."""
        self._since.clear()
        self._heard.clear()
        self._calm_since = None
        self._factor = min(2 * self._factor, MAX_PATIENCE_S / PATIENCE_S)

    def judge(self, up: Mapping[str, str], work: Collection[str], now: float) -> str | None:
        """Why the session must be opened anew now; None when it need not be, or should not yet.

        ``up`` are the visible peers and their incarnations, ``work`` those with which something
        is under way: requests, measurements, messages.
        """
        _note(self._met, up)
        self._heard = {
            name: entry for name, entry in self._heard.items() if now - entry[2] < 4 * BEAT_S
        }
        differences = self._differences(up)
        self._since = {what: self._since.get(what, now) for what in differences}
        if differences:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since > 12 * PATIENCE_S:
            self._factor = 1.0
        troubled = {about for about, _ in differences.values()}
        if not (up.keys() & set(work)) <= troubled:
            return None
        for what, (_, patience_s) in differences.items():
            if now - self._since[what] >= patience_s * self._factor:
                return what
        return None

    def _differences(self, up: Mapping[str, str]) -> dict[str, tuple[str, float]]:
        """What differs, whom it is about, and the patience it is met with."""
        found: dict[str, tuple[str, float]] = {}
        if self._calls and not up:
            found["nobody is visible"] = ("", 3 * PATIENCE_S)
        for name, incarnation in up.items():
            if not self._concerns(name):
                continue
            entry = self._heard.get(name)
            if entry is None or entry[0] != incarnation:
                found[f"{name} is visible but says nothing"] = (name, self._patience(name))
            elif entry[1].get(self._name) != self._incarnation:
                found[f"{name} does not see this node"] = (name, self._patience(name))
        for name, (_, sees, _) in self._heard.items():
            if not self._concerns(name):
                continue
            if name not in up:
                found[f"{name} speaks but is not visible"] = (name, self._patience(name))
                continue
            for third, incarnation in sees.items():
                missed = up.get(third) != incarnation and third != self._name
                if missed and (third in self._needed or (third in self._met and not self._only)):
                    found[f"{third} is visible to others only"] = (third, 2 * self._patience(third))
        return found

    def _concerns(self, name: str) -> bool:
        return not self._only or name in self._needed

    def _patience(self, name: str) -> float:
        return PATIENCE_S if self._name < name else 2 * PATIENCE_S


def _note(known: set[str], names: Iterable[str]) -> None:
    for name in names:
        if len(known) < MAX_HEARD:
            known.add(name)

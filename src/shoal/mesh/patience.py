"""When to join the mesh anew: a decision without I/O and without a clock.

The engine may lose a sign of life for good, or give up calling. Connections that stand do not mind,
and joining anew does not disturb them, so a few seconds of patience are enough.

============================================  ===================================================
nobody is up, though there are nodes to call  the engine gave up
a peer is up, and no sign of it is visible    its sign was lost, or a connection of the engine is
============================================  ===================================================
"""

from __future__ import annotations

from collections.abc import Sequence

PATIENCE_S = 10.0
"""How long it must be so."""
MAX_PATIENCE_S = 300.0
"""Patience doubles up to here with each attempt that did not help."""
CALM_S = 60.0
"""After so long without a reason, patience is as short as at first."""


class Patience:
    """``calls`` says that there are nodes to call."""

    def __init__(self, calls: bool) -> None:
        self._calls = calls
        self._patience_s = PATIENCE_S
        self._since: dict[str, float] = {}
        self._calm_since: float | None = None

    def judge(self, unseen: Sequence[str], alone: bool, now: float) -> str | None:
        """Why the mesh must be joined anew now, if it must; ``unseen`` are the peers of which no
        sign is visible, ``alone`` says that there are no peers."""
        reasons = [f"no sign of {name} is visible, which is up" for name in unseen]
        if alone and self._calls:
            reasons.append("nobody is up")
        self._since = {reason: self._since.get(reason, now) for reason in reasons}
        if reasons:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since > CALM_S:
            self._patience_s = PATIENCE_S
        for reason, since in self._since.items():
            if now - since >= self._patience_s:
                self._since.clear()
                self._patience_s = min(2 * self._patience_s, MAX_PATIENCE_S)
                return reason
        return None

"""How a node makes itself known and learns of others: what a kind of mesh brings to a link."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal.mesh.place import Place

if TYPE_CHECKING:
    from shoal.mesh.link import Link


class Discovery(ABC):
    """The way of one node into one mesh."""

    lease_s: float
    """Silence after which a node is not visible any more."""

    @abstractmethod
    def join(self) -> str:
        """Take the name; the incarnation under which this node is known from now on.

        Raises NameTakenError when a live node has the name, MeshError when there is no mesh to be
        had.
        """

    @abstractmethod
    def show(self, link: Link, places: Sequence[Place]) -> None:
        """Become visible as a node that takes data at ``places``, and tell its link of others from
        now on, from any thread that may wait for a moment."""

    @abstractmethod
    def look(self, unseen: Sequence[str], alone: bool, now: float) -> None:
        """Called every second: the peers that are up although no sign of them is visible, and
        whether there are no peers at all. The way to the mesh may be made anew then, which must not
        be waited for."""

    @abstractmethod
    def leave(self) -> None:
        """Leave the mesh, so that others know at once, and end all threads. Takes a second or so
        at most: what must be waited for longer ends by itself. Idempotent."""

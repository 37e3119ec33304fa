"""What is told of a part before it is fetched. Data only."""

from __future__ import annotations

import msgspec


class PartInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known of a part before it is fetched.

    ``size`` is the bytes of the graph, ``blobs`` the weights it needs (hash to bytes), ``memory``
    the resident bytes expected while a session of it is loaded and runs one image,
    ``activations`` those that each further image of a run takes meanwhile (0: not known).
    ``stacks`` tells whether requests may be stacked and run at once, as reasoned from its graph;
    None where nobody has (parts of playbooks that were made before this was reasoned).
    """

    size: int
    blobs: dict[str, int] = {}
    memory: int = 0
    activations: int = 0
    stacks: bool | None = None

"""Whether benches can have a lab of namespaces here."""

from __future__ import annotations

import logging

log = logging.getLogger("shoal")


def emulated(bench: str) -> bool:
    """Whether this machine can emulate hosts; a line in the log where it cannot."""
    from shoal_lab.machine import look

    lacks = look().lacks
    if lacks:
        log.warning("%s needs root and network namespaces (%s): left out", bench, "; ".join(lacks))
    return not lacks

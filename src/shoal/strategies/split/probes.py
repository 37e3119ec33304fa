"""When a link is probed, so that the policy ``split`` knows what it carries now.

What crosses a link tells what it carries, if it is enough. Where nothing has crossed for
``QUIET_S``, or too little to tell whether it carries more, something is sent that no request waits
for, each ``PROBE_S`` at most; and again at once when the link has come to carry ``GROWN`` times of
what it was thought to at the last probe, as a small probe tells little of a quick link, but that it
is quick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from shoal.core.policy import LinkView, View

QUIET_S, PROBE_S, AGAIN_S = 0.3, 0.4, 0.1
GROWN = 1.5
_UNSEEN = LinkView()


class Probes(msgspec.Struct, frozen=True):
    """The last probe: of whom, when, and what the link was thought to carry then (bytes/s)."""

    server: str = ""
    probed_s: float = -math.inf
    bytes_per_s: float = 0.0


def probe(view: View, servers: Sequence[str], last: Probes) -> tuple[str, Probes]:
    """The server the way to which is to be probed beside this request (empty: none), and what is to
    be remembered."""
    links = {name: view.links.get(name, _UNSEEN) for name in servers if view.usable(name)}
    unclear = [
        name
        for name, link in links.items()
        if link.at_least or view.now - link.at >= QUIET_S or not link.bytes_per_s
    ]
    since_s = view.now - last.probed_s
    known = links.get(last.server, _UNSEEN).bytes_per_s
    if last.server in unclear and since_s >= AGAIN_S and known >= GROWN * last.bytes_per_s > 0:
        return last.server, Probes(last.server, view.now, known)
    if not unclear or since_s < PROBE_S:
        return "", last
    oldest = min(unclear, key=lambda name: links[name].at)
    return oldest, Probes(oldest, view.now, links[oldest].bytes_per_s)

"""How Zenoh is set up: the one place with Zenoh's own settings.

Each was chosen by measurement; ``docs/architecture.md`` tells the rules behind them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from shoal.errors import UsageError
from shoal.mesh.address import Address

if TYPE_CHECKING:
    import zenoh
else:
    from shoal.mesh.native import zenoh

Session: TypeAlias = Any
"""A ``zenoh.Session``, whose own annotations are incomplete."""

# Zenoh reads this once, when it is first used. A thread that receives is lost for up to ten seconds
# for each peer that is cut off: Zenoh closes the dead connection on it, with SO_LINGER, and the
# kernel waits there for what the peer has not acknowledged. With one thread everybody else would
# not be heard meanwhile, so there are more than peers that are lost at one time.
os.environ.setdefault("ZENOH_RUNTIME", "(rx: (worker_threads: 8))")

MAX_MESSAGE = 1 << 16
"""Bytes of the largest message that is taken: only names and places travel here."""
BATCH_BYTES = 1 << 14
"""Bytes that are sent at a time."""
OPEN_MS, OPEN_LEASES = 2000, 2
"""How long a call to a peer may take, or one from a peer: so many milliseconds or leases. Zenoh's
own 10 s are for how long a session cannot be closed that calls a frozen peer, or a host that is
switched off, or that a stranger calls who says nothing. What fails is tried again."""


def configuration(
    listen: Sequence[Address],
    connect: Sequence[str],
    lease_ms: int,
    settings: Mapping[str, Any],
    gossip: bool = True,
) -> zenoh.Config:
    """Zenoh's configuration; ``settings`` (paths of Zenoh's own) have the last word. With
    ``gossip``, nodes are found through others.

    Raises UsageError when Zenoh does not know one of them.
    """
    tx = "transport/link/tx"
    open_ms = max(OPEN_MS, OPEN_LEASES * lease_ms)
    values: dict[str, Any] = {
        "mode": "peer",
        "id": _identity(calls=not listen),
        "listen/endpoints": [str(address) for address in listen],
        "connect/endpoints": list(connect),
        "connect/retry": {
            "period_init_ms": 100,
            "period_max_ms": 1000,
            "period_increase_factor": 2,
        },
        # Opening would wait for the first peers, and now and then miss them and wait in vain.
        "open/return_conditions/connect_scouted": False,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": gossip,
        # Of two peers that hear of each other only one calls, or both connections may fail.
        "scouting/gossip/autoconnect_strategy": {"peer": {"to_peer": "greater-zid"}},
        "transport/unicast/open_timeout": open_ms,
        "transport/unicast/accept_timeout": open_ms,
        "transport/shared_memory/enabled": False,
        "transport/link/rx/max_message_size": MAX_MESSAGE,
        f"{tx}/batch_size": BATCH_BYTES,
        f"{tx}/lease": lease_ms,
        f"{tx}/keep_alive": 4,
        **settings,
    }
    config = zenoh.Config()
    for path, value in values.items():
        try:
            config.insert_json5(path, json.dumps(value))
        except zenoh.ZError as error:
            raise UsageError(
                f"Zenoh does not take the setting {path} = {value!r} (its own words: {error})"
            ) from error
    return config


def _identity(calls: bool) -> str:
    """A number for this peer. The greater of two calls, and nobody can call one that listens
    nowhere, so its number is greater than those of all that listen."""
    return ("f" if calls else secrets.choice("1234567")) + secrets.token_hex(16)[1:]

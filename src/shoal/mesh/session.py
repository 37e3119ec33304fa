"""How Zenoh is set up: the one place with Zenoh's own settings.

Each was chosen by measurement; ``docs/architecture.md`` tells the rules behind them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from shoal.errors import UsageError
from shoal.mesh.address import Address
from shoal.mesh.frames import MAX_ATTACHMENT

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

BATCH_BYTES = 1 << 14
"""What is sent at a time. A peer counts as gone when no whole batch comes within the lease: of a
batch of 64 KiB less than 1.3 Mbit/s brings in 400 ms nothing, of this one less than 0.33."""
LOCAL_BATCH_BYTES = (1 << 16) - 1
"""The same between processes of one machine, where a larger one is quicker."""
LONGEST_PUT_S = 3600
"""Time in which one message, however large, must leave."""
PATIENCE_WITH_ACKS_MS = 20
"""Time that an acknowledgement waits for a place before it is dropped."""


def batch_bytes(listen: Sequence[Address], connect: Sequence[Address]) -> int:
    """What a node that listens and calls at these addresses sends at a time."""
    addresses = [*listen, *connect]
    local = bool(addresses) and all(address.is_loopback for address in addresses)
    return LOCAL_BATCH_BYTES if local else BATCH_BYTES


def configuration(
    listen: Sequence[Address],
    connect: Sequence[Address],
    lease_ms: int,
    max_body: int,
    settings: Mapping[str, Any],
    gossip: bool = True,
) -> zenoh.Config:
    """Zenoh's configuration; ``settings`` (paths of Zenoh's own) have the last word. With
    ``gossip``, nodes are found through others.

    Raises UsageError when Zenoh does not know one of them.
    """
    tx = "transport/link/tx"
    queue = f"{tx}/queue"
    values: dict[str, Any] = {
        "mode": "peer",
        "listen/endpoints": [str(address) for address in listen],
        "connect/endpoints": [str(address) for address in connect],
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
        "transport/shared_memory/enabled": False,
        "transport/link/rx/max_message_size": max_body + MAX_ATTACHMENT + (1 << 16),
        f"{tx}/batch_size": batch_bytes(listen, connect),
        f"{tx}/lease": lease_ms,
        f"{tx}/keep_alive": 4,
        # When one message takes longer than this to leave, Zenoh closes the connection; a large
        # body on a slow line takes minutes. That a peer is dead is noticed by the lease.
        f"{queue}/congestion_control/block/wait_before_close": LONGEST_PUT_S * 1_000_000,
        f"{queue}/congestion_control/drop/wait_before_drop": PATIENCE_WITH_ACKS_MS * 1000,
        f"{queue}/size/interactive_high": 16,
        # A large body is cut up and sent at the same time; room for more pieces makes it a third
        # faster. Taken when needed, a batch each.
        f"{queue}/size/data": 16,
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

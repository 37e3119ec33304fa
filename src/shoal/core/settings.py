"""The settings of a node, and all that it is made of."""

from __future__ import annotations

import msgspec

from shoal.core.messages import DeviceInfo


class WorkerSettings(msgspec.Struct, frozen=True):
    """``capacity`` jobs run at once, ``inbox`` jobs are held at most, ``keep_bytes`` of outputs are
    kept. What is held for a gateway is freed when it has not been seen for ``grace_s``."""

    capacity: int = 1
    inbox: int = 256
    keep_bytes: int = 64 << 20
    grace_s: float = 5.0


class GatewaySettings(msgspec.Struct, frozen=True):
    """``max_pending`` bounds the requests that a gateway owns; ``window_per_device`` those in
    flight for each usable device (enough to keep every stage busy while tensors travel).
    ``hedge_s`` sends a second attempt when none was answered after that time (None: off).
    ``timeout_floor_s`` is the least time after which an attempt is doubted although its devices
    seem alive."""

    max_pending: int = 1024
    window_per_device: int = 3
    hedge_s: float | None = None
    timeout_floor_s: float = 0.5


class Origin(msgspec.Struct, frozen=True):
    """What a node was made of, so that the same can be made again; ``gateway`` is None where it
    has none. Its policies are those that are installed."""

    info: DeviceInfo
    worker: WorkerSettings = WorkerSettings()
    gateway: GatewaySettings | None = None

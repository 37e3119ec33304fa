"""How much energy a device would use. An estimate from a preset's powers, never a measurement.

    idle * wall + (busy - idle) / cores * busy core seconds + transmit * seconds on the air

The time on the air is that of the sent bytes at the rate of the link. Receiving, storage and
screens are not counted, and a loaded core is taken to draw the same whatever it computes.
"""

from __future__ import annotations

import msgspec

from shoal_lab.presets import Power


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Joules by cause."""

    idle_j: float
    busy_j: float
    transmit_j: float

    @property
    def total_j(self) -> float:
        """All of it."""
        return self.idle_j + self.busy_j + self.transmit_j


def estimate(
    power: Power, *, wall_s: float, busy_s: float, sent_bytes: float, mbit: float | None
) -> Energy:
    """Energy of a device over ``wall_s`` seconds in which its cores computed ``busy_s`` core
    seconds (device time) and sent ``sent_bytes`` over a link of ``mbit`` (None: in no time)."""
    air_s = 0.0 if mbit is None else sent_bytes * 8 / (mbit * 1e6)
    return Energy(
        idle_j=power.idle_w * wall_s,
        busy_j=(power.busy_w - power.idle_w) / power.cores * busy_s,
        transmit_j=power.transmit_w * air_s,
    )

"""How the slices of a tensor that several devices computed belong together. Data only."""

from __future__ import annotations

import msgspec

from shoal.model.spec import TensorSpec


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the output of one shard holder goes in the joined tensor.

    ``channels`` are the indices along the join's axis that this holder computes, in the order in
    which its output holds them. Empty for a sum.
    """

    channels: tuple[int, ...] = ()


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the slices of an ALL stage become the input of the next stage (or the answer).

    ``op`` is ``"channels"`` (each slice is written to its channel indices along ``axis``; the
    first live copy of a channel wins) or ``"sum"`` (slices are added). Channels that nobody
    delivers before ``deadline_ms`` hold ``fill`` (one number, or one per channel). ``least`` is
    the smallest number of slices that may be joined; fewer fail the attempt.
    """

    op: str
    tensor: TensorSpec
    slices: dict[str, Slice]
    axis: int = 1
    fill: tuple[float, ...] = (0.0,)
    deadline_ms: float = 1000.0
    least: int = 1

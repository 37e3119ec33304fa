"""How the slices of a tensor that several devices computed belong together. Data only."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from shoal.model.spec import TensorSpec


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the output of one shard holder goes in the joined tensor.

    ``channels`` are the indices along the join's axis that this holder computes, in the order in
    which its output holds them; of a sum each holder has all, and they are not named.

    The last ``stays`` entries of the slice along the join's axis are the same for all holders, so
    they stay where they are: the others are not sent them. Of ``channels`` they are the last ones;
    a sum has all its channels twice then, and they are the second time, which is added once.
    ``stand_in`` is added to a sum in the place of this slice while that is missing: one number per
    channel, or none. ``code`` are the coefficients of a coded slice: how much of each block of the
    tensor it is the sum of.
    """

    channels: tuple[int, ...] = ()
    stays: int = 0
    stand_in: tuple[float, ...] = ()
    code: tuple[float, ...] = ()


class Home(msgspec.Struct, frozen=True):
    """The last ``stays`` entries of an output along an axis are for its own node alone (see
    :class:`Slice`)."""

    tensor: str
    axis: int
    stays: int


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the slices of an ALL stage become the input of the next stage (or the answer).

    ``op`` is ``"channels"`` (each slice is written to its channel indices along ``axis``; the
    first live copy of a channel wins), ``"sum"`` (slices are added) or ``"coded"``: what does not
    stay are blocks of ``block`` entries along ``axis`` (the last are cut where the tensor ends),
    each slice is a sum of them, and any ``least`` slices, as many as blocks, give all. Channels
    that nobody delivers before ``deadline_ms`` hold ``fill`` (one number, or one per channel);
    nothing is filled where they are coded. So long is waited, from the first slice on, for each
    image that is under way there. ``least`` is
    the smallest number of slices that may be joined; fewer fail the attempt. ``suffice`` names sets
    of holders of which one must be there whole, where not any ``least`` will do. ``away`` is the
    input of the parts that takes 1.0 for each holder that is missing, else 0.0 (float32, one axis,
    in the order of ``slices``): so a part can do what they would have done, or reckon with it.
    Empty where it does not.
    """

    op: str
    tensor: TensorSpec
    slices: dict[str, Slice]
    axis: int = 1
    fill: tuple[float, ...] = (0.0,)
    deadline_ms: float = 1000.0
    least: int = 1
    suffice: tuple[tuple[str, ...], ...] = ()
    away: str = ""
    block: int = 0

    @property
    def at_home(self) -> bool:
        """Whether some of each slice stays with its holder, so that only holders can join them."""
        return any(part.stays for part in self.slices.values())

    def enough(self, givers: Collection[str]) -> bool:
        """Whether the slices of these holders may be joined."""
        if len(givers) < max(1, self.least):
            return False
        return not self.suffice or any(set(each) <= set(givers) for each in self.suffice)

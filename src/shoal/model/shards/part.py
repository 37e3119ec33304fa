"""The part of one device in a region."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards.region import Region, Units


def shard(network: Network, region: Region, own: Mapping[str, Units]) -> Part:
    """The part that computes the slice of a device which holds these units, by width name; a width
    that is not in ``own`` it holds nothing of.

    It reads ``region.source`` and gives its slice under the name of ``region.tensor``. For
    ``channels`` these are the entries ``region.channels(own)`` along the axis. For ``sum`` the
    axis is twice as long: what the dealt units contribute, then what the common ones do and all
    that is computed by every device (biases, a way around). So the last ``region.stays(own)``
    entries are the same on all devices. Raises :class:`InputError` for units that the region does
    not have or names twice, and for a device that holds no entry of the tensor at all.
    """
    raise NotImplementedError

"""The part of one device in a region."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shoal.errors import InputError
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards.cutter import Cutter
from shoal.model.shards.region import Op, Region, Units
from shoal.model.shards.walk import Walk
from shoal.model.shards.writer import Writer, nbytes


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
    _check(region, own)
    walk = Walk.through(network, region)
    writer = Writer(network, region.source)
    cutter = Cutter(walk, own, writer)
    for look, kind in walk:
        cutter.cut(look, kind)
    tensor, axis = region.tensor, region.axis
    if region.op is Op.SUM:
        length = 2 * (tensor.shape[axis] or 0)
        halves = cutter.both(tensor)
        writer.node("Concat", halves, tensor.name, 2 * nbytes(tensor), axis=axis)
    else:
        held = cutter.places[tensor.name]
        length = len(held.entries)
        writer.sort(tensor.name, [*held.dealt, *held.common], axis)
    shape = (*tensor.shape[:axis], length, *tensor.shape[axis + 1 :])
    info = network.declared(tensor.name)
    info.type.tensor_type.shape.dim[axis].dim_value = length
    return writer.finish(
        inputs=[region.source],
        output=msgspec.structs.replace(tensor, shape=shape),
        info=info,
        node_range=region.key,
        ends=[region.source.name, tensor.name],
    )


def _check(region: Region, own: Mapping[str, Units]) -> None:
    """Raise :class:`InputError` unless a device can hold just this."""
    sizes = {width.name: width.units for width in region.widths}
    for name, units in own.items():
        held = [*units.dealt, *units.common, *units.adopted]
        if name not in sizes:
            raise InputError(f"the nodes {region.key} deal {sorted(sizes)}, and no width {name!r}")
        if len(set(held)) < len(held) or any(not 0 <= unit < sizes[name] for unit in held):
            raise InputError(f"units of {name!r} are held twice, or not among its {sizes[name]}")
    if region.op is Op.CHANNELS and not region.channels(own):
        raise InputError(f"the device would hold nothing of {region.tensor.name!r}")

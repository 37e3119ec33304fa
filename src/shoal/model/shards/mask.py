"""The whole network with units that can be taken out, to try many failures in one session."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from shoal.errors import InputError
from shoal.model.dtypes import NUMPY_TO_ONNX
from shoal.model.graph import copied, makes, reads, serialize, value_info
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards.cutter import Cutter
from shoal.model.shards.region import Kind, Op, Point, Region, Units
from shoal.model.shards.walk import Walk
from shoal.model.shards.writer import Writer, names_of, nbytes

Array: TypeAlias = npt.NDArray[Any]


class Masked:
    """A network that computes ``t * keep + fill`` at each point of some regions.

    ``points`` are those of all its regions. ``keep`` and ``fill`` have one number for each entry
    of a point's axis (``point.entries``) and are given by the name of its tensor; a point that is
    not named is left as it is (keep 1, fill 0).
    """

    def __init__(
        self,
        part: Part,
        points: Sequence[Point],
        masks: Mapping[str, Mask],
        given: Mapping[str, str],
    ) -> None:
        self.part = part
        self.points = tuple(points)
        self.masks = dict(masks)
        self._given = dict(given)

    def run(
        self,
        feeds: Mapping[str, Array],
        keep: Mapping[str, Array] | None = None,
        fill: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """The network's outputs, by name; with ``taps``, also the tensors of all points, as they
        are before ``keep`` and ``fill`` come to them (but for one that is itself an output).
        ``fill`` is added as it is: give 0 where nothing is missing. Raises :class:`InputError`
        for names or sizes that do not fit."""
        keep, fill = keep or {}, fill or {}
        strangers = (keep.keys() | fill.keys()) - self.masks.keys()
        if strangers:
            raise InputError(f"{sorted(strangers)[0]!r} is no point of these regions")
        given = dict(feeds)
        for point in self.points:
            name = point.tensor.name
            mask = self.masks[name]
            given[mask.keep] = _along(point, keep.get(name, np.ones(point.entries)))
            given[mask.fill] = _along(point, fill.get(name, np.zeros(point.entries)))
        found = self.part.run(given)
        return {name: found[made] for name, made in self._given.items()}


def masked(network: Network, regions: Sequence[Region], *, taps: bool = False) -> Masked:
    """The network with units that can be taken out of these regions. Raises :class:`InputError`
    where they overlap."""
    ordered = sorted(regions, key=lambda each: each.start)
    if any(b.start < a.end for a, b in itertools.pairwise(ordered)):
        raise InputError("the regions overlap")
    points = {point.tensor.name: point for region in ordered for point in region.points}
    masks = _masks(network, points, ordered)
    outputs = {spec.name: spec for spec in network.outputs}
    if taps:
        outputs = {
            name: msgspec.structs.replace(point.tensor, name=masks[name].before)
            for name, point in points.items()
        } | outputs
    inputs = [
        msgspec.structs.replace(point.tensor, name=mask, shape=_shape(point))
        for name, point in points.items()
        for mask in (masks[name].keep, masks[name].fill)
    ]
    nodes = list(_nodes(network, masks, ordered))
    constant, weights = network.constants(sorted({name for node in nodes for name in reads(node)}))
    graph = network.graph
    data, blobs = serialize(
        "masked",
        graph.ir_version,
        graph.opsets,
        [*constant, *nodes],
        [
            *(network.declared(spec.name) for spec in network.inputs),
            *(value_info(spec.name, NUMPY_TO_ONNX[spec.dtype], spec.shape) for spec in inputs),
        ],
        [onnx.ValueInfoProto(name=spec.name) for spec in outputs.values()],
        weights,
    )
    part = Part(
        graph=data,
        blobs=blobs,
        inputs=(*network.inputs, *inputs),
        outputs=tuple(outputs.values()),
        node_range=(0, len(network.nodes)),
        stacks=lambda: False,
        memory=0,
    )
    shown = {name: spec.name for name, spec in outputs.items()}
    return Masked(part, tuple(points.values()), masks, shown)


class Mask(NamedTuple):
    """Names in the part of a :class:`Masked`: of a tensor before it is masked, in between, and
    after; of the inputs that it is multiplied by and that are added."""

    before: str
    kept: str
    after: str
    keep: str
    fill: str


def _masks(
    network: Network, points: Mapping[str, Point], regions: Sequence[Region]
) -> dict[str, Mask]:
    names = names_of(network)
    leaving = {region.tensor.name for region in regions if region.op is Op.CHANNELS}
    masks = {}
    for name in points:
        other = names.fresh(name)
        before, after = (other, name) if name in leaving else (name, other)
        kept, *inputs = (names.fresh(f"{name}_{what}") for what in ("kept", "keep", "fill"))
        masks[name] = Mask(before, kept, after, *inputs)
    return masks


def _nodes(
    network: Network, masks: Mapping[str, Mask], regions: Sequence[Region]
) -> Iterator[onnx.NodeProto]:
    """The nodes of the network, and behind each point two that mask it. What leaves a region is
    masked for all; else for those that sum over it."""
    summing = {
        share.node for region in regions for share in region.shares if share.kind is Kind.PARTIAL
    }
    for number, node in enumerate(network.operators):
        copy = copied(node)
        if number in summing:
            copy.input[:] = [masks[name].after if name in masks else name for name in node.input]
        copy.output[:] = [masks[name].before if name in masks else name for name in node.output]
        yield copy
        for name in makes(node):
            if name in masks:
                mask = masks[name]
                yield onnx.helper.make_node("Mul", [mask.before, mask.keep], [mask.kept])
                yield onnx.helper.make_node("Add", [mask.kept, mask.fill], [mask.after])


def contribution(network: Network, region: Region) -> Part:
    """What units add to the tensor of a region that is joined by ``sum``: a part that reads the
    tensors of all ``region.points``, whole, and gives ``region.tensor`` without biases and
    without what all devices compute. So it is linear; with the means of missing units at their
    entries and 0 elsewhere, it gives what stands in for them (its mean over space:
    ``Slice.stand_in``). It reads ``region.source`` as well where what units contribute depends on
    that, as behind a gate. Raises :class:`InputError` for a region that is joined by channels."""
    if region.op is not Op.SUM:
        raise InputError(f"the nodes {region.key} are joined by channels")
    own = {width.name: Units(tuple(range(width.units))) for width in region.widths}
    walk = Walk.through(network, region)
    writer = Writer(network, region.points[0].tensor)
    cutter = Cutter(walk, own, writer)
    for look, kind in walk:
        if kind is not Kind.DEALT:
            cutter.cut(look, kind)
    tensor = region.tensor
    made, _ = cutter.both(tensor)
    writer.node("Identity", [made], tensor.name, nbytes(tensor))
    inputs = [point.tensor for point in region.points]
    if region.source.name in writer.drop(tensor.name):
        inputs.append(region.source)
    return writer.finish(
        inputs=inputs,
        output=tensor,
        info=network.declared(tensor.name),
        node_range=region.key,
        ends=[spec.name for spec in (*inputs, tensor)],
    )


def _along(point: Point, numbers: Array) -> Array:
    """One number for each entry of a point, shaped to be broadcast."""
    numbers = np.asarray(numbers, point.tensor.dtype)
    if numbers.shape != (point.entries,):
        raise InputError(
            f"{point.tensor.name!r} takes {point.entries} numbers, not {list(numbers.shape)}"
        )
    return numbers.reshape(_shape(point))


def _shape(point: Point) -> tuple[int, ...]:
    rank = len(point.tensor.shape)
    return tuple(point.entries if axis == point.axis else 1 for axis in range(rank))

"""Regions that are coded, and their shards.

What a convolution or a dense layer makes is linear in its filters, before the activation. So of
filters that are added the results are too: a device that holds a sum of blocks of filters computes
the same sum of blocks of channels, and some of several such sums give all of them (Lee et al.,
Speeding up distributed machine learning using codes, IEEE Transactions on Information Theory 64,
2018). A coded region is some nodes that every device computes whole, then one such layer.

Other tensors may cross where it ends, around the layer. All devices have them, so they go into one
tensor with the slice, each flat, of which they are what stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from shoal.errors import InputError
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards.find import MOST_NODES, OLDEST_OPSET, rows_named
from shoal.model.shards.operators import LAYERS, Layer, Look, looks
from shoal.model.shards.region import Found, Kind, Op, Point, Region, Run, Share, Why, Width
from shoal.model.shards.writer import Writer, names_of, nbytes
from shoal.model.spec import TensorSpec

Array: TypeAlias = npt.NDArray[Any]
Row: TypeAlias = tuple[float, ...]
"""The coefficients of a sum of blocks."""


def coded_regions(network: Network, blocks: int) -> Found:
    """The regions that end with a layer which can be coded in so many blocks, each from several
    starts; and why the other nodes with weights are not."""
    nodes = looks(network)
    crossings = crossing(network)
    ends: dict[int, Layer] = {}
    whys: list[Why] = []
    for look in nodes:
        layer = look.layer
        words = _refused(look, layer, blocks, crossings.get(look.number + 1))
        if not words and not isinstance(layer, str):
            ends[look.number + 1] = layer
        elif look.op in LAYERS:
            whys.append(Why(look.number, look.op, words))
    starts = [place for place, specs in crossings.items() if len(specs) == 1 or place in ends]
    tensors = {place: _packed(network, place, crossings[place]) for place in {*starts, *ends}}
    found: list[Region] = []
    for end, layer in ends.items():
        before = [start for start in starts if start < end]
        near = [start for start in before if start >= end - MOST_NODES] or before[-1:]
        found.extend(_region(nodes, crossings[end], tensors, start, end, layer) for start in near)
    return Found(tuple(sorted(found, key=lambda region: region.key)), tuple(whys))


def coded_shard(network: Network, region: Region, code: Row) -> Part:
    """The part of the device whose filters are the sum of blocks with these coefficients, one for
    each block. It reads ``region.source`` and gives its slice under the name of ``region.tensor``:
    ``region.block(len(code))`` entries along the axis, then those that stay. Raises
    :class:`InputError` for a region that is not coded, and for no coefficients."""
    if region.op is not Op.CODED or not code:
        raise InputError(f"the nodes {region.key} are not coded, or in no blocks")
    crossings = crossing(network)
    look = Look(network, region.end - 1)
    layer = look.layer
    assert not isinstance(layer, str), "it was found"
    writer = Writer(network, region.source)
    entering, leaving = crossings[region.start], crossings[region.end]
    if len(entering) > 1:
        _unpack(writer, region.source.name, entering)
    for number in range(region.start, region.end - 1):
        writer.whole(number)
    spec = leaving[0]
    size = nbytes(spec) // layer.makes * -(-layer.makes // len(code))
    inputs = [look.reads[0], *_weights(writer, look, layer, code)]
    alone = len(leaving) == 1
    made = writer.like(look.proto, inputs, spec.name if alone else writer.fresh(spec.name), size)
    if not alone:
        sizes = [size, *map(nbytes, leaving[1:])]
        flat = [
            writer.node("Flatten", [name], writer.fresh(name), each, axis=1)
            for name, each in zip(
                (made, *(other.name for other in leaving[1:])), sizes, strict=True
            )
        ]
        writer.node("Concat", flat, region.tensor.name, sum(sizes), axis=1)
    length = region.block(len(code)) + region.stays({})
    shape = list(region.tensor.shape)
    shape[region.axis] = length
    return writer.finish(
        inputs=[region.source],
        output=TensorSpec(region.tensor.name, region.tensor.dtype, tuple(shape)),
        info=_declared(network, region.tensor, leaving, region.axis, length),
        node_range=region.key,
        ends=[each.name for each in (*entering, *leaving)],
        declared=[_declared(network, region.source, entering)],
    )


Crossing: TypeAlias = Mapping[int, tuple[TensorSpec, ...]]


def crossing(network: Network) -> Crossing:
    """The tensors that cross each place, what the node before makes first; without the two ends of
    the network where these are more than one tensor."""
    cuts = {cut.at: cut.tensors for cut in network.cuts}
    ends = {0: network.inputs, len(network.nodes): network.outputs}
    found = cuts | {place: specs for place, specs in ends.items() if len(specs) == 1}

    def in_order(place: int) -> tuple[TensorSpec, ...]:
        first = network.nodes[place - 1].makes if place else ()
        return tuple(sorted(found[place], key=lambda spec: spec.name not in first))

    return {place: in_order(place) for place in sorted(found)}


def _refused(
    look: Look, layer: Layer | str, blocks: int, leaving: Sequence[TensorSpec] | None
) -> str:
    """Why a node cannot be coded, in words; empty where it can."""
    if isinstance(layer, str):
        return f"it {layer}"
    if dict(look.network.graph.opsets).get("", 0) < OLDEST_OPSET:
        return f"shards need opset {OLDEST_OPSET} or later"
    if layer.groups > 1:
        return "its groups read different channels, so sums of filters say nothing"
    if layer.makes < max(2, blocks):
        return f"it makes {layer.makes} channels, fewer than the {blocks} blocks"
    if leaving is None and look.number + 1 == len(look.network.nodes):
        return "the network ends behind it with several outputs"
    if leaving is None or leaving[0].name != look.made:
        return _NO_SHAPE
    first = leaving[0]
    if len(leaving) > 1 and layer.axis != 1:
        return "other tensors cross behind it, and its channels are not the first axis of images"
    if len(leaving) == 1 and None not in first.shape[1:]:
        return ""
    named = {rows_named(look.network, spec) for spec in leaving}
    if len(named) > 1 or len({(spec.dtype, spec.shape[:1]) for spec in leaving}) > 1:
        return "tensors of another type or number of rows cross behind it"
    if any(len(spec.shape) < 2 or None in spec.shape[1:] for spec in leaving):
        return _NO_SHAPE
    return ""


_NO_SHAPE = "what crosses behind it has no shape that is known"


def _region(
    nodes: Sequence[Look],
    leaving: Sequence[TensorSpec],
    tensors: Mapping[int, TensorSpec],
    start: int,
    end: int,
    layer: Layer,
) -> Region:
    network, look = nodes[0].network, nodes[end - 1]
    tensor, alone = tensors[end], len(leaving) == 1
    axis = layer.axis if alone else 1
    each = 1 if alone else math.prod(size or 1 for size in leaving[0].shape[2:])
    rest = (tensor.shape[axis] or 0) - layer.makes * each
    runs = (Run(look.made, layer.makes, each), *([Run("", rest, 1)] if rest else []))
    weights = network.graph.weights
    coded_bytes = sum(weights[name].nbytes for name in look.reads if name in weights)
    whole = [Share(n, Kind.WHOLE, nodes[n].macs, {}) for n in range(start, end - 1)]
    _, behind = network.constants(name for n in range(start, end - 1) for name in nodes[n].reads)
    return Region(
        start=start,
        end=end,
        op=Op.CODED,
        source=tensors[start],
        tensor=tensor,
        axis=axis,
        widths=(Width(look.made, layer.makes, coded_bytes / layer.makes, look.macs / layer.makes),),
        points=(Point(tensor, axis, runs),),
        shares=(*whole, Share(end - 1, Kind.DEALT, look.macs, {look.made: 1.0})),
        whole_macs=sum(share.macs for share in whole),
        whole_bytes=sum(weight.nbytes for weight in behind.values()),
    )


def _packed(network: Network, place: int, specs: Sequence[TensorSpec]) -> TensorSpec:
    """The tensor that stands for all that crosses a place."""
    if len(specs) == 1:
        return specs[0]
    length = sum(math.prod(size or 1 for size in spec.shape[1:]) for spec in specs)
    name = names_of(network).fresh(f"crossing_{place}")
    return TensorSpec(name, specs[0].dtype, (specs[0].shape[0], length))


def _declared(
    network: Network,
    spec: TensorSpec,
    specs: Sequence[TensorSpec],
    axis: int = 1,
    length: int | None = None,
) -> onnx.ValueInfoProto:
    """How a part declares what crosses, with ``length`` entries along an axis."""
    info = network.declared(specs[0].name)
    dims = info.type.tensor_type.shape.dim
    if len(specs) > 1:
        info.name = spec.name
        del dims[2:]
        dims[1].dim_value = spec.shape[1] or 0
    if length is not None:
        dims[axis].dim_value = length
    return info


def _unpack(writer: Writer, packed: str, specs: Sequence[TensorSpec]) -> None:
    start = 0
    for spec in specs:
        inner = [size or 1 for size in spec.shape[1:]]
        end, size = start + math.prod(inner), nbytes(spec)
        flat = writer.stretch(packed, start, end, size)
        shape = writer.constant(np.array([0, *inner], np.int64), "shape")
        writer.node("Reshape", [flat, shape], spec.name, size)
        start = end


def _weights(writer: Writer, look: Look, layer: Layer, code: Row) -> Iterator[str]:
    """Weight and bias of the sum of blocks of filters."""
    yield writer.constant(_mixed(layer.weight, layer.outputs, code), look.reads[1])
    bias = look.constant(2)
    if bias is not None:
        each = np.broadcast_to(bias.reshape(-1), layer.makes)
        yield writer.constant(_mixed(each, 0, code), look.reads[2])


def _mixed(weight: Array, axis: int, code: Row) -> Array:
    """The sum of equal blocks along an axis; the last ones end with zeros."""
    moved = np.moveaxis(weight, axis, 0)
    size = -(-len(moved) // len(code))
    total = np.zeros((size, *moved.shape[1:]), np.float64)
    for number, rate in enumerate(code):
        block = moved[number * size : (number + 1) * size]
        if rate:
            total[: len(block)] += rate * block
    return np.ascontiguousarray(np.moveaxis(total.astype(weight.dtype), 0, axis))

"""A network in which what is missing is rebuilt from what is here, at no cost when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.graph import Graph
from shoal.model.network import Network
from shoal.model.shards.operators import Layer, Look
from shoal.model.shards.region import Kind, Op, Region
from shoal.model.weights import Weight

Array: TypeAlias = npt.NDArray[Any]

MENDED = frozenset({"Conv", "Gemm"})
"""Layers that can have a bias, where the constant part of what is rebuilt goes."""


class Map(NamedTuple):
    """How all entries of a point follow from those that are here: ``matrix @ here + offset``, where
    the columns of ``matrix`` for what is missing are 0."""

    matrix: Array
    offset: Array


def mended(network: Network, regions: Sequence[Region], maps: Mapping[str, Map]) -> Network:
    """The network whose layers that sum over the points of ``maps`` (by the name of their tensor)
    read what these rebuild: a map is put into the weights of the layer. Numbers and names of nodes
    stay, so regions of the one are regions of the other. At the borders of a padded convolution
    the offset counts as if it were everywhere."""
    graph = network.graph.copy()
    made_by = {node.output[0]: node for node in graph.nodes}
    for region in regions:
        for look, layer in _summing(network, region):
            found = maps.get(look.reads[0])
            if found is not None:
                _put(graph, made_by[look.made], look, layer, found)
    return Network(graph, network.name)


def mendable(network: Network, region: Region) -> frozenset[str]:
    """The points of a region (by the name of their tensor) that can be rebuilt."""
    return frozenset(look.reads[0] for look, _ in _summing(network, region))


def _summing(network: Network, region: Region) -> list[tuple[Look, Layer]]:
    if region.op is not Op.SUM:
        return []
    points = {point.tensor.name for point in region.points}
    found = []
    for share in region.shares:
        look = Look(network, share.node)
        layer = look.layer
        summed = share.kind is Kind.PARTIAL and look.reads[0] in points
        if summed and look.op in MENDED and not isinstance(layer, str):
            found.append((look, layer))
    return found


def _put(graph: Graph, node: Any, look: Look, layer: Layer, found: Map) -> None:
    weight = layer.weight.astype(np.float64)
    turned = np.tensordot(weight, found.matrix, axes=(layer.inputs, 0))
    added = np.tensordot(weight, found.offset, axes=(layer.inputs, 0))
    rest = tuple(axis for axis in range(added.ndim) if axis != _without(layer))
    added = added.sum(axis=rest) * look.attribute("alpha", 1.0)
    bias = look.constant(2)
    if bias is not None:
        added = added + bias * look.attribute("beta", 1.0)
    inputs = list(node.input[:1])
    for like, array in (
        (node.input[1], np.moveaxis(turned, -1, layer.inputs)),
        (f"{node.output[0]}_bias", added),
    ):
        name = graph.fresh_name(like)
        graph.weights[name] = Weight.of(np.ascontiguousarray(array.astype(layer.weight.dtype)))
        inputs.append(name)
    node.input[:] = inputs
    kept = [attribute for attribute in node.attribute if attribute.name != "beta"]  # it is in there
    del node.attribute[:]
    node.attribute.extend(kept)


def _without(layer: Layer) -> int:
    """The axis of what is made, once that of what is read is summed away."""
    return layer.outputs - (layer.inputs < layer.outputs)

"""A narrow codec at the cut of each exit, so that what crosses there has fewer channels.

It is a 1x1 convolution to fewer channels before the cut, and one back after it (after the
autoencoder of MDI-Exit, Colocrese, Koyuncu and Seferoglu 2024). It begins with the principal
components of what crosses, which of all linear codecs keep most of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from shoal.errors import CutError, UsageError
from shoal.model.cuts import Cut
from shoal.model.graph import Graph, copied, makes, operators
from shoal.model.network import Network
from shoal.model.weights import Weight
from shoal_train.exits.heads import channels_last

AUTO = "auto"
SHARE = 4
"""``auto``: one of so many channels is left."""
_IDEMPOTENT = operators("Relu Clip")
"""What is in their range they leave as it is: so they may come once more, behind the codec."""


def widths(network: Network, cuts: Sequence[Cut], asked: str) -> list[int]:
    """How many channels are left at each of ``cuts``: so many, or (``auto``) a quarter.

    UsageError for what is no number, below 1, or not below that of the channels; CutError for a
    tensor without channels that a 1x1 convolution can read."""
    if asked != AUTO and not re.fullmatch("[1-9][0-9]{0,8}", asked):
        raise UsageError(f"--bottleneck {asked[:60]}: write a number of channels from 1, or auto")
    found = []
    for cut in cuts:
        (spec,) = cut.tensors
        what = f"the tensor {spec.name!r} at {cut.at} has the shape {list(spec.shape)}"
        if len(spec.shape) not in (3, 4) or channels_last(network, cut):
            raise CutError(
                f"{what}, and a bottleneck takes one with channels first and then one or two axes "
                "of places; see 'shoal inspect --cuts' for others"
            )
        channels = spec.shape[1] or 1
        left = max(1, channels // SHARE) if asked == AUTO else int(asked)
        if left >= channels:
            raise UsageError(f"--bottleneck {asked}: {what}, so fewer than {channels} are possible")
        found.append(left)
    return found


class Scatter:
    """How the channels of a tensor vary together, over all places of images that are added."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums = np.zeros(channels)
        self.products = np.zeros((channels, channels))

    def add(self, rows: NDArray[np.floating]) -> None:
        """Count ``rows`` (images, channels, places ...)."""
        flat = np.moveaxis(rows, 1, -1).reshape(-1, rows.shape[1]).astype(np.float64)
        self.count += len(flat)
        self.sums += flat.sum(axis=0)
        self.products += flat.T @ flat

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """By channel."""
        return self.sums / self.count

    def components(self, count: int) -> NDArray[np.float64]:
        """The ``count`` directions (count, channels) along which it varies most."""
        spread = self.products / self.count - np.outer(self.mean, self.mean)
        _, found = np.linalg.eigh(spread)  # the least first
        return found[:, : -count - 1 : -1].T


@dataclass(frozen=True)
class Codec:
    """``wide`` is made ``narrow``, which crosses, and of that ``back``, which is read instead of
    ``wide``. ``weights`` are the names of its own."""

    wide: str
    narrow: str
    back: str
    weights: tuple[str, ...]


def inserted(
    graph: Graph,
    network: Network,
    cuts: Sequence[Cut],
    lefts: Sequence[int],
    scatters: Sequence[Scatter],
) -> list[Codec]:
    """The codecs that are put into ``graph``, that of ``network``, at each of ``cuts`` one that
    leaves so many channels."""
    codecs = []
    for cut, left, scatter in zip(cuts, lefts, scatters, strict=True):
        (spec,) = cut.tensors
        later = {name for node in network.operators[cut.at :] for name in makes(node)}
        first = next(k for k, node in enumerate(graph.nodes) if not later.isdisjoint(node.output))
        nodes, codec = _codec(graph, spec.name, len(spec.shape), left, scatter)
        for node in graph.nodes[first:]:
            for place, name in enumerate(node.input):
                if name == spec.name:
                    node.input[place] = codec.back
        graph.nodes[first:first] = nodes
        codecs.append(codec)
    return codecs


def _codec(
    graph: Graph, wide: str, rank: int, left: int, scatter: Scatter
) -> tuple[list[onnx.NodeProto], Codec]:
    found = scatter.components(left)
    narrow, back = graph.fresh_name(f"{wide}_narrow"), graph.fresh_name(f"{wide}_back")
    maker = next((node for node in graph.nodes if wide in node.output), None)
    again = maker is not None and not maker.domain and maker.op_type in _IDEMPOTENT
    linear = graph.fresh_name(f"{wide}_linear") if again else back
    names: list[str] = []
    nodes = []
    for reads, made, weights, bias in (
        (wide, narrow, found, -found @ scatter.mean),
        (narrow, linear, found.T, scatter.mean),
    ):
        own = [graph.fresh_name(f"{made}_{what}") for what in ("weights", "bias")]
        shaped = weights.reshape(*weights.shape, *[1] * (rank - 2))
        for name, value in zip(own, (shaped, bias), strict=True):
            graph.weights[name] = Weight.of(np.ascontiguousarray(value, np.float32))
        nodes.append(helper.make_node("Conv", [reads, *own], [made], kernel_shape=[1] * (rank - 2)))
        names += own
    if maker is not None and again:
        node = copied(maker)
        node.name, node.input[0], node.output[0] = "", linear, back
        nodes.append(node)
    return nodes, Codec(wide, narrow, back, tuple(names))

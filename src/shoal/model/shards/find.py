"""Which regions a network has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from shoal.model.network import Network
from shoal.model.shards.layout import Dealt, Undealable
from shoal.model.shards.operators import LAYERS, Look, looks
from shoal.model.shards.region import Found, Kind, Op, Region, Why
from shoal.model.shards.walk import Walk
from shoal.model.spec import TensorSpec

MOST_NODES = 40
"""Nodes of a region."""

OLDEST_OPSET = 8
"""The first that can make a tensor of a size that is known when it runs."""


def regions(network: Network) -> Found:
    """All regions of a network between two places that one tensor crosses (0 and the number of
    nodes count, where one tensor enters and leaves), of at most ``MOST_NODES`` nodes; and why
    nodes with weights are dealt in none of them.

    From each start it goes on as far as it can. Where a node cannot be computed from what the
    devices would have, the layers that it depends on are computed by all of them, and the others
    are dealt.
    """
    reasons: dict[int, str] = {}
    nodes, places = looks(network), _places(network)
    found: list[Region] = []
    if dict(network.graph.opsets).get("", 0) < OLDEST_OPSET:
        reasons = dict.fromkeys(range(len(nodes)), f"shards need opset {OLDEST_OPSET} or later")
    else:
        for start in places:
            found.extend(_from(nodes, start, places, reasons))
    return Found(tuple(found), tuple(_whys(nodes, found, reasons)))


def _places(network: Network) -> dict[int, TensorSpec]:
    """Where one tensor crosses, with its spec."""
    found = {cut.at: cut.tensors[0] for cut in network.cuts if len(cut.tensors) == 1}
    if len(network.inputs) == 1:
        found[0] = network.inputs[0]
    if len(network.outputs) == 1:
        found[len(network.nodes)] = network.outputs[0]
    return dict(sorted(found.items()))


def _from(
    nodes: Sequence[Look], start: int, places: dict[int, TensorSpec], reasons: dict[int, str]
) -> Iterator[Region]:
    """The regions that begin at ``start``. ``reasons`` takes in why layers are computed whole."""
    last = min(len(nodes), start + MOST_NODES)
    walk, whole, reached = Walk(nodes, start), frozenset[int](), start
    while walk.at < last:
        try:
            walk.step()
        except Undealable as refused:
            makers = walk.makers(refused.tensors)
            for maker in makers:
                reasons.setdefault(maker, _REASON.format(nodes[walk.at].title, refused.words))
            whole |= makers
            walk = Walk(nodes, start, whole)
            continue
        if walk.at > reached:
            reached = walk.at
            region = _region(walk, places[start], places.get(walk.at))
            if region is not None:
                yield region


def _region(walk: Walk, source: TensorSpec, tensor: TensorSpec | None) -> Region | None:
    """The region that ends where the walk is and one tensor crosses; None where nothing would be
    dealt."""
    state = walk.states.get(tensor.name) if tensor is not None else None
    if tensor is None or state is None or None in tensor.shape[1:]:
        return None
    if rows_named(walk.network, source) != rows_named(walk.network, tensor):
        return None
    if isinstance(state, Dealt):
        op, points = Op.CHANNELS, [walk.point(tensor.name, state)]
    else:
        op = Op.SUM
        points = [walk.point(name, each) for name, each in walk.points.items()]
    shares = walk.shares()
    widths, cost = walk.weigh(shares)
    return Region(
        start=walk.start,
        end=walk.at,
        op=op,
        source=source,
        tensor=tensor,
        axis=state.axis,
        widths=widths,
        points=tuple(points),
        shares=shares,
        whole_macs=round(cost.macs),
        whole_bytes=round(cost.bytes),
    )


def rows_named(network: Network, tensor: TensorSpec) -> str:
    """How the number of rows of a tensor is declared; empty where it is fixed."""
    dims = network.declared(tensor.name).type.tensor_type.shape.dim
    return str(dims[0].dim_param) if len(dims) else ""


def _whys(nodes: Sequence[Look], found: Iterable[Region], reasons: dict[int, str]) -> Iterator[Why]:
    dealt = {
        share.node for region in found for share in region.shares if share.kind is not Kind.WHOLE
    }
    for look in nodes:
        layer = look.layer
        if look.number in dealt or look.op not in LAYERS:
            continue
        if isinstance(layer, str):
            words = f"it {layer}"
        elif layer.makes == 1:
            words = "it makes a single channel"
        else:
            words = reasons.get(look.number, _NO_PLACE)
        yield Why(look.number, look.op, words)


_REASON = "{} behind it {}, and between them more than one tensor crosses"
_NO_PLACE = "no place near behind it is crossed by one tensor alone"

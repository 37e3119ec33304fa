"""Where exits are learned: a network, its cuts, and what is to be seen there of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shoal.allowance import whole_cores
from shoal.model.cuts import Cut
from shoal.model.engine import Engine, Session
from shoal.model.graph import Graph, whole
from shoal.model.network import Network
from shoal_train.exits.heads import Averaging, averaging
from shoal_train.exits.learn import Floats, Step, features
from shoal_train.exits.material import Some, ends

TOGETHER = 32
"""Images that are run at once."""


@dataclass(frozen=True)
class Place:
    """Exits of ``network`` stand at ``cuts``, and each sees the tensor at that of ``seen``: the
    same one, unless that is narrowed before it crosses."""

    network: Network
    cuts: tuple[Cut, ...]
    seen: tuple[Cut, ...]


@dataclass(frozen=True)
class Seen:
    """The ``graph`` of a place, how each of its exits averages, and by lot of images what came of
    it: the averages, and the network's own scores."""

    graph: Graph
    averagings: tuple[Averaging, ...]
    lots: Mapping[str, Mapping[str, Floats]]


def see(
    place: Place, cells: int, lots: Mapping[str, Some], threads: int | None, step: Step
) -> Seen:
    """Run all images of ``lots``, with ``cells`` along each side of a tensor at most."""
    _, output = ends(place.network)
    graph = place.network.graph.copy()
    found = tuple(averaging(place.network, cut, cells, graph) for cut in place.seen)
    nodes = [node for each in found for node in each.nodes]
    asked = tuple(dict.fromkeys((*(each.features for each in found), output.name)))
    with_nodes = replace(graph, nodes=[*graph.nodes, *nodes])
    session = session_of(with_nodes, asked, threads)
    size = images_at_once(place.network)
    taken = place.network.inputs[0]
    return Seen(
        graph,
        found,
        {lot: features(session, taken, asked, some, size, step) for lot, some in lots.items()},
    )


def session_of(graph: Graph, asked: Sequence[str], threads: int | None) -> Session:
    """What gives the tensors ``asked`` of a graph, on so many threads (None: all cores)."""
    return Engine(threads or whole_cores()).load(*whole(graph, asked))


def images_at_once(network: Network) -> int:
    """How many images are run together."""
    return TOGETHER if network.inputs[0].shape[0] is None and network.stacks else 1

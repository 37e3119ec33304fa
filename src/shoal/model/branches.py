"""``If``: where its condition follows from weights and shapes, the branch that is taken stands in
its place. Any other is refused, as control flow cannot be cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx

from shoal.errors import UnsupportedModelError
from shoal.model import limits
from shoal.model.accept import check_node, lift
from shoal.model.engine import Engine
from shoal.model.graph import (
    BRANCHING,
    Graph,
    copied,
    inner_names,
    makes,
    named,
    reads,
    whole,
)
from shoal.model.normalise import drop_dead, fold_sizes, normalise
from shoal.model.weights import read_weight


def decide(graph: Graph) -> None:
    """Put the branches that are taken in the place of all ``If``, in place.

    Raises UnsupportedModelError where that is not known: it depends on what the inputs hold, or on
    how many images there are; and for what cannot be run in parts.
    """
    inside = {name for node in graph.nodes if branches(node) for name in reads(node)}
    size = sum(graph.weights[name].nbytes for name in inside if name in graph.weights)
    if size > limits.FILE_BYTES // 2:
        raise UnsupportedModelError(
            f"The branches of If read {size} bytes of weights; export the network without it."
        )
    known: dict[str, bool] = {}  # by condition: many have the same
    # The first one reads what no other makes.
    while (place := next((k for k, n in enumerate(graph.nodes) if branches(n)), None)) is not None:
        node = graph.nodes[place]
        condition = node.input[0]
        if condition not in known:
            known[condition] = _holds(graph, node)
        name = "then_branch" if known[condition] else "else_branch"
        graph.nodes[place : place + 1] = _inlined(graph, node, _branch(node, name))
        if len(graph.nodes) > limits.NODES:
            raise UnsupportedModelError(f"The network has more than {limits.NODES} nodes.")
    drop_dead(graph)


def branches(node: onnx.NodeProto) -> bool:
    """Whether it runs one of the graphs inside it."""
    return node.domain == "" and node.op_type in BRANCHING


def _branch(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    return next(each.g for each in node.attribute if each.name == name)


def _holds(graph: Graph, node: onnx.NodeProto) -> bool:
    """The condition of an ``If``, from weights and shapes alone."""
    behind = _behind(graph, node.input[0])
    normalise(behind)
    fold_sizes(behind)
    fed = {spec.name for spec in behind.inputs}
    for each in behind.nodes:
        if not fed.isdisjoint(reads(each)):
            fed.update(makes(each))
    if node.input[0] in fed:
        raise UnsupportedModelError(
            f"Node {node.name or '(unnamed)'!r} (If) takes a branch by what its inputs hold, and "
            "control flow cannot be cut. Export the network without it; or, where an input is a "
            "setting, give that its value for good (--fix NAME=VALUE, or values= of shoal.load)."
        )
    behind.inputs = ()
    (value,) = Engine().load(*whole(behind), optimise=False, brief=True).run({}).values()
    return bool(value.all())


def _behind(graph: Graph, name: str) -> Graph:
    """What makes a tensor: a graph of its own."""
    needed, nodes = {name}, []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.output):
            needed.update(reads(node))
            nodes.append(copied(node))
    return replace(
        graph,
        nodes=nodes[::-1],
        weights={name: weight for name, weight in graph.weights.items() if name in needed},
        inputs=tuple(spec for spec in graph.inputs if spec.name in needed),
        outputs=(name,),
    )


def _inlined(graph: Graph, node: onnx.NodeProto, branch: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of a branch under names that the graph has not, and its weights among those of the
    graph. What it gives has the names of the outputs of its ``If``."""
    names = {name: graph.fresh_name(name) for name in inner_names(branch)}
    weights = {names[each.name]: read_weight(each, None) for each in branch.initializer}
    nodes, given = [], []
    made = {name for each in branch.node for name in makes(each)}
    inside = {name for each in branch.node if branches(each) for name in named(each)}
    for inner, outer in zip((info.name for info in branch.output), node.output, strict=True):
        if (
            inner in made
            and outer
            and outer not in inside  # there it is something else
            and names[inner] not in node.output
        ):
            names[inner] = outer
        elif outer:
            given.append(onnx.helper.make_node("Identity", [names.get(inner, inner)], [outer]))
    for each in branch.node:
        check_node(each)
        renamed = copied(each)
        rename(renamed, names)
        if not lift(renamed, weights, None):
            nodes.append(renamed)
    graph.weights |= weights
    return [*nodes, *given]


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, in place, wherever a node or what is inside it names them."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for each in node.attribute:
        for inside in (*([each.g] if each.HasField("g") else []), *each.graphs):
            own = set(inner_names(inside))
            outer = {old: new for old, new in names.items() if old not in own}
            for inner in inside.node:
                rename(inner, outer)
            for info in inside.output:
                info.name = outer.get(info.name, info.name)

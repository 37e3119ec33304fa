"""The parts of a network with exits: each computes up to an exit, and its logits."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors import ModelFileError, UsageError
from shoal.model.exits import Exits, places, stage_bounds
from shoal.model.graph import makes, reads, serialize
from shoal.model.network import Network
from shoal.model.part import Part, image_memory, part_memory
from shoal.model.spec import TensorSpec


def staged(network: Network, exits: Exits) -> list[Part]:
    """The parts between ``exits``, which are those of the network or some of them, in order.

    Each takes the tensor after which the exit before stands, and that exit's logits where it reads
    them; the first takes the network's inputs. It gives the tensor after which its own exit stands,
    and the exit's logits; the last gives the network's outputs. ``range`` are the nodes of
    ``network`` that it computes, without the head. They are proved to give the logits and outputs
    that the file gives.

    Raises UsageError for exits that are not the network's; ModelFileError for logits of another
    shape than the output's, or that need more than their part is given; and what proving raises.
    """
    if network.exits is None or not set(exits.heads) <= set(network.exits.heads):
        raise UsageError(f"{network.name!r} has no such exits; see network.exits.")
    full = network.with_exits
    for head in exits.heads:
        wanted, found = network.spec(head.output), full.spec(head.tensor)
        if (
            wanted is None
            or found is None
            or wanted != TensorSpec(wanted.name, found.dtype, found.shape)
        ):
            raise ModelFileError(
                f"{network.name!r}: exit {head.tensor!r} is no tensor of the type and shape of the "
                f"output {head.output!r}."
            )
    bounds = stage_bounds(places(exits, network.cuts, repr(network.name)), len(network.nodes))
    outputs = tuple(spec.name for spec in network.outputs)
    leaving = [*((head.after, head.tensor) for head in exits.heads), outputs]
    given = tuple(spec.name for spec in network.inputs)
    parts = []
    for bound, made in zip(bounds, leaving, strict=True):
        parts.append(_stage(full, given, made, bound))
        given = made
    full.evidence.check(parts, network.name, set(network.exits.tensors) - set(exits.tensors))
    return parts


def _stage(
    full: Network, given: Sequence[str], leaving: Sequence[str], bound: tuple[int, int]
) -> Part:
    """The part that makes ``leaving`` of ``given``."""
    indices, read = _behind(full, given, leaving)
    nodes = [full.operators[index] for index in indices]
    constant, weights = full.constants(read)
    entering = [name for name in given if name in read]
    graph = full.graph
    data, blobs = serialize(
        "part",
        graph.ir_version,
        graph.opsets,
        [*constant, *nodes],
        [full.declared(name) for name in entering],
        [full.declared(name) for name in leaving],
        weights,
    )
    peak = max(full.node_peak_bytes[index] for index in indices)
    return Part(
        graph=data,
        blobs=blobs,
        inputs=tuple(full.described(name) for name in entering),
        outputs=tuple(full.described(name) for name in leaving),
        node_range=bound,
        stacks=lambda: full.stacked([*entering, *leaving]),
        memory=part_memory(sum(full.node_memory_bytes[index] for index in indices), peak),
        activations=image_memory(peak),
    )


def _behind(
    full: Network, given: Sequence[str], leaving: Sequence[str]
) -> tuple[list[int], set[str]]:
    """The nodes that make ``leaving`` of ``given``, in order, and all that they read."""
    makers = {name: index for index, node in enumerate(full.operators) for name in makes(node)}
    inputs = {spec.name for spec in full.inputs}.difference(given)
    waiting, found, read = list(leaving), set[int](), set[str]()
    while waiting:
        index = makers.get(waiting.pop())
        if index is None or index in found:
            continue
        found.add(index)
        new = set(reads(full.operators[index])) - read
        if not inputs.isdisjoint(new):
            raise ModelFileError(
                f"{full.name!r}: {leaving[-1]!r} needs more than the tensor {given[0]!r}, after "
                "which the exit before it stands, and that exit's logits."
            )
        read |= new
        waiting += new.difference(given)
    return sorted(found), read

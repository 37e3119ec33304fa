"""Nodes and weights of a part while it is written."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from shoal.model.cuts import Node, crossing_bytes
from shoal.model.graph import Names, copied, elements, makes, reads, serialize
from shoal.model.network import Network
from shoal.model.part import Part, image_memory, node_memory, part_memory
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight

Array: TypeAlias = npt.NDArray[Any]


class Writer:
    """A part of ``network`` that is written node by node. Its tensors have the names that they
    have in the network, others new ones. ``source`` is an input that tells how many images come."""

    def __init__(self, network: Network, source: TensorSpec) -> None:
        graph = network.graph
        self.network = network
        self.source = source
        self.opset = dict(graph.opsets).get("", 0)
        self._nodes: list[tuple[onnx.NodeProto, int | None]] = []  # the number of one as it was
        self._weights: dict[str, Weight] = {}
        self._bytes: dict[str, int] = {}
        self._targets: dict[tuple[int | None, ...], str] = {}
        self._names = names_of(network)

    def fresh(self, like: str) -> str:
        """A name that no tensor has."""
        return self._names.fresh(like)

    def constant(self, value: Array, like: str) -> str:
        """A weight; its name."""
        name = self.fresh(like)
        self._weights[name] = Weight.of(np.asarray(value))
        return name

    def pieced(self, values: Sequence[Array], axis: int, like: str) -> str:
        """A weight of which each piece along an axis is kept for itself, where all of it is a blob:
        the engine puts them together once, when it loads the part. Its name."""
        whole = np.concatenate(values, axis)
        if len(values) == 1 or not Weight.of(whole).is_blob:
            return self.constant(whole, like)
        names = [self.constant(value, like) for value in values]
        return self.node("Concat", names, self.fresh(like), 0, axis=axis)

    def whole(self, number: int) -> None:
        """A node of the network as it is."""
        node = self.network.operators[number]
        for name in makes(node):
            spec = self.network.spec(name)
            self._bytes[name] = 0 if spec is None else nbytes(spec)
        self._nodes.append((node, number))

    def like(
        self, node: onnx.NodeProto, inputs: Sequence[str], made: str, size: int, **changed: int
    ) -> str:
        """A node like another one, with other inputs and attributes; it makes ``made``, which has
        ``size`` bytes for one image."""
        copy = copied(node)
        copy.input[:] = inputs
        copy.output[:] = [made]
        copy.name = ""
        for attribute in copy.attribute:
            if attribute.name in changed:
                attribute.i = changed[attribute.name]
        return self._add(copy, made, size)

    def node(
        self, op: str, inputs: Sequence[str], made: str, size: int, **attributes: object
    ) -> str:
        """A new node; what it makes."""
        return self._add(onnx.helper.make_node(op, inputs, [made], **attributes), made, size)

    def _add(self, node: onnx.NodeProto, made: str, size: int) -> str:
        self._nodes.append((node, None))
        self._bytes[made] = size
        return made

    def take(self, name: str, entries: Sequence[int], axis: int, of: int) -> str:
        """These entries of the ``of`` along an axis of a tensor; itself if they are all of them,
        in order."""
        if tuple(entries) == tuple(range(of)):
            return name
        index = self.constant(np.array(entries, np.int64), f"{name}_entries")
        size = self._bytes.get(name, 0) * len(entries) // of
        return self.node("Gather", [name, index], self.fresh(name), size, axis=axis)

    def stretch(self, name: str, start: int, end: int, size: int) -> str:
        """The entries from ``start`` to ``end`` along axis 1 of a tensor: ``size`` bytes of it."""
        made = self.fresh(name)
        if self.opset < 10:
            return self.node("Slice", [name], made, size, axes=[1], starts=[start], ends=[end])
        bounds = [self.constant(np.array([n], np.int64), "bound") for n in (start, end, 1)]
        return self.node("Slice", [name, *bounds], made, size)

    def spread(self, name: str, entries: Sequence[int], axis: int, spec: TensorSpec) -> str:
        """A tensor like ``spec`` that has the channels of ``name`` at ``entries`` along an axis,
        and 0 elsewhere."""
        rank = len(spec.shape)
        pads = [int(place == rank + axis) for place in range(2 * rank)]
        padded = self.fresh(name)
        if self.opset < 11:
            self.node("Pad", [name], padded, nbytes(spec), pads=pads)
        else:
            amounts = self.constant(np.array(pads, np.int64), f"{name}_pads")
            self.node("Pad", [name, amounts], padded, nbytes(spec))
        index = np.full(spec.shape[axis] or 1, len(entries), np.int64)
        index[list(entries)] = np.arange(len(entries))
        where = self.constant(index, f"{name}_entries")
        return self.node("Gather", [padded, where], self.fresh(name), nbytes(spec), axis=axis)

    def sort(self, name: str, entries: Sequence[int], axis: int) -> None:
        """Let the tensor that was made last have its entries along an axis in this order."""
        if entries == sorted(entries):
            return
        made = self.fresh(name)
        self._nodes[-1][0].output[:] = [made]
        size = self._bytes[made] = self._bytes.pop(name)
        index = self.constant(np.array(entries, np.int64), f"{name}_entries")
        self.node("Gather", [made, index], name, size, axis=axis)

    def expand(self, name: str, spec: TensorSpec) -> str:
        """A tensor, broadcast to the shape of ``spec``."""
        inputs = [name, self._target(spec.shape)]
        return self.node("Expand", inputs, self.fresh(spec.name), nbytes(spec))

    def zeros(self, spec: TensorSpec) -> str:
        """A tensor like ``spec`` that is 0 everywhere."""
        return self.expand(self.constant(np.zeros((), spec.dtype), "zero"), spec)

    def _target(self, shape: tuple[int | None, ...]) -> str:
        """The tensor that holds a shape, with as many rows as come in where that is free."""
        if shape not in self._targets:
            if shape[0] is not None:
                self._targets[shape] = self.constant(np.array(shape, np.int64), "shape")
            else:
                came = self.node("Shape", [self.source.name], self.fresh("shape"), 0)
                first = self.constant(np.zeros(1, np.int64), "first")
                images = self.node("Gather", [came, first], self.fresh("images"), 0)
                rest = self.constant(np.array(shape[1:], np.int64), "rest")
                self._targets[shape] = self.node(
                    "Concat", [images, rest], self.fresh("shape"), 0, axis=0
                )
        return self._targets[shape]

    def finish(
        self,
        inputs: Sequence[TensorSpec],
        output: TensorSpec,
        info: onnx.ValueInfoProto,
        node_range: tuple[int, int],
        ends: Iterable[str],
        declared: Sequence[onnx.ValueInfoProto] = (),
    ) -> Part:
        """The part that takes these inputs and gives ``output``, declared as ``info``, with the
        nodes that it needs. ``ends`` are the tensors of the network that it stands for. Inputs are
        ``declared`` so, or as the network has them."""
        used = self.drop(output.name)
        steps = [Node(node.name, node.op_type, reads(node), makes(node)) for node, _ in self._nodes]
        constant, weights = self.network.constants(sorted(used - self._weights.keys()))
        weights |= {name: self._weights[name] for name in sorted(used & self._weights.keys())}
        graph = self.network.graph
        data, blobs = serialize(
            "shard",
            graph.ir_version,
            graph.opsets,
            [*constant, *(node for node, _ in self._nodes)],
            [
                each
                for each in declared or [self.network.declared(spec.name) for spec in inputs]
                if each.name in used
            ],
            [info],
            weights,
        )
        sizes = self._bytes | {spec.name: nbytes(spec) for spec in inputs}
        names = [spec.name for spec in inputs]
        crossing = crossing_bytes(steps, names, [output.name], sizes)
        peak = max(
            size + sum(sizes.get(name, 0) for name in step.makes)
            for size, step in zip(crossing, steps, strict=False)
        )
        standing = tuple(ends)
        return Part(
            graph=data,
            blobs=blobs,
            inputs=tuple(inputs),
            outputs=(output,),
            node_range=node_range,
            stacks=lambda: self.network.stacked(standing),
            memory=part_memory(sum(self._weigh()), peak),
            activations=image_memory(peak),
        )

    def drop(self, output: str) -> set[str]:
        """Leave out the nodes that ``output`` does not need; the tensors that the others read."""
        needed = {output}
        kept = []
        for node, number in reversed(self._nodes):
            if needed.intersection(makes(node)):
                needed.update(reads(node))
                kept.append((node, number))
        self._nodes = kept[::-1]
        return {name for node, _ in kept for name in reads(node)}

    def _weigh(self) -> list[int]:
        """Resident bytes of each node."""
        counted: set[str] = set()
        found = []
        for node, number in self._nodes:
            if number is not None:
                found.append(self.network.node_memory_bytes[number])
                continue
            names = set(reads(node)) - counted
            counted |= names
            found.append(node_memory(sum(map(self._weight_bytes, names))))
        return found

    def _weight_bytes(self, name: str) -> int:
        weight = self._weights.get(name) or self.network.graph.weights.get(name)
        return 0 if weight is None else weight.nbytes


def names_of(network: Network) -> Names:
    """Names that no tensor of a network has, the same for each that asks."""
    graph = network.graph
    made = (name for node in graph.nodes for name in (*node.input, *node.output))
    return Names(itertools.chain(graph.weights, (spec.name for spec in network.inputs), made))


def nbytes(spec: TensorSpec) -> int:
    """Bytes of a tensor for one image."""
    return np.dtype(spec.dtype).itemsize * elements(spec.shape)

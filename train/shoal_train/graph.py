"""A part of a network as a PyTorch module, node by node, and its weights back in the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

import onnx
import torch
from torch import Tensor, nn

from shoal.errors import UnsupportedModelError
from shoal.model.dtypes import ONNX_TO_NUMPY
from shoal.model.graph import Graph, reads, whole
from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards.operators import LAYERS
from shoal.model.weights import Weight, read_weight, weight_proto
from shoal_train.operators import apply

Tensors: TypeAlias = Mapping[str, Tensor]


class PartModule(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """What a part computes. The weights and biases of its layers, or those of them that are in
    ``only``, are parameters, by the names of :meth:`weights`. UnsupportedModelError where they are
    no numbers of 32 bits; an operator that is not there is found when it is run."""

    def __init__(self, part: Part, only: Collection[str] | None = None) -> None:
        super().__init__()
        model = onnx.load_model_from_string(part.graph)
        self._nodes = list(model.graph.node)
        self._outputs = part.outputs
        self._names: dict[str, str] = {}
        trained = {
            name for node in self._nodes if node.op_type in LAYERS for name in reads(node)[1:]
        }
        if only is not None:
            trained &= set(only)
        for number, proto in enumerate(model.graph.initializer):
            weight = read_weight(proto, lambda hash: memoryview(part.blobs[hash]).cast("B"))
            if weight.data_type not in ONNX_TO_NUMPY:
                raise UnsupportedModelError(
                    f"weight {proto.name!r} has a type that PyTorch has not"
                )
            tensor = torch.from_numpy(weight.array().copy())
            own = self._names[proto.name] = f"w{number}"
            if proto.name not in trained:
                self.register_buffer(own, tensor)
            elif tensor.dtype is torch.float32:
                self.register_parameter(own, nn.Parameter(tensor))
            else:
                raise UnsupportedModelError(
                    f"weight {proto.name!r} is of {tensor.dtype}, and only torch.float32 is "
                    "trained: train the network before it is rounded"
                )
        last = {name: number for number, node in enumerate(self._nodes) for name in reads(node)}
        self._done: list[list[str]] = [[] for _ in self._nodes]
        for name, number in last.items():
            if name not in self._names:
                self._done[number].append(name)

    def forward(self, given: Tensors) -> tuple[Tensor, ...]:
        """The outputs for the part's inputs, which are given by name."""
        held: dict[str, Tensor] = dict(given)
        held.update((name, getattr(self, own)) for name, own in self._names.items())
        for node, done in zip(self._nodes, self._done, strict=True):
            held[node.output[0]] = apply(
                node, [held[name] if name else None for name in node.input]
            )
            for name in done:
                if name not in self._outputs:
                    del held[name]
        return tuple(held[name] for name in self._outputs)

    def weights(self) -> dict[str, Weight]:
        """What was trained, by its name in the network."""
        own = dict(self.named_parameters())
        return {
            name: Weight.of(own[mine].detach().contiguous().numpy())
            for name, mine in self._names.items()
            if mine in own
        }


def with_weights(network: Network, weights: Mapping[str, Weight]) -> Network:
    """The same network with other weights. It is not proved: :func:`shoal.load` does that."""
    graph = network.graph.copy()
    graph.weights.update(weights)
    return Network(graph, network.name)


def onnx_bytes(graph: Graph) -> bytes:
    """A graph with its weights in one ONNX file."""
    bare = graph.copy()
    bare.weights = {}
    model = onnx.load_model_from_string(whole(bare)[0])
    model.graph.initializer.extend(weight_proto(*each) for each in graph.weights.items())
    content: bytes = model.SerializeToString(deterministic=True)
    return content

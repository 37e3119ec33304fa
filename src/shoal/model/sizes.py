"""Sizes of inputs that a network takes, where those that it was given do not do: its sides may have
to be multiples of something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.errors import InputError, ModelError
from shoal.model import limits
from shoal.model.asked import as_it_came
from shoal.model.graph import Graph
from shoal.model.probe import probe
from shoal.model.shapes import infer
from shoal.model.spec import TensorSpec

MULTIPLES = (2, 4, 8, 16, 32, 64)


def advice(graph: Graph, free: Mapping[str, Sequence[int]]) -> str:
    """What to do about sizes that the network does not take, in a sentence; empty where it takes
    them, and where nothing larger was found that it does. ``free`` has the axes by
    input whose sizes were chosen."""
    if _runs(graph):
        return ""  # something else is wrong
    tried = [graph.inputs]
    for multiple in MULTIPLES:
        inputs = tuple(_rounded(spec, free.get(spec.name, ()), multiple) for spec in graph.inputs)
        if inputs in tried:
            continue
        tried.append(inputs)
        other = graph.copy()
        other.inputs = inputs
        if _runs(other):
            return f" It takes {', '.join(map(_said, inputs))} (multiples of {multiple})."
    return ""


def _rounded(spec: TensorSpec, axes: Sequence[int], multiple: int) -> TensorSpec:
    """With the sizes along these axes rounded up."""
    shape = list(spec.shape)
    for axis in axes:
        size = shape[axis]
        if size is not None:
            shape[axis] = -(-size // multiple) * multiple
    return TensorSpec(spec.name, spec.dtype, tuple(shape))


def _runs(graph: Graph) -> bool:
    """Whether the engine runs it, on noise."""
    try:
        infer(graph, limits.TENSOR_BYTES)
        as_it_came(graph).run(probe(graph.inputs))
    except (InputError, ModelError):
        return False
    return True


def _said(spec: TensorSpec) -> str:
    sizes = "x".join("1" if size is None else str(size) for size in spec.shape)
    return f"{spec.name}={sizes}"

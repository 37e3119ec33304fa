"""A network as a list of steps, each of which says what it does to groups of channels.

Made by ``trace.py``; run by ``model.py`` with PyTorch, and written as ONNX by ``emit.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from shoal_train.fluid.layers import Axis


@dataclass(frozen=True)
class Value:
    """A tensor of one image: what it is called, its shape without the batch, how it is divided."""

    name: str
    shape: tuple[int, ...]
    axis: Axis | None
    """None: not divided (the image, the logits)."""


@dataclass(frozen=True)
class Weighted:
    """A convolution, dense layer or batch norm; its module is called ``layer``."""

    output: Value
    input: Value
    layer: str


@dataclass(frozen=True)
class Local:
    """What treats every channel alike: activations, pooling, dropout, nothing at all."""

    output: Value
    input: Value
    module: nn.Module


@dataclass(frozen=True)
class Flat:
    """All but the batch becomes one dimension."""

    output: Value
    input: Value


@dataclass(frozen=True)
class Pair:
    """``add`` or ``multiply`` of two tensors divided in the same way."""

    output: Value
    input: Value
    other: Value
    op: str


@dataclass(frozen=True)
class Constant:
    """Arithmetic with what is fixed, before the first layer: ``add``, ``subtract``, ``multiply`` or
    ``divide``."""

    output: Value
    input: Value
    op: str
    buffer: str
    """The buffer of the model that holds it."""


@dataclass(frozen=True)
class Joined:
    """Tensors one after the other along their channels, group by group."""

    output: Value
    inputs: tuple[Value, ...]


Step: TypeAlias = Weighted | Local | Flat | Pair | Constant | Joined


def reads(step: Step) -> tuple[Value, ...]:
    """The tensors that a step takes."""
    match step:
        case Joined(inputs=inputs):
            return inputs
        case Pair(input=first, other=second):
            return (first, second)
    return (step.input,)

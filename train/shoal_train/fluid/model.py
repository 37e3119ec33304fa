"""A network whose groups of channels work alone and together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoal.errors import UsageError
from shoal_train.fluid.groups import Division, Kind, SubNetwork, divide, sub_networks
from shoal_train.fluid.layers import Mix, Norm
from shoal_train.fluid.steps import Constant, Flat, Joined, Local, Pair, Weighted
from shoal_train.fluid.trace import Traced, trace

CALIBRATION_BATCH = 250


class FluidModel(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Made by :func:`make_fluid`. Call it with images and the sub-network that is to answer.

    All sub-networks share the weights; see ``layers.py`` for what each has of its own. In
    training mode batch norm uses the batch; before the model is used, :meth:`calibrate` must have
    seen images.
    """

    def __init__(
        self, traced: Traced, division: Division, subs: Sequence[SubNetwork], kind: Kind
    ) -> None:
        super().__init__()
        self.image, self.steps, self.logits = traced.image, tuple(traced.steps), traced.output
        self.division, self.sub_networks, self.kind = division, tuple(subs), kind
        self.layers = nn.ModuleDict({_key(name): layer for name, layer in traced.layers.items()})
        for name, tensor in traced.buffers.items():
            self.register_buffer(name, tensor)

    @property
    def full(self) -> SubNetwork:
        """The sub-network of all groups."""
        return self.sub_networks[-1]

    def sub(self, name: str) -> SubNetwork:
        """The sub-network called ``name``."""
        for sub in self.sub_networks:
            if sub.name == name:
                return sub
        known = ", ".join(sub.name for sub in self.sub_networks)
        raise UsageError(f"there is no sub-network {name!r}: use {known}")

    def of(self, groups: Sequence[int]) -> SubNetwork:
        """The sub-network of these groups."""
        wanted = tuple(sorted(groups))
        for sub in self.sub_networks:
            if sub.groups == wanted:
                return sub
        raise UsageError(f"there is no sub-network of the groups {wanted}")

    def layer(self, name: str) -> Mix | Norm:
        """The layer that was called ``name`` in the module that was converted."""
        found: Mix | Norm = self.layers[_key(name)]
        return found

    def forward(self, x: Tensor, sub: SubNetwork | None = None) -> Tensor:
        """Logits ``(batch, classes)`` of ``sub`` (all groups, where it is None)."""
        sub = self.full if sub is None else sub
        known = {self.image.name: x}
        for step in self.steps:
            match step:
                case Weighted(output, source, layer):
                    result = self.layers[_key(layer)](known[source.name], sub)
                case Local(output, source, module):
                    result = _apply(module, known[source.name], self.training)
                case Flat(output, source):
                    result = known[source.name].flatten(1)
                case Pair(output, source, other, op):
                    one, two = known[source.name], known[other.name]
                    result = one + two if op == "add" else one * two
                case Constant(output, source, op, buffer):
                    result = _arithmetic(op, known[source.name], getattr(self, buffer))
                case Joined(output, inputs):
                    result = _join([known[value.name] for value in inputs], step, sub.groups)
            known[output.name] = result
        return known[self.logits.name]

    def apart(self, x: Tensor, subs: Sequence[SubNetwork]) -> Tensor:
        """The sum of the logits of ``subs``, which see nothing of one another."""
        return torch.stack([self(x, sub) for sub in subs]).sum(0)

    def calibrate(self, images: Tensor, subs: Sequence[SubNetwork] | None = None) -> None:
        """Measure means and variances of batch norm for ``subs`` (all, where it is None).

        ``images`` are floats as the network takes them; one or two thousand are enough.
        """
        norms = [layer for layer in self.layers.values() if isinstance(layer, Norm)]
        if not norms:
            return
        was_training = self.training
        self.eval()
        for sub in self.sub_networks if subs is None else subs:
            if sub.statistics != sub.name:
                continue  # it borrows them
            for norm in norms:
                norm.found = []
            try:
                with torch.no_grad():
                    for some in images.split(CALIBRATION_BATCH):
                        self(some, sub)
                    for norm in norms:
                        norm.settle(sub)
            finally:
                for norm in norms:
                    norm.found = None
        self.train(was_training)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """In evaluation mode and without gradients; as before afterwards."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.train(was_training)


def make_fluid(
    module: nn.Module,
    example: Tensor,
    groups: int | str | Sequence[float],
    kind: Kind = "fluid",
) -> FluidModel:
    """The fluid form of ``module``, whose weights it starts from.

    ``example`` is an input ``(batch, channels, height, width)``. ``groups`` is the number of
    devices (2 to 8), or their relative widths (``(2, 1, 1)`` or ``"2:1:1"``). ``kind`` says which
    sub-networks have private values; for anything but a baseline leave it as it is.

    Raises ``UnsupportedModelError`` that names the layer which cannot be divided, ``UsageError``
    for groups that make no sense.
    """
    if not isinstance(module, nn.Module) or not isinstance(example, Tensor):
        raise UsageError(
            "a torch.nn.Module and a tensor to show its input are wanted, not "
            f"{type(module).__name__} and {type(example).__name__}"
        )
    if example.ndim != 4:
        raise UsageError(
            f"the example has shape {tuple(example.shape)}; it must be (batch, channels, height, "
            "width): example[None] gives an image a batch of its own"
        )
    division = divide(groups)
    subs = sub_networks(division, kind)
    return FluidModel(trace(module, example, division, subs), division, subs, kind)


def _key(name: str) -> str:
    """A name for a module in a module: without dots, and none of what every one has."""
    key = name.replace(".", "/")
    return f"{key}/" if hasattr(nn.ModuleDict, key) else key


def _apply(module: nn.Module, x: Tensor, training: bool) -> Tensor:
    if isinstance(module, nn.Dropout):
        return functional.dropout(x, module.p, training)
    if isinstance(module, nn.Dropout2d):
        return functional.dropout2d(x, module.p, training)
    return module(x)


def _arithmetic(op: str, x: Tensor, value: Tensor) -> Tensor:
    match op:
        case "add":
            return x + value
        case "subtract":
            return x - value
        case "multiply":
            return x * value
    return x / value


def _join(tensors: Sequence[Tensor], step: Joined, groups: Sequence[int]) -> Tensor:
    """Join along the channels so that those of a group lie together."""
    pieces = [
        tensor.split([value.axis.sizes[group] for group in groups if value.axis is not None], 1)
        for tensor, value in zip(tensors, step.inputs, strict=True)
    ]
    return torch.cat([piece[place] for place in range(len(groups)) for piece in pieces], 1)

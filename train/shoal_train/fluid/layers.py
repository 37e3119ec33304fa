"""Layers whose weights are shared by all sub-networks, block by block.

A weight is held once, its rows and columns in the order of the groups; a sub-network reads the
blocks from its groups to its groups. What is small is private: biases, and scale, shift, mean and
variance of batch norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoal_train.fluid.groups import SubNetwork

Pick: TypeAlias = slice | Tensor
"""Which rows (or columns) belong to some groups: a slice where they lie side by side."""


@dataclass(frozen=True)
class Axis:
    """A dimension of channels in the order of the groups."""

    origin: tuple[tuple[int, ...], ...]
    """For each group the numbers of its channels in the network that was converted."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Channels of each group."""
        return tuple(len(group) for group in self.origin)

    @property
    def order(self) -> tuple[int, ...]:
        """The original channel numbers in the order of the groups."""
        return tuple(number for group in self.origin for number in group)

    def place(self, group: int) -> tuple[int, int]:
        """First channel and the one after the last of a group."""
        first = sum(self.sizes[:group])
        return first, first + self.sizes[group]

    def pick(self, groups: Sequence[int]) -> Pick:
        """The channels of ``groups``."""
        places = [self.place(group) for group in groups]
        if all(end == start for (_, end), (start, _) in pairwise(places)):
            return slice(places[0][0], places[-1][1])
        return torch.cat([torch.arange(first, end) for first, end in places])


class Private(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A vector over the channels for each set of private values."""

    def __init__(self, start: Tensor, keys: Sequence[str]) -> None:
        super().__init__()
        self.values = nn.ParameterDict({key: nn.Parameter(start.clone()) for key in keys})

    def of(self, sub: SubNetwork) -> Tensor:
        values: Tensor = self.values[sub.affine]
        return values


class Mix(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A convolution or dense layer: every channel in may go to every channel out.

    ``rows`` and ``columns`` are the divided channels out and in, or None where they are whole (the
    image, the logits). A ``depthwise`` one has a filter for each channel and no columns.
    """

    weight: Tensor

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        rows: Axis | None,
        columns: Axis | None,
        keys: Sequence[str],
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.depthwise = rows, columns, depthwise
        weight = layer.weight.detach().clone()
        bias = None if layer.bias is None else layer.bias.detach().clone()
        if rows is not None:
            weight = weight[list(rows.order)]
            bias = None if bias is None else bias[list(rows.order)]
        if columns is not None:
            weight = weight[:, list(columns.order)]
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if bias is None else Private(bias, keys)
        self.stride: tuple[int, int] | None = None
        if isinstance(layer, nn.Conv2d):
            self.stride, self.dilation, self.padding = layer.stride, layer.dilation, layer.padding
            self.multiplier = layer.out_channels // layer.in_channels
            """Channels out for each channel in, where it is depthwise."""

    def part(self, groups: Sequence[int], sources: Sequence[int]) -> Tensor:
        """The weights to ``groups`` from ``sources``, wherever the layer is divided."""
        weight = self.weight
        if self.rows is not None:
            weight = weight[self.rows.pick(groups)]
        if self.columns is not None:
            weight = weight[:, self.columns.pick(sources)]
        return weight

    def shift(self, sub: SubNetwork, groups: Sequence[int]) -> Tensor | None:
        """The bias of ``sub`` for the channels of ``groups``."""
        if self.bias is None:
            return None
        values = self.bias.of(sub)
        return values if self.rows is None else values[self.rows.pick(groups)]

    def forward(self, x: Tensor, sub: SubNetwork) -> Tensor:
        weight, bias = self.part(sub.groups, sub.groups), self.shift(sub, sub.groups)
        if self.stride is None:
            return functional.linear(x, weight, bias)
        groups = x.shape[1] if self.depthwise else 1
        return functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, groups)


class Norm(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Batch norm with private values.

    In training mode it takes mean and variance from the batch. Otherwise from what ``measure``
    found, because running averages are wrong as soon as another sub-network has changed the
    weights they belong to.
    """

    def __init__(
        self, layer: nn.BatchNorm2d, axis: Axis, keys: Sequence[str], statistics: Sequence[str]
    ) -> None:
        super().__init__()
        self.axis, self.eps = axis, layer.eps
        order = list(axis.order)
        ones = torch.ones(len(order))
        scale = ones if layer.weight is None else layer.weight.detach()[order]
        shift = 0 * ones if layer.bias is None else layer.bias.detach()[order]
        mean = 0 * ones if layer.running_mean is None else layer.running_mean[order]
        variance = ones if layer.running_var is None else layer.running_var[order]
        self.scale, self.shift = Private(scale, keys), Private(shift, keys)
        for name in statistics:
            self.register_buffer(f"mean_{name}", mean.clone())
            self.register_buffer(f"variance_{name}", variance.clone())
        self.found: list[tuple[Tensor, Tensor]] | None = None
        """Means and variances of the batches seen while measuring."""

    def affine(self, sub: SubNetwork, groups: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Factor and summand that batch norm comes to when the network answers."""
        pick = self.axis.pick(groups)
        mean = getattr(self, f"mean_{sub.statistics}")[pick]
        variance = getattr(self, f"variance_{sub.statistics}")[pick]
        factor = self.scale.of(sub)[pick] / torch.sqrt(variance + self.eps)
        return factor, self.shift.of(sub)[pick] - mean * factor

    def forward(self, x: Tensor, sub: SubNetwork) -> Tensor:
        pick = self.axis.pick(sub.groups)
        scale, shift = self.scale.of(sub)[pick], self.shift.of(sub)[pick]
        if self.found is not None:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            self.found.append((mean, variance))
        if self.training or self.found is not None:
            return functional.batch_norm(x, None, None, scale, shift, True, 0.0, self.eps)
        mean = getattr(self, f"mean_{sub.statistics}")[pick]
        variance = getattr(self, f"variance_{sub.statistics}")[pick]
        return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, self.eps)

    def settle(self, sub: SubNetwork) -> None:
        """Take the mean and variance over all batches found as those of ``sub``."""
        if not self.found:
            return
        means = torch.stack([mean for mean, _ in self.found])
        variances = torch.stack([variance for _, variance in self.found])
        pick = self.axis.pick(sub.groups)
        getattr(self, f"mean_{sub.statistics}")[pick] = means.mean(0)
        getattr(self, f"variance_{sub.statistics}")[pick] = variances.mean(0) + means.var(
            0, correction=0
        )

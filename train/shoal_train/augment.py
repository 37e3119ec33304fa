"""Small random changes to training images, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""From images ``(batch, channels, height, width)`` to others of the same shape."""


def shift(images: Tensor, chance: torch.Generator, by: int = 2) -> Tensor:
    """Move each image by up to ``by`` pixels in both directions; zeros come in at the edges."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (by, by, by, by))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(0, 2 * by + 1, (2, count), generator=chance)
    return windows[torch.arange(count), :, down, right]


def mirror(images: Tensor, chance: torch.Generator) -> Tensor:
    """Mirror each image left to right, with probability one half."""
    chosen = torch.rand(len(images), generator=chance) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def usual(mirrored: bool) -> Augment:
    """Shifts, and mirroring where a mirrored image is still of its class."""
    return (lambda images, chance: mirror(shift(images, chance), chance)) if mirrored else shift

"""How right a network is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BATCH = 500


def scale(images: Tensor) -> Tensor:
    """Bytes to floats from 0 to 1, which is what Shoal's own networks take; other numbers as they
    are."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images


def predict(module: nn.Module, images: Tensor) -> Tensor:
    """The logits of ``module`` for byte images, one row each. The module's mode is kept."""
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            return torch.cat([module(scale(some)) for some in images.split(BATCH)])
    finally:
        module.train(was_training)


def top1(logits: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest logit is that of the label, 0 to 1."""
    return float((logits.argmax(1) == labels).to(torch.float64).mean())


def by_class(logits: Tensor, labels: Tensor, classes: int) -> list[float]:
    """``top1`` among the images of each class; 0 for a class without images."""
    right = torch.bincount(labels[logits.argmax(1) == labels], minlength=classes)
    shares: list[float] = (right / torch.bincount(labels, minlength=classes).clamp(min=1)).tolist()
    return shares

"""What is learned from: images and labels, some of them held back, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shoal_train.augment import Augment, usual
from shoal_train.datasets import DataSet
from shoal_train.metrics import scale
from shoal_train.seeding import generator

VALIDATION_SHARE = 1 / 12
"""Of the training images, held back to choose the best epoch: 5,000 of 60,000."""


@dataclass(frozen=True)
class Material:
    """Images (bytes, or numbers as a network takes them) and labels: to learn from, and held back
    to choose the best weights."""

    images: Tensor
    labels: Tensor
    held_images: Tensor
    held_labels: Tensor
    augment: Augment | None = None


def deal_out(data: DataSet, seed: int) -> Material:
    """The training images of ``data``, of which one in twelve is held back."""
    images, labels = torch.from_numpy(data.train.images.copy()), torch.from_numpy(data.train.labels)
    order = torch.randperm(len(labels), generator=generator(seed, "validation"))
    count = max(1, round(len(order) * VALIDATION_SHARE))
    held, used = order[:count], order[count:]
    return Material(images[used], labels[used], images[held], labels[held], usual(data.mirrored))


def batches(
    images: Tensor,
    labels: Tensor,
    augment: Augment | None,
    size: int,
    chance: torch.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches without end, ready for a module; each image once before any comes again.

    What does not fill a batch is left out, since batch norm does poorly on a handful of images. A
    set smaller than a batch is one batch.
    """
    size = min(size, len(labels))
    while True:
        for chosen in torch.randperm(len(labels), generator=chance).split(size):
            if len(chosen) == size:
                some = images[chosen]
                if augment is not None:
                    some = augment(some, chance)
                ready = scale(some).to(device)
                if ready.ndim == 4:
                    ready = ready.contiguous(memory_format=torch.channels_last)
                yield ready, labels[chosen].to(device)


def steps_per_epoch(images: int, batch: int) -> int:
    """Whole batches in an epoch; a set smaller than a batch is one batch."""
    return max(1, images // batch)

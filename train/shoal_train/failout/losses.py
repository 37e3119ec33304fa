"""What is learned: the answers that the network gave before, whoever is lost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoal_train.failout.risk import Holes
from shoal_train.graph import PartModule
from shoal_train.tuning import bounded, logits

WHOLE = 0.25
"""The share of images for which nobody is lost."""
TEMPERATURE = 2.0
"""By which scores are divided before they are compared: so that what the network holds for unlikely
counts too."""


@dataclass
class Failing:
    """The objective of a masked network (a ``loop.Objective``). ``teacher`` is the network as it
    was; each image has a set of lost devices of its own, drawn of ``holes``."""

    teacher: PartModule
    source: str
    scale: float
    holes: Holes
    chance: torch.Generator

    def __call__(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The cross entropy to the labels, and the divergence from the teacher's answers
        (G. Hinton et al., Distilling the Knowledge in a Neural Network, 2015)."""
        feeds = {self.source: images * self.scale}
        with torch.no_grad():
            (own,) = self.teacher(feeds)
        expected = logits(own) / TEMPERATURE
        (scores,) = module(feeds | self.holes.of(self.drawn(len(images))))
        found = logits(scores)
        apart = functional.kl_div(
            functional.log_softmax(found / TEMPERATURE, 1),
            functional.log_softmax(expected, 1),
            reduction="batchmean",
            log_target=True,
        )
        loss = functional.cross_entropy(found, labels) + TEMPERATURE**2 * apart
        return bounded(loss)

    def drawn(self, count: int) -> Tensor:
        """For each of so many images the number of its set, 0 where nobody is lost."""
        sets = torch.randint(1, self.holes.count, (count,), generator=self.chance)
        return torch.where(torch.rand(count, generator=self.chance) < WHOLE, 0, sets)

    def answers(self, module: nn.Module, images: Tensor, number: int) -> Tensor:
        """What the masked network answers with the set of this number lost."""
        holes = self.holes.of(torch.full((len(images),), number))
        found: Tensor
        (found,) = module({self.source: images * self.scale} | holes)
        return found

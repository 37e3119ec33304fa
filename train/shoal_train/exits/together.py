"""A network trained on, with its exits or with the narrow codecs at their cuts.

The loss is the sum of those of all exits and of the network's end (BranchyNet, Teerapittayanon,
McDanel and Kung 2016), each held against the labels and what the network answered before (Hinton
et al. 2015); and what each codec loses of its tensor.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoal.model.graph import Graph
from shoal.model.network import Network
from shoal.model.weights import Weight
from shoal_train import seeding
from shoal_train.exits.bottleneck import Codec
from shoal_train.exits.learn import OWN, Step
from shoal_train.graph import PartModule
from shoal_train.loop import Settings, Task, fit
from shoal_train.material import Material
from shoal_train.metrics import scale
from shoal_train.tuning import bounded, logits, module_of, scale_of

log = logging.getLogger("shoal")

EXIT = 1.0
"""Weight of an exit's loss; that of the end is 1."""
KEPT = 1.0
"""Weight of the share of a tensor's square that its codec loses."""
SCORED = 1000
"""Most images by which the best epoch is chosen."""


@dataclass(frozen=True)
class Learned:
    """A ``graph`` that is trained on: to give the logits ``exits`` besides, through ``codecs``.
    Of its weights the ones in ``only`` are trained; None: all that layers have."""

    graph: Graph
    exits: Sequence[str]
    codecs: Sequence[Codec]
    only: Collection[str] | None


@dataclass(frozen=True)
class Together:
    """The objective (a ``loop.Objective``) of a module whose outputs are the answers of the
    network's end and of so many ``exits``, and then what goes into each codec and what comes out.
    ``teacher`` is the network as it was; without ``labelled`` its answers are all that is learned.
    """

    teacher: PartModule
    source: str
    factor: float
    exits: int
    labelled: bool

    def __call__(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            (own,) = self.teacher(self.fed(images))
            wanted = logits(own).softmax(1)
            if self.labelled:
                exact = functional.one_hot(labels, wanted.shape[1])
                wanted = OWN * wanted + (1 - OWN) * exact
        answers, passing = self.split(module(self.fed(images)))
        loss = functional.cross_entropy(answers[0], wanted)
        for each in answers[1:]:
            loss = loss + EXIT * functional.cross_entropy(each, wanted)
        for wide, back in passing:
            meant = wide.detach()
            loss = loss + KEPT * (back - meant).square().sum() / meant.square().sum().clamp(
                min=1e-9
            )
        return bounded(loss)

    def fed(self, images: Tensor) -> dict[str, Tensor]:
        """Images from 0 to 1 as the network takes them."""
        return {self.source: images * self.factor}

    def split(self, made: Sequence[Tensor]) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """The logits of the end and the exits; and the pairs of the codecs."""
        rest = made[1 + self.exits :]
        answers = [logits(made[0]), *made[1 : 1 + self.exits]]
        return answers, list(zip(rest[::2], rest[1::2], strict=True))


@dataclass(frozen=True)
class Told:
    """A ``loop.Watcher`` that tells which share of all epochs is done."""

    step: Step
    epochs: int

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.step((epoch - 1 + step / steps) / self.epochs)

    def on_epoch(self, row: dict[str, Any]) -> None:
        """That a share of them is done says it."""


def train(
    network: Network,
    learned: Learned,
    material: Material,
    labelled: bool,
    settings: Settings,
    step: Step,
) -> dict[str, Weight]:
    """The weights of ``learned``, which was made of ``network``: those of the epoch in which the
    end and the exits are right most often, on images of ``material`` that were held back; or those
    that it has, if they are right more often with these.

    By Adam (Kingma and Ba 2015), as features of exits are of very different sizes."""
    outputs = [*learned.graph.outputs, *learned.exits]
    outputs += [name for codec in learned.codecs for name in (codec.wide, codec.back)]
    graph = learned.graph.copy()
    graph.outputs = tuple(outputs)
    (whole,) = Network(graph, network.name).split((), prove=False)
    module = PartModule(whole, learned.only)
    objective = Together(
        teacher=module_of(network),
        source=network.inputs[0].name,
        factor=scale_of(network),
        exits=len(learned.exits),
        labelled=labelled,
    )
    held = material.held_images[:SCORED], material.held_labels[:SCORED]

    def score(module: nn.Module) -> float:
        module.eval()
        given = zip(*(each.split(settings.batch) for each in held), strict=True)
        rights = 0
        with torch.inference_mode():
            for images, labels in given:
                answers, _ = objective.split(module(objective.fed(scale(images))))
                rights += sum(int((each.argmax(1) == labels).sum()) for each in answers)
        return rights / len(held[1]) / (1 + objective.exits)

    task = Task(material.images, material.labels, objective, score, material.augment)
    start, begun = module.weights(), score(module)
    with seeding.reproducible(settings.seed, "exits together"):
        optimiser = torch.optim.Adam(
            [parameter for parameter in module.parameters() if parameter.requires_grad]
        )
        watcher = Told(step, settings.epochs)
        fitted = fit(module, task, settings, watcher=watcher, optimiser=optimiser)
    if fitted.best_score >= begun:
        return module.weights()
    log.warning(
        "%s: right were %.4f of the answers of exits and end before training, and %.4f after its "
        "best epoch, so weights stay; ask for a lower --learning-rate, or more images",
        network.name,
        begun,
        fitted.best_score,
    )
    return start

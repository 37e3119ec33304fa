"""One training for the loss of devices, from a network to the same with other weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shoal.model.network import Network
from shoal.strategies.shards.failures import Sample
from shoal.task import Classifier
from shoal_train import seeding
from shoal_train.datasets import DataSet, Split
from shoal_train.failout.losses import Failing
from shoal_train.failout.risk import Risk
from shoal_train.folder import fed
from shoal_train.graph import PartModule, with_weights
from shoal_train.loop import Fitted, Settings, Task, Watcher, fit
from shoal_train.material import deal_out
from shoal_train.metrics import scale, top1
from shoal_train.tuning import module_of, scale_of

JUDGED = 128
"""Images by which units are judged."""
SCORED = 1000
"""Most images by which the best epoch is chosen."""
FILLS = ("mean", "rebuilt")


@dataclass(frozen=True)
class Tuned:
    """The network with its new weights, and how it came about."""

    network: Network
    fitted: Fitted


def tune(risk: Risk, data: DataSet, settings: Settings, watcher: Watcher | None = None) -> Tuned:
    """Train the network of ``risk`` on ``data``. The dealing and the means are found anew before
    each epoch; the best epoch is the one with the highest sum of accuracies with nobody lost and
    in the worst case, on images held back."""
    material = deal_out(data, settings.seed)
    network = risk.network
    masked = PartModule(risk.masked().part)
    failing = Failing(
        teacher=module_of(network),
        source=network.inputs[0].name,
        scale=scale_of(network),
        holes=risk.holes(masked),
        chance=seeding.generator(settings.seed, "failures"),
    )
    held, labels = material.held_images[:SCORED], material.held_labels[:SCORED]

    def score(module: nn.Module) -> float:
        assert isinstance(module, PartModule)
        failing.holes = risk.holes(module)
        found = [
            _right(failing, module, held, labels, k, settings.batch)
            for k in range(failing.holes.count)
        ]
        return (found[0] + min(found)) / 2

    task = Task(material.images, material.labels, failing, score, material.augment)
    with seeding.reproducible(settings.seed, "failout"):
        fitted = fit(masked, task, settings, watcher=watcher)
    return Tuned(with_weights(network, masked.weights()), fitted)


def _right(
    failing: Failing, module: nn.Module, images: Tensor, labels: Tensor, number: int, batch: int
) -> float:
    """The share of images answered right with a set of devices lost."""
    with torch.inference_mode():
        made = [failing.answers(module, scale(some), number) for some in images.split(batch)]
    return top1(torch.cat(made), labels)


def measure(risk: Risk, network: Network, test: Split) -> dict[str, Any]:
    """The accuracy of a network (that of ``risk``, or the same with other weights) on images with
    labels: all alive, and by what stands in for what is missing the mean and the least over the
    sets of devices that may be lost. Units are dealt as ``shoal plan`` would."""
    classes = network.outputs[0].shape[1] or 0
    answers = {network.outputs[0].name: np.eye(classes)[test.labels]}
    task = Classifier.of(network.outputs)
    truth = Sample.of(fed(test.images, network.inputs[0]), None, task, answers)
    found: dict[str, Any] = {}
    for fill in FILLS:
        deck = risk.deck(network, fill)
        dealings = risk.dealings(deck)
        if not found:
            found["alive"] = deck.trials.kept(truth, dealings, (), None).share
        shares = [deck.kept(truth, dealings, lost).share for lost in risk.sets]
        found[fill] = {"mean": float(np.mean(shares)), "worst": min(shares)}
    return found

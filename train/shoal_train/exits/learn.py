"""Heads learned on a network that stays as it is, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shoal.errors import CutError
from shoal.model.confidence import confidences
from shoal.model.dtypes import Array
from shoal.model.engine import Session
from shoal.model.spec import TensorSpec
from shoal.task.divergence import probabilities
from shoal_train.exits.material import Labels, Some
from shoal_train.folder import fed
from shoal_train.schedule import warm_up_then_cosine
from shoal_train.seeding import generator, reproducible

LEAST, MOST = 8, 128
"""Images of a batch."""
STEPS = 32
"""In an epoch at least, as long as batches can be smaller."""
RATE = 0.01
DECAY = 1e-5
OWN = 0.3
"""Weight of the network's own answers beside the labels, which win where they are others."""
_TINY = 1e-30

Floats = NDArray[np.float32]
Step = Callable[[float], None]
"""Is told which share is done."""


def features(
    session: Session, taken: TensorSpec, names: Sequence[str], some: Some, size: int, step: Step
) -> dict[str, Floats]:
    """What ``session`` gives by ``names`` for all images, ``size`` at once, a row for each."""
    found: dict[str, list[Array]] = {name: [] for name in names}
    for start in range(0, len(some), size):
        inputs = some.inputs[start : start + size]
        given = session.run({taken.name: fed(inputs, taken)}, names)
        for name, array in given.items():
            if array.shape[:1] != inputs.shape[:1]:
                raise CutError(f"{name!r} has no row for each image, which an exit needs")
            found[name].append(array.astype(np.float32))
        step(min(1.0, (start + size) / len(some)))
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def logits_of(scores: Floats) -> Floats:
    """Scores as logits, whether or not they are probabilities already."""
    return np.log(np.maximum(probabilities(scores), _TINY)).astype(np.float32)


def fit(
    given: Floats, own: Floats, labels: Labels | None, epochs: int, seed: int, step: Step
) -> tuple[Floats, Floats]:
    """Weights (features, classes) and bias of a dense layer on the features ``given``.

    It learns the shares that the network's ``own`` answers give each class (Hinton et al. 2015,
    Distilling the Knowledge in a Neural Network, at temperature 1), and the labels where there are
    some.
    """
    middle, spread = given.mean(axis=0), given.std(axis=0) + 1e-4
    x = torch.from_numpy((given - middle) / spread)
    wanted = torch.from_numpy(probabilities(own).astype(np.float32))
    if labels is not None:
        exact = nn.functional.one_hot(torch.from_numpy(labels), wanted.shape[1])
        wanted = OWN * wanted + (1 - OWN) * exact
    with reproducible(seed, "head"):
        layer = nn.Linear(x.shape[1], wanted.shape[1])
    learner = torch.optim.Adam(layer.parameters(), lr=RATE, weight_decay=DECAY)
    chance = generator(seed, "head", "order")
    size = min(max(LEAST, len(x) // STEPS), MOST)
    each = max(1, len(x) // size)
    for number in range(epochs * each):
        if number % each == 0:
            order = torch.randperm(len(x), generator=chance)
        some = order[number % each * size : (number % each + 1) * size]
        for group in learner.param_groups:
            group["lr"] = RATE * warm_up_then_cosine((number + 1) / (epochs * each))
        learner.zero_grad()
        nn.functional.cross_entropy(layer(x[some]), wanted[some]).backward()
        learner.step()
        step((number + 1) / (epochs * each))
    weights = layer.weight.detach().numpy().T / spread[:, None]
    bias = layer.bias.detach().numpy() - middle @ weights
    return weights.astype(np.float32), bias.astype(np.float32)


def temperature(logits: Floats, answers: Labels) -> float:
    """The temperature with the least negative log likelihood of ``answers`` (Guo et al. 2017, On
    Calibration of Modern Neural Networks), to about a thousandth, from 0.01 to 100."""

    def loss(log: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log)
        scaled -= scaled.max(axis=1, keepdims=True)
        sums = np.log(np.exp(scaled).sum(axis=1))
        return float((sums - scaled[np.arange(len(answers)), answers]).mean())

    low, high = np.log(0.01), np.log(100.0)
    while high - low > 1e-3:  # it has one valley: the loss is convex in the inverse
        third = (high - low) / 3
        if loss(low + third) <= loss(high - third):
            high -= third
        else:
            low += third
    return round(float(np.exp((low + high) / 2)), 4)


def column(logits: Floats, answers: Labels, criterion: str, temperature: float) -> tuple[int, ...]:
    """A column of the calibration table: permille of confidence, negative where an answer is
    wrong."""
    sure = np.floor(1000 * confidences(logits, criterion, temperature)).astype(int).clip(1, 1000)
    right = logits.argmax(axis=1) == answers
    return tuple(np.where(right, sure, -sure).tolist())

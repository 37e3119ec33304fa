"""What it takes to train a network on that is trained already, as a PyTorch module of its graph."""

from __future__ import annotations

import torch
from torch import Tensor

from shoal.errors import UsageError
from shoal.model.network import Network
from shoal_train.graph import PartModule
from shoal_train.loop import Settings

MOST_BYTES = 2 << 30
COPIES = 4
"""Of each tensor while gradients are taken, those of its own and of what is computed beside it."""


def check_rate(learning_rate: float) -> None:
    """UsageError for a learning rate that makes no sense."""
    if not 0 < learning_rate < 10:
        raise UsageError(f"--learning-rate {learning_rate:g}: give one above 0 and below 10")


def module_of(network: Network) -> PartModule:
    """A whole network as a module that is not trained itself, tried on made-up inputs.
    UnsupportedModelError where PyTorch has not all of it."""
    (whole,) = network.split((), prove=False)
    module = PartModule(whole)
    module.eval()
    with torch.inference_mode():
        module({name: torch.from_numpy(array) for name, array in network.probe().items()})
    return module


def batch_for(network: Network) -> int:
    """How many images are learned from at once, by what a network makes of one."""
    made = sum(network.node_peak_bytes) - sum(network.crossing_bytes[:-1])
    return max(1, min(Settings.batch, MOST_BYTES // (COPIES * max(1, made))))


def scale_of(network: Network) -> float:
    """By what images from 0 to 1 are multiplied for a network that takes bytes."""
    return 255.0 if network.inputs[0].dtype == "uint8" else 1.0


def logits(scores: Tensor) -> Tensor:
    """Scores of which the softmax is taken: of probabilities their logarithm."""
    if bool((scores >= 0).all()) and torch.allclose(scores.sum(1), torch.ones(()), atol=1e-3):
        return scores.clamp(min=1e-12).log()
    return scores


def bounded(loss: Tensor) -> Tensor:
    """The loss itself; UsageError where it is no number any more."""
    if not loss.isfinite():
        raise UsageError("the weights grew beyond all bounds: ask for a lower --learning-rate")
    return loss

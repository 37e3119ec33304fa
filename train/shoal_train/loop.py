"""The training loop: whatever is trained, and for whatever loss."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from shoal.errors import UsageError
from shoal_train import checkpoint
from shoal_train.augment import Augment
from shoal_train.log import write_log
from shoal_train.material import batches, steps_per_epoch
from shoal_train.schedule import best_epoch, has_stalled, warm_up_then_cosine
from shoal_train.seeding import generator

Objective: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""The loss of a module on images (floats, 0 to 1) and labels. One loss, a sum over exits, a sum
over sub-networks: the loop does not mind."""

Score: TypeAlias = Callable[[nn.Module], float]
"""How good a module is; higher is better. Never measured on the test images."""


@dataclass(frozen=True)
class Settings:
    """How to train."""

    epochs: int
    seed: int
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    patience: int | None = None
    """Stop after this many epochs without a better score; ``None``: never."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")


class Watcher(Protocol):
    """Is told how the training goes."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """``step`` of ``steps`` of this epoch are done."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done; ``row`` is its line of the log."""


@dataclass(frozen=True)
class Fitted:
    """What came out; the module itself holds the weights of the best epoch."""

    best_epoch: int
    best_score: float
    rows: list[dict[str, Any]]
    stopped_early: bool


@dataclass(frozen=True)
class Task:
    """What is learned, from images (bytes, or numbers as a network takes them) and labels."""

    images: Tensor
    labels: Tensor
    objective: Objective
    score: Score
    augment: Augment | None = None


def fit(
    module: nn.Module,
    task: Task,
    settings: Settings,
    *,
    folder: Path | None = None,
    purpose: str = "",
    watcher: Watcher | None = None,
    optimiser: torch.optim.Optimizer | None = None,
) -> Fitted:
    """Train ``module`` by ``optimiser``; without one by stochastic gradient descent with momentum.
    ``folder``, ``purpose`` and ``watcher`` are those of :func:`go_through`."""
    module.to(memory_format=torch.channels_last)  # a fifth faster on CPUs, and the same network
    if optimiser is None:
        optimiser = torch.optim.SGD(
            [parameter for parameter in module.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )

    def epoch(number: int) -> tuple[float, dict[str, Any]]:
        loss = _epoch(module, task, settings, number, optimiser, watcher)
        score = task.score(module)
        return score, {"loss": round(loss, 6), "score": round(score, 6)}

    return go_through(
        module,
        optimiser,
        settings,
        settings.epochs,
        epoch,
        folder=folder,
        purpose=purpose,
        watcher=watcher,
    )


def go_through(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    settings: Settings,
    epochs: int,
    epoch: Callable[[int], tuple[float, dict[str, Any]]],
    *,
    folder: Path | None,
    purpose: str,
    watcher: Watcher | None,
) -> Fitted:
    """Call ``epoch`` with the numbers from 1 to ``epochs``, and leave the best weights in the end.

    It trains, and returns the score and what the log says of it. With ``folder``, a checkpoint and
    the log are written there after each epoch, and a checkpoint that is there is gone on from: the
    end is the same, bit by bit, as without the interruption (on one machine with one number of
    threads). ``purpose`` names network and data, so that a checkpoint of another training is
    refused.
    """
    state = _start(module, optimiser, folder, f"{purpose} {asdict(settings)}".strip())
    while len(state.scores) < epochs and not _stop(state, settings):
        number, started = len(state.scores) + 1, time.perf_counter()
        score, row = epoch(number)
        state.scores.append(score)
        state.rows.append(
            {
                "epoch": number,
                **row,
                "learning_rate": round(optimiser.param_groups[0]["lr"], 8),
                "seconds": round(time.perf_counter() - started, 2),
            }
        )
        if best_epoch(state.scores) == number:
            state.best = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        if folder is not None:
            state.module, state.optimiser = module.state_dict(), optimiser.state_dict()
            checkpoint.save(state, folder / checkpoint.FILE)
            write_log(folder / "train.jsonl", state.rows)
        if watcher is not None:
            watcher.on_epoch(state.rows[-1])
    module.load_state_dict(state.best)
    best = best_epoch(state.scores)
    return Fitted(best, state.scores[best - 1], state.rows, len(state.scores) < epochs)


def _start(
    module: nn.Module, optimiser: torch.optim.Optimizer, folder: Path | None, purpose: str
) -> checkpoint.Checkpoint:
    if folder is None or not (folder / checkpoint.FILE).exists():
        return checkpoint.Checkpoint(purpose, {}, {}, {}, [], [])
    state = checkpoint.load(folder / checkpoint.FILE, purpose)
    try:
        module.load_state_dict(state.module)
        optimiser.load_state_dict(state.optimiser)
    except (RuntimeError, ValueError) as error:  # the file that makes the network was changed
        raise UsageError(
            f"the checkpoint in {folder} is of a network with other layers than this one: "
            "use another --out"
        ) from error
    return state


def _stop(state: checkpoint.Checkpoint, settings: Settings) -> bool:
    return settings.patience is not None and has_stalled(state.scores, settings.patience)


def _epoch(
    module: nn.Module,
    task: Task,
    settings: Settings,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    watcher: Watcher | None,
) -> float:
    """Train for one epoch; returns the mean loss."""
    module.train()
    chance = generator(settings.seed, "epoch", epoch)
    steps = steps_per_epoch(len(task.labels), settings.batch)
    given = batches(task.images, task.labels, task.augment, settings.batch, chance)
    total = 0.0
    for step, (images, labels) in enumerate(islice(given, steps)):
        done = (epoch - 1 + (step + 0.5) / steps) / settings.epochs
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * warm_up_then_cosine(done)
        loss = task.objective(module, images, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        if watcher is not None:
            watcher.on_step(epoch, step + 1, steps, total / (step + 1))
    return total / steps


def cross_entropy(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The usual objective of a classifier with one output."""
    return nn.functional.cross_entropy(module(images), labels)

"""The training loop of fluid networks: turn by turn, the best weights kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shoal_train.fluid.groups import SubNetwork
from shoal_train.fluid.layers import Mix, Private
from shoal_train.fluid.model import FluidModel
from shoal_train.fluid.turns import DRAWN, Block, Turn, allowance
from shoal_train.loop import Fitted, Settings, Watcher, go_through
from shoal_train.material import Material, batches, steps_per_epoch
from shoal_train.metrics import scale, top1
from shoal_train.schedule import warm_up_then_cosine
from shoal_train.seeding import generator

CALIBRATION_IMAGES = 1500
"""Of the training images, for batch norm."""
SCORED = 16
"""At most so many sub-networks are measured after each leg."""
SOFT = 0.5
"""Share of the loss of a small sub-network that comes from the full network's answers."""


@dataclass(frozen=True)
class Leg:
    """A stretch of a turn after which the network is measured: an epoch at most."""

    turn: Turn
    first: int
    """Step of the turn at which it begins."""
    steps: int


def legs(turns: Sequence[Turn], per_epoch: int) -> tuple[Leg, ...]:
    """The turns in stretches of at most an epoch."""
    return tuple(
        Leg(turn, first, min(per_epoch, turn.steps - first))
        for turn in turns
        for first in range(0, turn.steps, per_epoch)
    )


def fit(
    model: FluidModel,
    material: Material,
    settings: Settings,
    turns: Sequence[Turn],
    *,
    targets: Mapping[str, float] | None = None,
    device: str = "cpu",
    folder: Path | None = None,
    purpose: str = "",
    watcher: Watcher | None = None,
) -> Fitted:
    """Train ``model`` through ``turns``; in the end it holds the best weights, calibrated.

    The best are those with the highest minimum over the trained sub-networks of (accuracy on the
    images held back - target). ``targets`` (name to accuracy) are by default so much below the
    full network's as ``turns.allowance`` grants. ``settings.patience`` counts legs. ``folder``,
    ``purpose`` and ``watcher`` are those of ``loop.go_through``, for which a leg is an epoch.
    """
    model.to(device=device, memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=settings.momentum, nesterov=True
    )
    route = legs(turns, steps_per_epoch(len(material.labels), settings.batch))
    measured = scored(model, settings.seed)

    def leg(number: int) -> tuple[float, dict[str, Any]]:
        loss = _leg(model, material, settings, route[number - 1], number, optimiser, watcher)
        calibrate(model, material.images, measured)
        accuracy = accuracies(model, material.held_images, material.held_labels, measured)
        score = _score(model, accuracy, targets)
        return score, {
            "turn": route[number - 1].turn.name,
            "loss": round(loss, 6),
            "score": round(score, 6),
            "accuracy": {name: round(value, 4) for name, value in accuracy.items()},
        }

    fitted = go_through(
        model,
        optimiser,
        settings,
        len(route),
        leg,
        folder=folder,
        purpose=purpose,
        watcher=watcher,
    )
    calibrate(model, material.images, model.sub_networks)
    return fitted


def scored(model: FluidModel, seed: int) -> tuple[SubNetwork, ...]:
    """The sub-networks that are measured after each leg: all that are trained, or the full one,
    those of one group, and some others."""
    own = [sub for sub in model.sub_networks if sub.statistics == sub.name]
    if len(own) <= SCORED:
        return tuple(own)
    kept = [sub for sub in own if len(sub.groups) == 1 or sub is model.full]
    others = [sub for sub in own if sub not in kept]
    order = torch.randperm(len(others), generator=generator(seed, "scored")).tolist()
    return (*(others[place] for place in order[: SCORED - len(kept)]), *kept)


def calibrate(model: FluidModel, images: Tensor, subs: Sequence[SubNetwork]) -> None:
    """Measure batch norm on the first of the byte ``images``."""
    device = next(model.parameters()).device
    some = scale(images[:CALIBRATION_IMAGES]).to(device)
    model.calibrate(some.contiguous(memory_format=torch.channels_last), subs)


def logits(model: FluidModel, images: Tensor, sub: SubNetwork, batch: int = 500) -> Tensor:
    """What ``sub`` gives for byte images, one row each."""
    device = next(model.parameters()).device
    with model.answering():
        return torch.cat(
            [
                model(
                    scale(some).to(device).contiguous(memory_format=torch.channels_last), sub
                ).cpu()
                for some in images.split(batch)
            ]
        )


def accuracies(
    model: FluidModel, images: Tensor, labels: Tensor, subs: Sequence[SubNetwork]
) -> dict[str, float]:
    """The share of right answers of each sub-network."""
    return {sub.name: top1(logits(model, images, sub), labels) for sub in subs}


def _score(
    model: FluidModel, accuracy: Mapping[str, float], targets: Mapping[str, float] | None
) -> float:
    def target(sub: SubNetwork) -> float:
        if targets is not None:
            return targets.get(sub.name, 0.0)
        return 1 - allowance(model.division.share(sub.groups))

    return min(
        accuracy[sub.name] - target(sub) for sub in model.sub_networks if sub.name in accuracy
    )


def _leg(
    model: FluidModel,
    material: Material,
    settings: Settings,
    leg: Leg,
    number: int,
    optimiser: torch.optim.Optimizer,
    watcher: Watcher | None,
) -> float:
    """Train for one leg; returns the mean loss of a step."""
    turn = leg.turn
    if not leg.first:
        optimiser.state.clear()  # no momentum from what was trained before
        if turn.start is not None:
            _copy_private(model, turn.start, turn.subs[0])
    masks = block_masks(model, turn)
    chance = generator(settings.seed, "leg", number - 1)
    device = next(model.parameters()).device
    images, labels, augment = material.images, material.labels, material.augment
    given = batches(images, labels, augment, settings.batch, chance, device)
    model.train()
    total = 0.0
    for step, (some, answers) in enumerate(islice(given, leg.steps)):
        done = (leg.first + step + 0.5) / turn.steps
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * turn.rate * warm_up_then_cosine(done)
        optimiser.zero_grad()
        total += _losses(model, some, answers, turn, _drawn(turn, chance))
        _decay(model, masks, settings.weight_decay)
        optimiser.step()
        if watcher is not None:
            watcher.on_step(number, step + 1, leg.steps, total / (step + 1))
    return total / max(1, leg.steps)


def _losses(
    model: FluidModel, images: Tensor, labels: Tensor, turn: Turn, subs: Sequence[SubNetwork]
) -> float:
    """Add the gradients of the losses of ``subs``; returns the mean loss."""
    weights = [model.division.share(sub.groups) if turn.by_size else 1.0 for sub in subs]
    # The more losses, the larger their sum; this keeps the steps of a similar length.
    length = sum(weight * weight for weight in weights) ** 0.5
    teacher: Tensor | None = None
    total = 0.0
    for sub, weight in zip(subs, weights, strict=True):
        given = model(images, sub)
        loss = functional.cross_entropy(given, labels)
        if teacher is not None:
            soft = functional.kl_div(
                functional.log_softmax(given, 1), teacher, reduction="batchmean", log_target=True
            )
            loss = (1 - SOFT) * loss + SOFT * soft
        elif turn.distilled:
            teacher = functional.log_softmax(given.detach(), 1)
        (loss * weight / length).backward()
        total += loss.item()
    return total / len(subs)


def _drawn(turn: Turn, chance: torch.Generator) -> tuple[SubNetwork, ...]:
    """Those of every step, one of the smallest, and some others (the sandwich rule of J. Yu and
    T. Huang, "Universally slimmable networks", 2019)."""
    if not turn.pool:
        return turn.subs
    smallest = [sub for sub in turn.pool if len(sub.groups) == 1]
    others = [sub for sub in turn.pool if len(sub.groups) > 1]
    one = int(torch.randint(len(smallest), (), generator=chance))
    if turn.by_size:
        sizes = sorted({len(sub.groups) for sub in others})
        chosen = torch.randperm(len(sizes), generator=chance)[:DRAWN].tolist()
        pools = [[sub for sub in others if len(sub.groups) == sizes[place]] for place in chosen]
        drawn = [pool[int(torch.randint(len(pool), (), generator=chance))] for pool in pools]
    else:
        more = torch.randperm(len(others), generator=chance)[:DRAWN].tolist()
        drawn = [others[place] for place in more]
    return (*turn.subs, *drawn, smallest[one])


def _decay(model: FluidModel, masks: Mapping[str, Tensor], weight_decay: float) -> None:
    """Add the decay of the weights to their gradients, and keep to the blocks that are trained."""
    for name, layer in model.layers.items():
        if isinstance(layer, Mix) and layer.weight.grad is not None:
            layer.weight.grad.add_(layer.weight.detach(), alpha=weight_decay)
            if name in masks:
                layer.weight.grad.mul_(masks[name])


def block_masks(model: FluidModel, turn: Turn) -> dict[str, Tensor]:
    """For each layer 1 where ``turn`` trains and 0 elsewhere; no entry: it trains all of it."""
    trained = {
        (to, source)
        for sub in (*turn.subs, *turn.pool)
        for to in sub.groups
        for source in sub.groups
    } - turn.frozen
    if len(trained) == len(model.division.widths) ** 2:
        return {}
    return {
        name: _mask(layer, trained)
        for name, layer in model.layers.items()
        if isinstance(layer, Mix)
    }


def _mask(layer: Mix, trained: set[Block]) -> Tensor:
    mask = torch.zeros_like(layer.weight)
    rows, columns = layer.rows, layer.columns
    for to, source in trained:
        if to == source or (rows is not None and columns is not None):
            mask[
                slice(None) if rows is None else rows.pick((to,)),
                slice(None) if columns is None else columns.pick((source,)),
            ] = 1
    return mask


def _copy_private(model: FluidModel, source: SubNetwork, target: SubNetwork) -> None:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Private) and source.affine != target.affine:
                module.values[target.affine].copy_(module.values[source.affine])

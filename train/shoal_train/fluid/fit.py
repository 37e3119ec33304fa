"""The training loop of fluid networks: turn by turn, the best weights kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from shoal.errors import UsageError
from shoal_train import checkpoint
from shoal_train.augment import Augment
from shoal_train.fluid.groups import SubNetwork
from shoal_train.fluid.layers import Mix, Private
from shoal_train.fluid.model import FluidModel
from shoal_train.fluid.turns import DRAWN, Turn, allowance
from shoal_train.log import write_log
from shoal_train.loop import Fitted, Settings, Watcher
from shoal_train.metrics import scale
from shoal_train.schedule import best_epoch, has_stalled, warm_up_then_cosine
from shoal_train.seeding import generator

CALIBRATION_IMAGES = 1500
"""Of the training images, for batch norm."""
SCORED = 16
"""At most so many sub-networks are measured after each leg."""
SOFT = 0.5
"""Share of the loss of a small sub-network that comes from the full network's answers."""


@dataclass(frozen=True)
class Material:
    """Byte images and labels: to learn from, and held back to choose the best weights."""

    images: Tensor
    labels: Tensor
    held_images: Tensor
    held_labels: Tensor
    augment: Augment | None = None


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


def steps_per_epoch(images: int, batch: int) -> int:
    """Whole batches in an epoch; a set smaller than a batch is one batch."""
    return max(1, images // batch)


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
    full network's as ``turns.allowance`` grants. ``settings.patience`` counts legs. With
    ``folder``, a checkpoint and the log are written there after each leg and gone on from.
    """
    model.to(device=device, memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=settings.momentum, nesterov=True
    )
    purpose = f"{purpose} {asdict(settings)}".strip()
    state = checkpoint.Checkpoint(purpose, {}, {}, {}, [], [])
    if folder is not None and (folder / checkpoint.FILE).exists():
        state = checkpoint.load(folder / checkpoint.FILE, purpose)
        try:
            model.load_state_dict(state.module)
            optimiser.load_state_dict(state.optimiser)
        except (RuntimeError, ValueError) as error:  # a factory's file was changed
            raise UsageError(
                f"the checkpoint in {folder} is of a network with other layers than this one: "
                "use another --out"
            ) from error
    route = legs(turns, steps_per_epoch(len(material.labels), settings.batch))
    measured = scored(model, settings.seed)
    while len(state.scores) < len(route) and not _stop(state, settings):
        number, started = len(state.scores), time.perf_counter()
        loss = _leg(model, material, settings, route, number, optimiser, watcher)
        calibrate(model, material.images, measured)
        accuracy = accuracies(model, material.held_images, material.held_labels, measured)
        state.scores.append(_score(model, accuracy, targets))
        state.rows.append(
            {
                "epoch": number + 1,
                "turn": route[number].turn.name,
                "loss": round(loss, 6),
                "score": round(state.scores[-1], 6),
                "accuracy": {name: round(value, 4) for name, value in accuracy.items()},
                "learning_rate": round(optimiser.param_groups[0]["lr"], 8),
                "seconds": round(time.perf_counter() - started, 2),
            }
        )
        if best_epoch(state.scores) == number + 1:
            state.best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if folder is not None:
            state.module, state.optimiser = model.state_dict(), optimiser.state_dict()
            checkpoint.save(state, folder / checkpoint.FILE)
            write_log(folder / "train.jsonl", state.rows)
        if watcher is not None:
            watcher.on_epoch(state.rows[-1])
    model.load_state_dict(state.best)
    calibrate(model, material.images, model.sub_networks)
    best = best_epoch(state.scores)
    return Fitted(best, state.scores[best - 1], state.rows, len(state.scores) < len(route))


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
    return {
        sub.name: float((logits(model, images, sub).argmax(1) == labels).double().mean())
        for sub in subs
    }


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


def _stop(state: checkpoint.Checkpoint, settings: Settings) -> bool:
    return settings.patience is not None and has_stalled(state.scores, settings.patience)


def _leg(
    model: FluidModel,
    material: Material,
    settings: Settings,
    route: Sequence[Leg],
    number: int,
    optimiser: torch.optim.Optimizer,
    watcher: Watcher | None,
) -> float:
    """Train for one leg; returns the mean loss of a step."""
    leg = route[number]
    turn = leg.turn
    if not leg.first:
        optimiser.state.clear()  # no momentum from what was trained before
        if turn.start is not None:
            _copy_private(model, turn.start, turn.subs[0])
    masks = block_masks(model, turn)
    chance = generator(settings.seed, "leg", number)
    batches = _batches(len(material.labels), settings.batch, chance)
    device = next(model.parameters()).device
    model.train()
    total = 0.0
    for step in range(leg.steps):
        done = (leg.first + step + 0.5) / turn.steps
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * turn.rate * warm_up_then_cosine(done)
        chosen = next(batches)
        some = material.images[chosen]
        if material.augment is not None:
            some = material.augment(some, chance)
        ready = scale(some).to(device).contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad()
        total += _losses(
            model, ready, material.labels[chosen].to(device), turn, _drawn(turn, chance)
        )
        _decay(model, masks, settings.weight_decay)
        optimiser.step()
        if watcher is not None:
            watcher.on_step(number + 1, step + 1, leg.steps, total / (step + 1))
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
    count = len(model.division.widths)
    if len(trained) == count * count:
        return {}
    masks = {}
    for name, layer in model.layers.items():
        if isinstance(layer, Mix):
            masks[name] = _mask(layer, trained, count)
    return masks


def _mask(layer: Mix, trained: set[tuple[int, int]], count: int) -> Tensor:
    mask = torch.zeros_like(layer.weight)
    for group in range(count):
        for source in range(count):
            if (group, source) not in trained:
                continue
            both = layer.rows is not None and layer.columns is not None
            if not both and group != source:
                continue
            rows = slice(*layer.rows.place(group)) if layer.rows else slice(None)
            columns = slice(*layer.columns.place(source)) if layer.columns else slice(None)
            mask[rows, columns] = 1
    return mask


def _copy_private(model: FluidModel, source: SubNetwork, target: SubNetwork) -> None:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Private) and source.affine != target.affine:
                module.values[target.affine].copy_(module.values[source.affine])


def _batches(count: int, size: int, chance: torch.Generator) -> Iterator[Tensor]:
    """Batches of numbers below ``count`` without end, each number once before any comes again."""
    size = min(size, count)
    while True:
        order = torch.randperm(count, generator=chance)
        yield from (some for some in order.split(size) if len(some) == size)

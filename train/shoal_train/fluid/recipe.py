"""What a training is made from: data, a network, groups, a kind and a policy."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shoal.cache import expanded, is_file
from shoal.errors import UsageError
from shoal_train import models, seeding
from shoal_train.datasets import DataSet
from shoal_train.fluid.fit import Leg, legs
from shoal_train.fluid.groups import Kind
from shoal_train.fluid.model import FluidModel, make_fluid
from shoal_train.fluid.turns import Policy, Turn, turns
from shoal_train.loop import Settings
from shoal_train.material import Material, deal_out, steps_per_epoch


@dataclass(frozen=True)
class Recipe:
    """What to train, and how the sub-networks take turns."""

    model: str
    """A name of ``models.MODELS``, or ``file.py:factory``."""
    groups: str
    """Number of devices, or their relative widths: ``4``, ``2:1:1``."""
    kind: Kind = "fluid"
    policy: Policy = "joint"


@dataclass(frozen=True)
class Training:
    """Everything that a training needs, ready to begin."""

    data: DataSet
    recipe: Recipe
    settings: Settings
    model: FluidModel
    material: Material
    turns: tuple[Turn, ...]

    @property
    def legs(self) -> tuple[Leg, ...]:
        """Its stretches; each ends with a line of the log."""
        return legs(self.turns, steps_per_epoch(len(self.material.labels), self.settings.batch))

    @property
    def trained(self) -> frozenset[str]:
        """The sub-networks that get a turn: of very few steps not all do."""
        return frozenset(sub.name for turn in self.turns for sub in (*turn.subs, *turn.pool))

    @property
    def purpose(self) -> str:
        """What its checkpoint is for."""
        recipe = self.recipe
        return (
            f"{recipe.model} {recipe.groups} {recipe.kind} {recipe.policy} on {self.data.name} "
            f"{self.data.sha256[:16]}"
        )


def prepare(data: DataSet, recipe: Recipe, settings: Settings) -> Training:
    """Build the network and deal out the images: one in twelve is held back."""
    material = deal_out(data, settings.seed)
    with seeding.reproducible(settings.seed, "weights"):
        module = build(recipe.model, data)
        model = make_fluid(module, torch.ones((1, *data.shape)), recipe.groups, recipe.kind)
    if model.logits.shape != (len(data.classes),):
        raise UsageError(
            f"{recipe.model} gives {list(model.logits.shape)} for an image, but {data.name} has "
            f"{len(data.classes)} classes: its last layer must have as many outputs"
        )
    steps = settings.epochs * steps_per_epoch(len(material.labels), settings.batch)
    planned = turns(model.sub_networks, model.division, recipe.kind, recipe.policy, steps)
    return Training(data, recipe, settings, model, material, planned)


def build(name: str, data: DataSet) -> nn.Module:
    """The network ``name``. ``file.py:factory`` is called as ``factory(shape, classes)``, where
    ``shape`` is (channels, height, width) of an image and ``classes`` their number; it takes
    floats from 0 to 1 and gives logits."""
    path, colon, factory = name.rpartition(":")
    if not colon:
        return models.build(name, data)
    module = _run(expanded(path)).get(factory)
    if not callable(module):
        raise UsageError(f"{path} has no function {factory!r}: --model is FILE.py:FUNCTION")
    try:
        made = module(data.shape, len(data.classes))
    except Exception as error:  # whatever somebody's file does
        raise UsageError(
            f"{name} fails with {type(error).__name__}: {error}; it is called with the shape of an "
            "image (channels, height, width) and the number of classes"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{name} gives {type(made).__name__}: it must return a torch.nn.Module")
    return made


def _run(path: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("shoal_model_file", path)
    if spec is None or spec.loader is None or not is_file(path):
        raise UsageError(f"there is no Python file {path}: --model is NAME or FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody's file does
        raise UsageError(f"{path} fails with {type(error).__name__}: {error}") from error
    return vars(module)

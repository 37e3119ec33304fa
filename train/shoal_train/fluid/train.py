"""One training of a fluid network, from a data set to a folder that the zoo could ship."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shoal.errors import ProofError, UsageError
from shoal.model.bundle import Variant, load_bundle
from shoal_train import seeding
from shoal_train.card import (
    describe_data,
    describe_file,
    make_folder,
    versions,
    write_card,
    write_samples,
)
from shoal_train.classifier import PIXELS
from shoal_train.export import TOLERANCE, difference
from shoal_train.fluid import pack
from shoal_train.fluid.fit import fit, logits
from shoal_train.fluid.model import FluidModel
from shoal_train.fluid.pack import Measured
from shoal_train.fluid.parts import INPUT, OUTPUT
from shoal_train.fluid.recipe import Training
from shoal_train.fluid.report import draw_curves
from shoal_train.loop import Fitted, Watcher

BUNDLE = "model.fluid"
SAMPLES = 200
CHECKED = 100
"""Test images on which the file is held against PyTorch."""


def train_fluid(
    training: Training,
    folder: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    command: str = "",
    watcher: Watcher | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Do ``training`` and leave everything in ``folder``; returns the card.

    In the end ``folder`` holds ``model.fluid`` (the bundle), ``card.json``, ``train.jsonl``,
    ``samples.npz``, ``curves.png`` (where matplotlib is there) and ``checkpoint.pt``, from which
    an interrupted training is gone on. ``device`` is ``"cpu"`` or ``"cuda"``; None: CUDA where it
    is there. The accuracies in the card are over all test images, measured once, at the end.
    """
    started = time.perf_counter()
    if threads is not None:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError('there is no CUDA device here: use device="cpu"')
    make_folder(folder)
    model, settings = training.model, training.settings
    say(
        f"{training.recipe.kind} {training.recipe.model} for {len(model.division.owners)} devices, "
        f"{sum(weight.numel() for weight in model.parameters()):,} parameters, on "
        f"{len(training.material.labels):,} images of {training.data.name}"
    )
    meant = {sub.name for sub in model.sub_networks if sub.statistics == sub.name}
    if missed := ", ".join(sorted(meant - training.trained)):
        say(f"too few steps for a turn of {missed}: not trained (more epochs or images help)")
    with _chance(settings.seed, device):
        fitted = fit(
            model,
            training.material,
            settings,
            training.turns,
            device=device,
            folder=folder,
            purpose=training.purpose,
            watcher=watcher,
        )
    model.to("cpu", memory_format=torch.contiguous_format)
    test = training.data.test
    images, labels = torch.from_numpy(test.images.copy()), torch.from_numpy(test.labels)
    measured = pack.measure(model, images, labels)
    title = f"{training.recipe.kind} {training.recipe.model} on {training.data.name}"
    lacking = pack.write(model, folder / BUNDLE, title, measured, command)
    for sentence in lacking:
        say(sentence)
    largest = held_against(model, folder / BUNDLE, images[:CHECKED])
    draw_curves(fitted.rows, folder / "curves.png", title)
    chosen = write_samples(folder / "samples.npz", training.data, SAMPLES)
    card = _card(training, fitted, measured, title, command, chosen, largest)
    card["fluid"]["lacking"] = list(lacking)
    card["training"]["device"] = device
    card["files"] = {
        name: describe_file(folder / name) for name in (BUNDLE, "samples.npz", "train.jsonl")
    }
    write_card(folder / "card.json", card)
    say(f"wrote {folder} after {time.perf_counter() - started:.0f} s")
    return card


def held_against(model: FluidModel, path: Path, images: torch.Tensor) -> float:
    """The largest difference of any sub-network in one piece from PyTorch, relative to the largest
    logit. Raises ``ProofError`` if it is too large."""
    bundle = load_bundle(path)
    feeds = {INPUT: images.numpy().astype(np.float32) / 255}
    largest = 0.0
    for packed in bundle.subnets:
        if packed.variant is Variant.ALONE:
            expected = logits(model, images, model.of(packed.groups)).numpy()
            got = bundle.part(packed.stages[0].parts["0"]).run(feeds)[OUTPUT]
            largest = max(largest, difference(got, expected))
    if not largest <= TOLERANCE:
        raise ProofError(
            f"{path} differs from PyTorch by {largest:.1e} of its largest logit "
            f"({TOLERANCE:.0e} is allowed): try other versions of torch and onnxruntime"
        )
    return largest


@contextmanager
def _chance(seed: int, device: str) -> Iterator[None]:
    """The same numbers each time on a CPU. CUDA has no such kernels for all layers."""
    if device == "cpu":
        with seeding.reproducible(seed, "training"):
            yield
    else:
        torch.manual_seed(seeding.derive(seed, "training"))
        yield


def _card(
    training: Training,
    fitted: Fitted,
    measured: Measured,
    title: str,
    command: str,
    chosen: str,
    largest: float,
) -> dict[str, Any]:
    model, data, recipe = training.model, training.data, training.recipe
    subs: dict[str, dict[str, Any]] = {}
    for sub in model.sub_networks:
        subs[sub.name] = {
            "groups": list(sub.groups),
            "share": round(model.division.share(sub.groups), 4),
            "trained": sub.name in training.trained,
            "test_top1": measured.alone[sub.name],
        }
        if sub.name in measured.apart:
            subs[sub.name]["apart_test_top1"] = measured.apart[sub.name]
    return {
        "title": title,
        "network": {
            "model": recipe.model,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "input": {"name": INPUT, "shape": [None, *data.shape], "pixels": PIXELS},
            "output": {"name": OUTPUT, "shape": [None, len(data.classes)]},
            "difference_from_pytorch": float(f"{largest:.2g}"),
        },
        "classes": list(data.classes),
        "accuracy": {
            "test_top1": measured.alone[model.full.name],
            "test_images": measured.images,
            "validation_images": len(training.material.held_labels),
            "measured": "PyTorch, all test images, after the last choice; the file was held "
            f"against PyTorch on {CHECKED} of them",
        },
        "fluid": {
            "groups": recipe.groups,
            "kind": recipe.kind,
            "policy": recipe.policy,
            "widths": list(model.division.widths),
            "owners": [list(own) for own in model.division.owners],
            "sub_networks": subs,
        },
        "data": describe_data(data, len(training.material.labels), chosen),
        "training": {
            "command": command,
            **asdict(training.settings),
            "best_leg": fitted.best_epoch,
            "legs": len(training.legs),
            "stopped_early": fitted.stopped_early,
            "threads": torch.get_num_threads(),
            "seconds": round(sum(row["seconds"] for row in fitted.rows), 1),
            "versions": versions(),
        },
    }

"""One training of a classifier, from a data set to a folder that the zoo could ship."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shoal.model.engine import Engine
from shoal_train import models, seeding
from shoal_train.card import (
    describe_data,
    describe_file,
    make_folder,
    versions,
    write_card,
    write_samples,
)
from shoal_train.datasets import DataSet
from shoal_train.export import export
from shoal_train.loop import Settings, Task, Watcher, cross_entropy, fit
from shoal_train.material import deal_out
from shoal_train.metrics import by_class, predict, top1

INPUT, OUTPUT = "image", "logits"
PIXELS = "float32 from 0 to 1: bytes divided by 255"


def train_classifier(
    data: DataSet,
    model: str,
    settings: Settings,
    folder: Path,
    *,
    threads: int | None = None,
    command: str = "",
    watcher: Watcher | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train ``model`` on ``data`` and leave everything in ``folder``; returns the card.

    In the end ``folder`` holds ``model.onnx``, ``card.json``, ``train.jsonl`` (a line an epoch),
    ``samples.npz`` (test images) and ``checkpoint.pt``. A training that was interrupted is gone
    on from. The accuracy in the card is that of the ONNX file over all test images, measured
    once: the epoch was chosen on training images held back. ``threads`` of this process compute
    (``None``: as PyTorch is set); ``command`` is noted in the card.
    """
    started = time.perf_counter()
    if threads is not None:
        torch.set_num_threads(threads)
    make_folder(folder)
    material = deal_out(data, settings.seed)
    task = Task(
        material.images,
        material.labels,
        cross_entropy,
        lambda module: top1(predict(module, material.held_images), material.held_labels),
        material.augment,
    )
    with seeding.reproducible(settings.seed, "weights"):
        module = models.build(model, data)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        say(
            f"{model}, {parameters:,} parameters, on {len(material.labels):,} images of {data.name}"
        )
        fitted = fit(
            module,
            task,
            settings,
            folder=folder,
            purpose=f"{model} on {data.name} {data.sha256[:16]}",
            watcher=watcher,
        )
    exported = export(
        module,
        torch.ones((1, *data.shape)),
        folder / "model.onnx",
        input_name=INPUT,
        output_name=OUTPUT,
    )
    test_labels = torch.from_numpy(data.test.labels)
    logits = torch.from_numpy(answers(exported.path, data.test.images, torch.get_num_threads()))
    chosen = write_samples(folder / "samples.npz", data)
    card = {
        "title": f"{model} on {data.name}",
        "network": {
            "model": model,
            "parameters": parameters,
            "input": {"name": INPUT, "shape": [None, *data.shape], "pixels": PIXELS},
            "output": {"name": OUTPUT, "shape": [None, len(data.classes)]},
            "difference_from_pytorch": float(f"{exported.difference:.2g}"),
        },
        "classes": list(data.classes),
        "accuracy": {
            "test_top1": top1(logits, test_labels),
            "test_images": len(data.test),
            "validation_top1": fitted.best_score,
            "validation_images": len(material.held_labels),
            "measured": "model.onnx in ONNX Runtime, all test images, after the last choice",
            "test_top1_by_class": {
                name: round(share, 4)
                for name, share in zip(
                    data.classes, by_class(logits, test_labels, len(data.classes)), strict=True
                )
            },
        },
        "data": describe_data(data, len(material.labels), chosen),
        "training": {
            "command": command,
            **asdict(settings),
            "best_epoch": fitted.best_epoch,
            "stopped_early": fitted.stopped_early,
            "threads": torch.get_num_threads(),
            "seconds": round(sum(row["seconds"] for row in fitted.rows), 1),
            "versions": versions(),
        },
        "files": {
            name: describe_file(folder / name)
            for name in ("model.onnx", "samples.npz", "train.jsonl")
        },
    }
    write_card(folder / "card.json", card)
    say(f"wrote {folder} after {time.perf_counter() - started:.0f} s")
    return card


def answers(
    path: Path, images: NDArray[np.uint8], threads: int, batch: int = 250
) -> NDArray[np.float32]:
    """The logits that an ONNX file with one input and one output gives for byte images."""
    session = Engine(threads).load(path.read_bytes(), {})
    logits = []
    for start in range(0, len(images), batch):
        ready = images[start : start + batch].astype(np.float32) / 255
        (some,) = session.run({session.inputs[0]: ready}).values()
        logits.append(some)
    return np.concatenate(logits)

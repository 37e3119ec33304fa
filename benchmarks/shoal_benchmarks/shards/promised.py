"""Whether what a plan promises without any two of four devices holds on images that the planner has
not seen.

Plans are made as ``shoal plan --survive 2 --min-accuracy A --calibrate FOLDER`` makes them, with
images of the training set (or made up); then the real parts are asked the test images, without
each set of devices that may be lost. With what is rebuilt they are those of the plan for when it is
known who is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shoal.errors import PlanError
from shoal.plan.objective import Objective
from shoal.plan.plan import Plan
from shoal.scratch import Scratch
from shoal.strategies.base import Built
from shoal.strategies.making import make
from shoal.strategies.shards.failures import Kept, Sample
from shoal.strategies.shards.proof import measure
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.layouts import ground_for
from shoal_benchmarks.shards.subjects import (
    Subject,
    fashion,
    fashion_vgg,
    some,
    text_angle,
)

DEVICES, SURVIVE = 4, 2
MIN_ACCURACY = 0.9
FILLS = ("mean", "rebuilt")
IMAGES, QUICK_IMAGES = 10_000, 200
JUDGING, QUICK_JUDGING = 512, 160
"""Images that the planner is given, at the most."""


class Held(NamedTuple):
    """What a plan promises without some devices, and what it keeps of images that it has not been
    made with."""

    lost: tuple[str, ...]
    promised: float
    kept: Kept


def rows(quick: bool) -> Iterator[Row]:
    """The networks with labelled images; only the one that ships when ``quick``."""
    counts = (QUICK_JUDGING, QUICK_IMAGES) if quick else (JUDGING, IMAGES)
    for subject_of in (fashion,) if quick else (fashion, fashion_vgg, text_angle):
        subject = subject_of()
        if subject is not None:
            yield from rows_for(subject, *counts)


def rows_for(subject: Subject, judging: int, count: int) -> Iterator[Row]:
    """One network, on at most ``count`` images, planned with at most ``judging`` others."""
    sample = some(subject.test, count)
    subject = replace(subject, calibration=some(subject.calibration, judging))
    for fill in FILLS:
        what = f"{subject.name}, any {SURVIVE} of {DEVICES} may be lost, {fill}"
        try:
            with Scratch.make("shards") as folder:
                built = planned(subject, folder.path, fill)
        except PlanError as error:
            print(f"no rows for {what}: {error}", file=sys.stderr)
            continue
        yield from held_rows(what, list(held(built, subject, sample)))


def planned(subject: Subject, folder: Path, fill: str) -> Built:
    """The plans for equal devices, made with the images that are there to judge by."""
    write(subject.calibration, folder / "calibration")
    ground = ground_for(subject.network, DEVICES)
    return make(
        "shards",
        subject.network,
        ground.cluster,
        ground.profiles,
        Objective(min_accuracy=MIN_ACCURACY, survive=SURVIVE),
        calibrate=str(folder / "calibration"),
        fill=fill,
        deal="all",
        repair="0",
    )


def write(sample: Sample, folder: Path) -> None:
    """The images in folders by class."""
    labels = np.asarray(sample.labels)
    for label in sorted(set(labels.tolist())):
        (folder / str(label)).mkdir(parents=True)
        np.save(folder / str(label) / "images.npy", sample.images[labels == label])


def held(built: Built, subject: Subject, sample: Sample) -> Iterator[Held]:
    """What is promised and kept without each set of devices."""
    first, *others = built.playbook.plans
    mended = {first.devices - plan.devices: plan for plan in others if plan.reserve is None}
    for missing in first.forecast.missing:
        plan, promised, absent = first, missing.accuracy, missing.devices
        instead: Plan | None = mended.get(frozenset(absent))
        if instead is not None:
            plan, promised, absent = instead, instead.forecast.accuracy, ()
        kept = measure(plan, built.parts, subject.network, sample, absent)
        yield Held(missing.devices, promised, kept)


def held_rows(what: str, found: list[Held]) -> Iterator[Row]:
    """For each set, by how much more is kept than is promised; then of all of them the least."""
    for each in found:
        name = f"{what}, without {'+'.join(each.lost)}"
        yield row(f"{name}: promised", each.promised, "share")
        yield row(f"{name}: kept", each.kept.share, "share", f">= {each.promised:.6f}")
    pairs = [each.kept.share for each in found if len(each.lost) == SURVIVE]
    yield row(f"{what}: kept, worst pair", min(pairs), "share", f">= {MIN_ACCURACY:g}")
    over = min(each.kept.share - each.promised for each in found)
    yield row(f"{what}: kept beyond what is promised, least", over, "share", ">= 0")

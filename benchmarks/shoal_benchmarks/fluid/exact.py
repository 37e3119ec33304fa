"""What devices answer, against the same sub-network in one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import shoal
from shoal import zoo
from shoal.model.bundle import Bundle, Variant, load_bundle
from shoal.model.proof import difference
from shoal.plan.network import Array
from shoal.plan.plan import Plan
from shoal.scratch import Scratch
from shoal_benchmarks.fluid.bundles import DENSE, write_as
from shoal_benchmarks.fluid.scenes import APART, TOGETHER
from shoal_benchmarks.row import Row, row

COUNT, QUICK_COUNT = 300, 100


def rows(quick: bool) -> Iterator[Row]:
    """The largest difference of any output, relative to its largest value."""
    for name, devices in (("mnist-fluid", 2), ("fashion-mnist-fluid", 4)):
        yield from rows_for(zoo.path(name), devices, QUICK_COUNT if quick else COUNT)


def rows_for(path: Path, devices: int, count: int) -> Iterator[Row]:
    """The rows of one bundle: together in both ways, and each for itself."""
    bundle = load_bundle(path)
    with (
        Scratch.make("fluid") as made,
        shoal.local_cluster(devices) as cluster,
    ):
        exchanging = load_bundle(write_as(DENSE, path, made.path, devices))
        for mode, offered, marks in (
            ("together", bundle, TOGETHER),
            ("exchanging channels", exchanging, TOGETHER),
            ("each for itself", bundle, APART),
        ):
            options: dict[str, Any] = dict(marks)
            playbook = shoal.plan(offered, cluster, "fluid", **options)
            worst = 0.0
            with shoal.deploy(playbook, cluster) as service:
                feeds = [bundle.probe(seed) for seed in range(count)]
                for given, answer in zip(feeds, service.infer_many(feeds), strict=True):
                    expected = in_one_piece(bundle, playbook.plan(answer.plan), given)
                    for name, whole in expected.items():
                        worst = max(worst, difference(whole, answer.outputs[name]))
            what = f"{bundle.name}, {devices} devices {mode}: off one process"
            yield row(what, worst, "of the largest output", "<= 1e-05")


def in_one_piece(bundle: Bundle, plan: Plan, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What the sub-network of a plan gives in this process."""
    subnet = bundle.subnets[0]
    parts = [set(stage.parts.values()) for stage in plan.stages]
    for subnet in bundle.subnets:
        if [set(stage.parts.values()) for stage in subnet.stages] == parts:
            break
    pieces = subnet.owners if subnet.variant is Variant.LOGITS else (subnet.groups,)
    made = [bundle.part(bundle.alone(own).stages[0].parts["0"]).run(feeds) for own in pieces]
    return {spec.name: np.sum([one[spec.name] for one in made], axis=0) for spec in bundle.outputs}

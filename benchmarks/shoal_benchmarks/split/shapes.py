"""Split on networks of other shapes: MobileNetV2, ResNet-50 and VGG-16 at one point of the grid.

Their weights are random, so nothing is known of accuracy: split rounds to 8 bits at every cut, and
only times and bytes mean something.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from shoal import allowance
from shoal.errors import LabError, ShoalError
from shoal.plan.cluster import Cluster
from shoal.plan.network import Feeds, Network, RangeProfile
from shoal.plan.objective import Aim, Objective
from shoal.plan.profiles import Profiles
from shoal.scratch import Scratch
from shoal.strategies.split.codings import LOSSLESS
from shoal.strategies.split.cuts import places
from shoal.strategies.split.options import Ground, Option, options
from shoal.strategies.split.wish import wish
from shoal_benchmarks import random_networks
from shoal_benchmarks.random_networks import of_photos
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.grid import failed, photos_for_lab
from shoal_benchmarks.split.scene import Scene
from shoal_benchmarks.split.systems import (
    CLOUD_RAW,
    DEVICE_ONLY,
    NEUROSURGEON_BYTES,
    SPLIT,
    System,
    as_they_are,
    chosen,
    cpu_ms,
    fixed,
    packed,
    ranked,
)

if TYPE_CHECKING:
    import onnx

log = logging.getLogger("shoal")

NETWORKS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "MobileNetV2": random_networks.mobilenet_v2_onnx,
    "ResNet-50": random_networks.resnet50_onnx,
    "VGG-16": random_networks.vgg16_onnx,
}
QUICK_NETWORKS = ("MobileNetV2",)
SHARE, MBIT_S = 0.2, 10.0
"""Share of a core that the device has, and the link."""
SECONDS, QUICK_SECONDS = 3.0, 2.0
CUTS = 3
"""Of Neurosurgeon and of split: those with the best forecasts. On both hosts each cut takes the
memory of all weights again."""
MEMORY = 16
"""Times the weights that must be free: two systems of so many cuts on two hosts while one takes
over from the other, and what makes them."""
CODEC = "quant:8,predict,bytes,zstd"
IMAGE_CODEC = "lossless:predict,zstd"
IMAGES, PACKED = 16, 4
"""Photos that are asked for, and those whose tensors are packed to see what that costs."""
OBJECTIVE = Objective(aims=(Aim.THROUGHPUT, Aim.LATENCY), min_accuracy=0.0)
"""No accuracy is asked for, as none is known."""


def rows(quick: bool) -> Iterator[Row]:
    """Images per second of each system, and split over others, one network after the other."""
    photos = photos_for_lab()
    if photos is None:
        return
    for name in QUICK_NETWORKS if quick else NETWORKS:
        what = f"{name} (random weights)"
        try:
            rates = _measured(name, photos, QUICK_SECONDS if quick else SECONDS)
        except ShoalError as error:
            yield failed(what, str(error))
            continue
        yield from told(what, rates)


def told(what: str, rates: Mapping[str, float | str]) -> Iterator[Row]:
    """The rows of a network: images/s of each system (or why there are none), and ratios."""
    for system, rate in rates.items():
        how = f"{system} at 8 bits" if system == SPLIT else system
        if isinstance(rate, str):
            yield failed(f"{what}, {how}", rate)
        else:
            yield row(f"{what}, {how}", rate, "images/s")
    ours = rates.get(SPLIT)
    for other in (DEVICE_ONLY, NEUROSURGEON_BYTES):
        theirs = rates.get(other)
        if isinstance(ours, float) and isinstance(theirs, float) and theirs > 0:
            yield row(f"{what}: split at 8 bits over {other}", ours / theirs, "ratio")


def _measured(name: str, photos: Path, seconds: float) -> dict[str, float | str]:
    """Images per second of each system, or why there are none."""
    from shoal.model.network import load
    from shoal.model.profiles import profile
    from shoal.strategies.images import open_folder

    # Not kept like the other benches' networks: each goes before the next one comes.
    network = load(of_photos(NETWORKS[name]()).SerializeToString(), name=name)
    _check_memory(network.weight_bytes)
    cases = [feeds for feeds, _ in islice(open_folder(photos / "test", network.inputs), IMAGES)]
    costs, profiled = Costs.of(network, cases[:PACKED]), profile(network)
    arrays = [next(iter(feeds.values())) for feeds in cases]
    rates: dict[str, float | str] = {}
    with (
        Scratch.make("split") as folder,
        Scene(folder.path, arrays, [0] * len(arrays)) as scene,
    ):
        made = systems(network, profiled, costs, scene.cluster(SHARE, MBIT_S))
        scene.link(MBIT_S)
        for kind, system in made.items():
            try:
                scene.serve(system)
                result = scene.measure(SHARE, seconds)
            except ShoalError as error:
                rates[kind] = str(error)
                continue
            rates[kind] = result.images_per_s
            sent = f"{result.bytes_per_image:.0f} bytes/image, plans {result.plans}"
            log.info("%s, %s: %.3g images/s, %s", name, kind, result.images_per_s, sent)
    return rates


def _check_memory(weight_bytes: int) -> None:
    import psutil

    free = min(psutil.virtual_memory().available, allowance.memory_bytes() or math.inf)
    needed = MEMORY * weight_bytes
    if free < needed:
        raise LabError(
            f"needs {needed / 2**30:.1f} GiB of free memory, there are {free / 2**30:.1f}"
        )


@dataclasses.dataclass(frozen=True)
class Costs:
    """What was measured on this machine: CPU time of the whole network, and every way in which
    split may send something."""

    whole_ms: float
    options: tuple[Option, ...]

    @classmethod
    def of(cls, network: Network, images: Sequence[Feeds]) -> Costs:
        """The image exactly, and each cut at 8 bits, of which no accuracy is promised."""
        made = [packed("image, lossless", 0, IMAGE_CODEC, images, LOSSLESS)]
        tensors, ends = list(images), [place.at for place in places(network)[1:]]
        for at, part in zip(ends, network.split(ends, prove=False), strict=False):
            session = part.session()
            tensors = [part.run_on(session, feeds) for feeds in tensors]
            option = packed(f"cut {at}, 8 bits", at, CODEC, tensors)
            made.append(dataclasses.replace(option, accuracy=0.0))
        (whole,) = network.split((), prove=False)
        session = whole.session()
        whole.run_on(session, images[0])
        whole_ms = cpu_ms(lambda: [whole.run_on(session, feeds) for feeds in images])
        return cls(whole_ms / len(images), tuple(made))


def systems(
    network: Network, profile: RangeProfile, costs: Costs, cluster: Cluster
) -> dict[str, System]:
    """The playbooks to be compared."""
    profiles = Profiles.scaled(cluster, profile)
    ground = Ground(network, cluster, profiles, cluster.names, costs.whole_ms)
    alone, raw = options(ground.device, places(network)[:1], None, 0.0, 0.0)
    exact = [option for option in costs.options if option.at == 0]
    rounded = [option for option in costs.options if option.at]
    return {
        DEVICE_ONLY: fixed(ground, alone, OBJECTIVE),
        CLOUD_RAW: fixed(ground, raw, OBJECTIVE),
        NEUROSURGEON_BYTES: chosen(
            ground, [alone, raw, *foremost(ground, as_they_are(network))], OBJECTIVE
        ),
        SPLIT: chosen(ground, [alone, raw, *exact, *foremost(ground, rounded)], OBJECTIVE),
    }


def foremost(ground: Ground, cuts: Sequence[Option]) -> list[Option]:
    """The cuts that are kept."""
    return ranked(ground, cuts, wish(OBJECTIVE, "", powers_known=False))[:CUTS]

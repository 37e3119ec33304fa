"""Codecs on the activations of networks at several cuts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from shoal.codec.codecs import Array
from shoal_benchmarks import photos
from shoal_benchmarks.codec.measured import Measured, measure
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import FASHION, LITE0, load

if TYPE_CHECKING:
    from shoal.model.cuts import Cut
    from shoal.model.network import Network

CODECS = (
    "lossless", "lossless:lz4", "half",
    "quant:8", "quant:8,predict", "quant:8,planes,lz4", "quant:6", "quant:6,predict",
    "quant:5", "quant:5,predict", "quant:4", "quant:4,bits", "quant:4,bits,predict",
    "quant:4,planes", "quant:4,planes,lz4", "quant:4,zstd:1", "quant:4,zstd:9",
    "quant:4,channel", "quant:3,channel", "quant:2,channel,bits",
)  # fmt: skip
QUICK_CODECS = (
    "lossless", "half", "quant:8", "quant:5", "quant:5,predict", "quant:4", "quant:4,zstd:1",
    "quant:4,bits", "quant:4,channel",
)  # fmt: skip
PAIRS = (
    ("quant:8,predict", "quant:8"), ("quant:6,predict", "quant:6"), ("quant:5,predict", "quant:5"),
    ("quant:4,bits,predict", "quant:4,bits"), ("quant:4", "quant:4,zstd:1"),
)  # fmt: skip
"""Codecs that make the same values of fewer bytes or in less time than another."""
PLACES, QUICK_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9), (0.1, 0.5, 0.9)
"""How far into the network the cuts lie, as a share of its nodes."""
IMAGES, QUICK_IMAGES = 12, 3


def rows(quick: bool) -> Iterator[Row]:
    """Ratio, errors and rates for each network, cut and codec."""
    print(f"activations of {LITE0} come from {photos.source()}", file=sys.stderr)
    count = QUICK_IMAGES if quick else IMAGES
    for name in (LITE0, FASHION):
        network = load(name)
        if network is None:
            continue
        inputs = images(name, count)
        for cut in cuts(network, QUICK_PLACES if quick else PLACES):
            arrays = activations(network, cut, inputs)
            shape = "x".join(map(str, arrays[0].shape[1:]))
            where = f"{name} at {cut.at} ({shape})"
            made = {}
            for codec in QUICK_CODECS if quick else CODECS:
                made[codec] = [measure(array, codec, 5 if quick else 20) for array in arrays]
                yield from _rows(f"{codec}, {where}", made[codec])
            yield from compared(where, made)


def images(name: str, count: int) -> list[Array]:
    """Inputs of the network called ``name``, each a batch of one."""
    if name == LITE0:
        return list(photos.photos(count))
    from shoal import zoo

    found = zoo.samples(name)
    return [found.images[number][None] for number in range(count)]


def cuts(network: Network, places: tuple[float, ...]) -> list[Cut]:
    """The cuts nearest to ``places`` where one tensor of floats crosses, each once."""
    single = [
        cut
        for cut in network.cuts
        if len(cut.tensors) == 1 and cut.tensors[0].dtype == "float32" and cut.bytes >= 1024
    ]
    found = (
        min(single, key=lambda cut: abs(cut.at - place * len(network.nodes))) for place in places
    )
    return list({cut.at: cut for cut in found}.values())


def activations(network: Network, cut: Cut, inputs: list[Array]) -> list[Array]:
    """The tensor that crosses ``cut``, for each input."""
    before = network.split([cut.at], prove=False)[0]
    session = before.session()
    (spec,) = network.inputs
    (name,) = cut.names
    return [
        np.array(before.run_on(session, {spec.name: image.astype(spec.dtype)})[name])
        for image in inputs
    ]


def compared(where: str, made: Mapping[str, list[Measured]]) -> Iterator[Row]:
    """What one codec takes of the bytes and times of another."""
    for codec, other in PAIRS:
        if codec in made and other in made:
            about = f"{codec} over {other}, {where}"
            pairs = list(zip(made[codec], made[other], strict=True))
            yield row(f"bytes, {about}", samples([b.ratio / a.ratio for a, b in pairs]), "ratio")
            times = [b.pack_mb_s / a.pack_mb_s for a, b in pairs]
            yield row(f"time to pack, {about}", samples(times), "ratio")
            times = [b.unpack_mb_s / a.unpack_mb_s for a, b in pairs]
            yield row(f"time to unpack, {about}", samples(times), "ratio")


def _rows(name: str, found: list[Measured]) -> Iterator[Row]:
    yield row(f"ratio, {name}", samples([one.ratio for one in found]), "x")
    yield row(f"largest error, {name}", samples([one.max_error for one in found]), "of range")
    yield row(f"rms error, {name}", samples([one.rms_error for one in found]), "of range")
    yield row(f"pack, {name}", samples([one.pack_mb_s for one in found]), "MB/s")
    yield row(f"unpack, {name}", samples([one.unpack_mb_s for one in found]), "MB/s")

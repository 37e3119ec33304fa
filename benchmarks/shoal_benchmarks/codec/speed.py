"""The goal: how quickly one core packs and unpacks 1 MB of floats to 4 bits, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shoal.codec.codecs import Array
from shoal_benchmarks.codec.activations import activations, cuts, images
from shoal_benchmarks.codec.measured import measure
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import FASHION, LITE0, load

SHAPE = (1, 16, 128, 128)
"""2^18 values of 4 bytes."""
CODECS = {
    "quant:4,bits": ("", ">= 400", ">= 600"),
    "quant:4,bits,lz4": (" (LZ4)", ">= 400", ">= 600"),
    "quant:4,bits,predict": (" (differences to neighbours)", None, None),
    "quant:4": (" (a byte for each value)", None, None),
    "quant:4,bits,none": (" (range, rounding, bits; not compressed)", None, None),
    "quant:4,none": (" (range and rounding alone)", None, None),
}


def rows(quick: bool) -> Iterator[Row]:
    """Pack and unpack rates of a 1 MB activation."""
    name, array = megabyte()
    for codec, (what, pack_goal, unpack_goal) in CODECS.items():
        found = measure(array, codec, 100 if quick else 1000)
        about = f"{codec}{what}, 1 MB of {name}, one core"
        yield row(f"pack {about}", found.pack_mb_s, "MB/s", pack_goal)
        yield row(f"unpack {about}", found.unpack_mb_s, "MB/s", unpack_goal)


def megabyte() -> tuple[str, Array]:
    """The first values of an early activation, and the network that it is of."""
    name = LITE0 if load(LITE0) is not None else FASHION
    network = load(name)
    if network is None:
        raise RuntimeError(f"{FASHION} ships with Shoal")
    (cut,) = cuts(network, (0.15,))
    (activation,) = activations(network, cut, images(name, 1))
    return f"{name} at {cut.at}", np.resize(activation, SHAPE)

"""Codecs on images of bytes: how small they get, how long it takes, how far off the pixels are."""

from __future__ import annotations

from collections.abc import Iterator

from shoal_benchmarks import photos
from shoal_benchmarks.codec.measured import Measured, measure
from shoal_benchmarks.measure import Samples, samples
from shoal_benchmarks.row import Row, row

EXACT = ("lossless:bytes", "lossless:predict", "png")
JPEGS = ("jpeg:99,full", "jpeg:97,full", "jpeg:97", "jpeg:95", "jpeg:90", "jpeg:75")
QUICK_JPEGS = ("jpeg:97,full", "jpeg:90")
IMAGES, QUICK_IMAGES = 24, 6


def rows(quick: bool) -> Iterator[Row]:
    """Bytes and times of each codec, then ``lossless:predict`` beside PNG."""
    images = list(photos.photos(QUICK_IMAGES if quick else IMAGES))
    made = {}
    for codec in (*EXACT, *(QUICK_JPEGS if quick else JPEGS)):
        found = [measure(image, codec, 5 if quick else 20) for image in images]
        made[codec] = found
        size = images[0].nbytes
        about = f"{codec}, image of {size:,} bytes"
        yield row(f"bytes, {about}", samples([size / one.ratio for one in found]), "bytes")
        yield row(f"pack, {about}", samples([size / one.pack_mb_s / 1e3 for one in found]), "ms")
        yield row(
            f"unpack, {about}", samples([size / one.unpack_mb_s / 1e3 for one in found]), "ms"
        )
        yield row(f"rms error, {about}", samples([one.rms_error for one in found]), "of range")
    ours, png = made["lossless:predict"], made["png"]
    yield row("bytes of lossless:predict over those of png", over(ours, png, "ratio"), "ratio")
    yield row("time of png to pack over lossless:predict", over(ours, png, "pack_mb_s"), "ratio")
    yield row(
        "time of png to unpack over lossless:predict", over(ours, png, "unpack_mb_s"), "ratio"
    )


def over(ours: list[Measured], theirs: list[Measured], what: str) -> Samples:
    """Of each array, by how much the other is beaten: MB/s of ours over theirs; of ``ratio`` the
    bytes of ours over theirs."""
    pairs = [(getattr(a, what), getattr(b, what)) for a, b in zip(ours, theirs, strict=True)]
    return samples([b / a if what == "ratio" else a / b for a, b in pairs])

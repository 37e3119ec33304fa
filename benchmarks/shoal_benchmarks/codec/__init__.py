"""What codecs make of real activations: how few bytes, how far off, how quickly."""

from __future__ import annotations

from collections.abc import Iterator

from shoal_benchmarks.row import Row


def rows(quick: bool) -> Iterator[Row]:
    """The goal first, then images, then networks, cuts and codecs."""
    from shoal_benchmarks.codec import activations, pictures, speed

    yield from speed.rows(quick)
    yield from pictures.rows(quick)
    yield from activations.rows(quick)

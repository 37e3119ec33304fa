"""Confirms with made-up images that an image is answered beside others as it is alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from shoal.errors import InputError, ModelError
from shoal.model import proof
from shoal.model.dtypes import Array
from shoal.model.engine import Session

Feeds: TypeAlias = Mapping[str, Array]

SCALES = ((1e-3, 1e3), (1.0, 1.0), (1e3, 1e-3))
"""By how much an image is multiplied, and the one beside it."""

FLIPPED = 0.01
"""Share of whole numbers (classes, places) that may be others: where two are as good, the rounding
decides, which is another for another number of images."""


def contradiction(
    session: Session,
    run: Callable[[Session, Feeds], Feeds],
    probe: Callable[[int], Feeds],
    tolerance: float,
) -> str | None:
    """Why what was reasoned cannot be, in words; None where nothing speaks against it.

    An image is run alone, and then between itself times 0 and another, at several scales. Where
    its answer alone holds numbers that are not finite nothing can be told; where the engine fails,
    nothing is confirmed.
    """
    try:
        return _contradiction(session, run, probe, tolerance)
    except (InputError, ModelError) as error:
        return f"made-up images of several scales cannot be run together: {error}"


def _contradiction(
    session: Session,
    run: Callable[[Session, Feeds], Feeds],
    probe: Callable[[int], Feeds],
    tolerance: float,
) -> str | None:
    image, other = probe(1), probe(2)
    scales = SCALES if any(array.dtype.kind == "f" for array in image.values()) else SCALES[1:2]
    for own, its in scales:
        dark, one, two = _scaled(image, 0.0), _scaled(image, own), _scaled(other, its)
        beside = {name: np.concatenate([dark[name], one[name], two[name]]) for name in one}
        together = run(session, beside)
        for row, feeds in ((1, one), (2, two)):
            for name, alone in run(session, feeds).items():
                found = together[name]
                if found.ndim == 0 or len(found) != 3:
                    return f"output {name!r} has not a row for each image"
                if not _agree(alone, found[row : row + 1], tolerance):
                    return f"output {name!r} for an image is another when it is beside others"
    return None


def _scaled(feeds: Feeds, scale: float) -> dict[str, Array]:
    """Inputs times ``scale``; whole numbers, which cannot be scaled, only times 0."""
    with np.errstate(all="ignore"):  # infinity times 0 is NaN
        return {
            name: (array * scale).astype(array.dtype)
            if array.dtype.kind == "f" or not scale
            else array
            for name, array in feeds.items()
        }


def _agree(alone: Array, found: Array, tolerance: float) -> bool:
    if alone.shape != found.shape or alone.dtype != found.dtype:
        return False
    if alone.dtype.kind == "f" and not np.isfinite(alone).all():
        return True
    if proof.difference(alone, found) <= tolerance:
        return True
    return alone.dtype.kind != "f" and int((alone != found).sum()) <= FLIPPED * alone.size

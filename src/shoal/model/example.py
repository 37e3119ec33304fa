"""The user's example of inputs: not only its shape counts, the network is proved on its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shoal.model.probe import Feeds
from shoal.model.spec import TensorSpec


def fitted(example: object, inputs: Sequence[TensorSpec]) -> Feeds | None:
    """``example`` (a mapping from names to arrays; an array or tensor, or several, in the order
    of the inputs) as inputs of a network; None where it does not name all of them with numbers of
    their shapes and types. Floats and integers may be wider or narrower than the input's."""
    if example is None:
        return None
    if isinstance(example, Mapping):
        named: dict[str, Any] = dict(example)
    else:
        given = list(example) if isinstance(example, list | tuple) else [example]
        named = dict(zip((spec.name for spec in inputs), given, strict=False))
    found: Feeds = {}
    for spec in inputs:
        array = _fitted(named.get(spec.name), spec)
        if array is None:
            return None
        found[spec.name] = array
    return found


def _fitted(value: Any, spec: TensorSpec) -> np.ndarray[Any, Any] | None:
    try:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):
        return None
    wanted = np.dtype(spec.dtype)
    fits = array.ndim == len(spec.shape) and all(
        have > 0 and want in (None, have)
        for have, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits or array.dtype.kind not in ("iu" if wanted.kind in "iu" else wanted.kind):
        return None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return None
    with np.errstate(over="ignore"):  # then it is infinite, and no example
        made = np.asarray(array.astype(wanted), order="C")
    if wanted.kind in "iu" and not np.array_equal(made, array):
        return None
    return made if made.dtype.kind != "f" or np.isfinite(made).all() else None

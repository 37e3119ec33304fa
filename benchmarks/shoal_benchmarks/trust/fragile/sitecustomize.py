"""Python processes with this folder on their PYTHONPATH die of what they are told to, as real ones
do of a fault in native code: by SIGSEGV, in the middle of a run or of loading a part.

``SHOAL_DEADLY_VALUE`` is a number: a run dies whose inputs hold it. ``SHOAL_DEADLY_PART`` is the
hash of a graph: loading it kills. Nothing but benches and tests of such deaths uses this.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shoal.model import engine

_VALUE = float(os.environ.get("SHOAL_DEADLY_VALUE", "nan"))
_PART = os.environ.get("SHOAL_DEADLY_PART", "")
_really_run, _really_load = engine.Session.run, engine.Engine.load

Array = np.ndarray[Any, Any]


def _run(
    self: engine.Session, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> dict[str, Array]:
    if any((array == _VALUE).any() for array in feeds.values()):
        ctypes.string_at(0)
    return _really_run(self, feeds, outputs)


def _load(
    self: engine.Engine, graph: bytes, blobs: Mapping[str, Any], **settings: Any
) -> engine.Session:
    if hashlib.sha256(graph).hexdigest() == _PART:
        ctypes.string_at(0)
    return _really_load(self, graph, blobs, **settings)


engine.Session.run = _run  # type: ignore[method-assign]
engine.Engine.load = _load  # type: ignore[method-assign]

"""Networks: load and normalise ONNX, cuts, parts, the engine that runs a part, profiles.

The names below are loaded when they are first used: a worker that runs parts needs
``shoal.model.engine`` and ``shoal.model.store`` only, and never pays for ``onnx``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.model.cuts import Cut as Cut
    from shoal.model.engine import Engine as Engine
    from shoal.model.engine import Session as Session
    from shoal.model.network import Network as Network
    from shoal.model.network import load as load
    from shoal.model.part import Part as Part
    from shoal.model.profiles import NetworkProfile as NetworkProfile
    from shoal.model.profiles import profile as profile
    from shoal.model.spec import TensorSpec as TensorSpec
    from shoal.model.store import PartStore as PartStore

_HOMES = {
    "Cut": "cuts",
    "Engine": "engine",
    "Network": "network",
    "NetworkProfile": "profiles",
    "Part": "part",
    "PartStore": "store",
    "Session": "engine",
    "TensorSpec": "spec",
    "load": "network",
    "profile": "profiles",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

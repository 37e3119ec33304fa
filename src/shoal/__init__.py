"""Shoal: one trained CNN, answered by several weak, far or unreliable devices.

>>> network = shoal.load("model.onnx")
>>> with shoal.local_cluster(2) as cluster:
...     playbook = shoal.plan(network, cluster, strategy="pipeline")
...     with shoal.deploy(playbook, cluster) as service:
...         answer = service.infer(image)

The names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from shoal.log import NAMES, hold_to_a_rate
from shoal.version import VERSION

if TYPE_CHECKING:
    from shoal.errors import ShoalError as ShoalError
    from shoal.model.cuts import Cut as Cut
    from shoal.model.network import Network as Network
    from shoal.model.network import load as load
    from shoal.model.part import Part as Part
    from shoal.model.spec import TensorSpec as TensorSpec
    from shoal.model.store import PartStore as PartStore
    from shoal.plan.cluster import Cluster as Cluster
    from shoal.plan.objective import Objective as Objective
    from shoal.plan.plan import Plan as Plan
    from shoal.plan.plan import Playbook as Playbook
    from shoal.runtime.answer import Answer as Answer
    from shoal.runtime.deploy import deploy as deploy
    from shoal.runtime.local import local_cluster as local_cluster
    from shoal.runtime.planning import plan as plan
    from shoal.runtime.service import Service as Service

# ONNX Runtime (from 1.29 on) sends usage data, names and hashes of models among them, to its maker
# unless it is told not to before it is loaded. Nobody agreed to that by using Shoal.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

hold_to_a_rate(*NAMES)

__version__ = VERSION

_HOMES = {
    "Answer": "runtime.answer",
    "Cluster": "plan.cluster",
    "Cut": "model.cuts",
    "Network": "model.network",
    "Objective": "plan.objective",
    "Part": "model.part",
    "PartStore": "model.store",
    "Plan": "plan.plan",
    "Playbook": "plan.plan",
    "Service": "runtime.service",
    "ShoalError": "errors",
    "TensorSpec": "model.spec",
    "deploy": "runtime.deploy",
    "load": "model.network",
    "local_cluster": "runtime.local",
    "plan": "runtime.planning",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

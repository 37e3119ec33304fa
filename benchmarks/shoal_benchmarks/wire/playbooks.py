"""Playbooks of one stage, written down instead of planned: what is measured does not change with
what a survey finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal.model.store import PartStore

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.plan.plan import Playbook


RUN_MS = 0.1
"""What a run is said to take, the same for all: nobody is to be preferred."""


def replicas(network: Network, devices: Sequence[str], store: PartStore) -> Playbook:
    """The whole network on each of the devices, whose parts go to ``store``."""
    from shoal.plan.plan import Forecast, Plan, PolicySpec, Stage
    from shoal.plan.playbook import make_playbook

    (part,) = network.split([])
    store.add_part(part)
    stage = Stage(parts=dict.fromkeys(devices, part.hash), inputs=part.inputs, outputs=part.outputs)
    forecast = Forecast(latency_ms=1.0, images_per_s=1.0, stage_ms=(RUN_MS,))
    return make_playbook(
        network=network.name,
        strategy="bench",
        policy=PolicySpec("replicas"),
        plans=[Plan("any", (stage,), forecast)],
        parts={part.hash: part.info},
        inputs=network.inputs,
        outputs=network.outputs,
    )

"""What the exits of a playbook do, as tables."""

from __future__ import annotations

from shoal.model.exits import CALIBRATION
from shoal.plan.plan import Playbook
from shoal.plan.size import readable
from shoal.strategies.base import Explanation, Sheet
from shoal.strategies.relay.options import RelayOptions
from shoal.strategies.relay.settings import settings_of


def explain(playbook: Playbook, options: RelayOptions) -> Explanation:
    """Each task: who holds it, what enters, how sure its exit must be; and how right the exits were
    on the images that they were calibrated with."""
    settings, plan = settings_of(playbook), playbook.plans[0]
    table = playbook.policy.settings.get(CALIBRATION, ())
    rows = []
    for index, stage in enumerate(plan.stages):
        leave = stage.exit
        column = table[index] if index < len(table) else ()
        right = sum(sure > 0 for sure in column) / max(1, len(column))
        ms = plan.forecast.stage_ms[index] if index < len(plan.forecast.stage_ms) else 0.0
        rows.append(
            (
                str(index + 1),
                " ".join(stage.parts),
                readable(settings.sizes[index]),
                f"{ms:.2f}",
                ""
                if leave is None
                else "never"
                if leave.threshold > 1
                else f"{leave.threshold:.3f}",
                f"{right:.4f}",
            )
        )
    columns = ("task", "held by", "enters>", "ms>", "leaves from>", "right if all left here>")
    sheet = Sheet("tasks and their exits", columns, tuple(rows))
    return Explanation(data={"settings": settings}, sheets=(sheet,))

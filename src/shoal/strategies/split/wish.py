"""From what a user wants (:class:`~shoal.plan.objective.Objective`) to what the policy weighs."""

from __future__ import annotations

from shoal.errors import PlanError
from shoal.plan.objective import Aim, Objective
from shoal.strategies.split.choice import COLUMNS, LIMITS, Wish

DEFAULT_ACCURACY = 0.95
"""The least guaranteed share of the whole network's accuracy where the objective says nothing."""


def least_accuracy(objective: Objective) -> float:
    """The accuracy that every plan must be guaranteed to keep."""
    given = objective.min_accuracy
    return DEFAULT_ACCURACY if given is None else given


def wish(objective: Objective, relax: str, powers_known: bool) -> Wish:
    """Aims and limits (see :func:`limits_in_order`) as columns. Raises PlanError for energy where
    no power is stated."""
    wants_energy = Aim.ENERGY in objective.aims or objective.max_energy_j is not None
    if wants_energy and not powers_known:
        raise PlanError(
            "the energy of a plan is not known: state the gateway's 'power' (idle_w, busy_w, "
            "transmit_w) in the cluster file"
        )
    bounds = {
        "accuracy": 1.0 - least_accuracy(objective),
        "energy": objective.max_energy_j,
        "bytes": objective.max_bytes_per_image,
        "throughput": 1e3 / objective.min_images_per_s if objective.min_images_per_s else None,
        "latency": objective.max_latency_ms,
    }
    order = limits_in_order(relax)
    limits = tuple((name, bound) for name in order if (bound := bounds[name]) is not None)
    # Memory does not change from request to request: the playbook was built to fit.
    aims = tuple(aim.value for aim in objective.aims if aim.value in COLUMNS)
    return Wish(aims or ("latency",), objective.tolerance, limits)


def limits_in_order(relax: str) -> tuple[str, ...]:
    """The limits, most important first. ``relax`` names limits by commas, the one to give up first
    first; accuracy is always the last. PlanError for a name that is no limit."""
    named = [name.strip() for name in relax.split(",") if name.strip()]
    free = [name for name in LIMITS if name != "accuracy"]
    for name in named:
        if name not in free:
            raise PlanError(
                f"relax: {name!r} is no limit that can be relaxed; use some of {', '.join(free)} "
                "by commas (accuracy is always the last)"
            )
    kept = [name for name in free if name not in named]
    return ("accuracy", *kept, *reversed(dict.fromkeys(named)))

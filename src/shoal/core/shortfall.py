"""In what an answer is less than was asked for, or than it usually is."""

from __future__ import annotations

from shoal.core.actions import Deliver


def shortfall(deliver: Deliver) -> str:
    """In words; empty where it is not."""
    reasons = []
    if deliver.absent:
        kept = "how accurate that is, is not known"
        if deliver.accuracy is not None:
            kept = f"{deliver.accuracy:.1%} of the accuracy is kept"
        reasons.append(f"without the slices of {', '.join(deliver.absent)}: {kept}")
    elif deliver.accuracy is None:
        sure = "" if deliver.confidence is None else f", {deliver.confidence:.1%} sure"
        reasons.append(
            f"left at an exit{sure}, which is less than was planned: how accurate that is, is not "
            "known"
        )
    elif deliver.accuracy < deliver.usual_accuracy and not deliver.left_early:
        usual = f", usually {deliver.usual_accuracy:.1%}" if deliver.usual_accuracy < 1 else ""
        reasons.append(f"plan {deliver.plan} keeps {deliver.accuracy:.1%} of the accuracy{usual}")
    if deliver.unmet:
        reasons.append(f"no plan meets the limit of {' and '.join(deliver.unmet)} now")
    return "; ".join(reasons)

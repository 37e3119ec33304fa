"""What a user wants of a plan: hard limits, and aims in order of importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from shoal.errors import PlanError
from shoal.plan.plan import Forecast
from shoal.plan.size import Size, readable


class Aim(StrEnum):
    """Something to be made better."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    ACCURACY = "accuracy"
    BYTES = "bytes"
    MEMORY = "memory"
    ENERGY = "energy"
    SERVER_COST = "server-cost"


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits that must hold, and aims, most important first.

    Of the plans that meet the limits, those within ``tolerance`` of the best by the first aim go
    on to the second, and so on (lexicographic with tolerance). ``max_memory`` is bytes on any one
    device. ``survive`` is how many devices may be lost together, whichever, so that something is
    left that answers with ``min_accuracy``.

    ``task`` says what the network is for (``"detector"``; None: as its graph shows), ``agreement``
    names a function of the user's instead (``"file.py:function"``). So is measured what of the
    accuracy is kept (:mod:`shoal.task`).
    """

    aims: tuple[Aim, ...] = (Aim.THROUGHPUT, Aim.LATENCY)
    tolerance: float = 0.02
    max_latency_ms: float | None = None
    min_images_per_s: float | None = None
    min_accuracy: float | None = None
    max_bytes_per_image: float | None = None
    max_memory: Size | None = None
    max_energy_j: float | None = None
    survive: int | None = None
    task: str | None = None
    agreement: str | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "aims", _aims(self.aims))
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise PlanError(
                f"an accuracy of at least {self.min_accuracy:g} is not possible: it is a share of "
                "the whole network's, from 0 to 1 (write 0.99 for 99 %)"
            )
        if self.survive is not None and self.survive < 0:
            raise PlanError(f"survive: {self.survive} devices cannot be lost; write 0 or more")
        if not 0 <= self.tolerance < 1:
            raise PlanError(f"a tolerance of {self.tolerance:g} is none; write 0 up to 0.99")
        for name in ("max_latency_ms", "min_images_per_s", "max_bytes_per_image", "max_energy_j"):
            limit = getattr(self, name)
            no_time = limit == 0 and name == "max_latency_ms"  # no plan could ever meet it
            if limit is not None and (no_time or not 0 <= limit < math.inf):
                raise PlanError(f"{name}: {limit:g} is no limit; write a number above 0")
        self._check_task()

    def _check_task(self) -> None:
        if self.task is None:
            return
        if self.agreement is not None:
            raise PlanError("task and agreement say the same: give one of them")
        from shoal.task import check_task  # which needs NumPy

        check_task(self.task)

    @classmethod
    def of(cls, wish: Objective | str | None) -> Objective:
        """An objective from its short form: the name of the first aim, or several by commas.

        Raises PlanError for a name that is no aim. None is the default: throughput.
        """
        if isinstance(wish, Objective):
            return wish
        names = [name.strip() for name in wish.split(",")] if wish else [Aim.THROUGHPUT.value]
        aims = list(_aims(names))
        if aims == [Aim.LATENCY]:
            aims.append(Aim.THROUGHPUT)
        if aims == [Aim.THROUGHPUT]:
            aims.append(Aim.LATENCY)
        return cls(aims=tuple(dict.fromkeys(aims)))

    def broken(self, forecast: Forecast, unprotected: Sequence[Sequence[str]] = ()) -> list[str]:
        """The limits that a forecast does not meet, in words and numbers. ``unprotected`` are
        devices which nothing can do without."""
        peak = max(forecast.memory.values(), default=0)
        energy = forecast.energy_j
        broken = []
        if self.max_latency_ms is not None and forecast.latency_ms > self.max_latency_ms:
            broken.append(f"latency {forecast.latency_ms:.1f} ms > {self.max_latency_ms:g} ms")
        if self.min_images_per_s is not None and forecast.images_per_s < self.min_images_per_s:
            broken.append(f"{forecast.images_per_s:.1f} images/s < {self.min_images_per_s:g}")
        if self.min_accuracy is not None and forecast.accuracy < self.min_accuracy:
            broken.append(f"accuracy {forecast.accuracy:.3f} < {self.min_accuracy:g}")
        if (
            self.max_bytes_per_image is not None
            and forecast.bytes_per_image > self.max_bytes_per_image
        ):
            broken.append(
                f"{readable(forecast.bytes_per_image)} per image > "
                f"{readable(self.max_bytes_per_image)}"
            )
        if self.max_memory is not None and peak > self.max_memory:
            broken.append(f"{readable(peak)} on one device > {readable(self.max_memory)}")
        if self.max_energy_j is not None and energy is not None and energy > self.max_energy_j:
            broken.append(f"{energy:.3g} J per image > {self.max_energy_j:g} J")
        if self.survive and unprotected:
            broken.append(f"not without {' and '.join(unprotected[0])}")
        return broken

    def order(self, forecasts: Sequence[Forecast], broken: Sequence[int] = ()) -> list[int]:
        """Indices of ``forecasts``, best first; those that break limits come last, the fewest
        broken first (``broken``: how many, where that is known). Ties keep their order."""
        left: dict[int, list[int]] = {}
        for index, count in enumerate(broken or [len(self.broken(each)) for each in forecasts]):
            left.setdefault(count, []).append(index)
        ordered = []
        for count in sorted(left):
            indices = left[count]
            while indices:
                best = self._best(indices, forecasts)
                ordered.append(best)
                indices.remove(best)
        return ordered

    def _best(self, indices: Sequence[int], forecasts: Sequence[Forecast]) -> int:
        candidates = list(indices)
        for aim in self.aims:
            costs = {index: cost(forecasts[index], aim) for index in candidates}
            limit = min(costs.values()) * (1 + self.tolerance)
            candidates = [index for index in candidates if costs[index] <= limit]
        first = self.aims[0] if self.aims else Aim.LATENCY
        return min(candidates, key=lambda index: (cost(forecasts[index], first), index))


def _aims(names: Sequence[str]) -> tuple[Aim, ...]:
    try:
        return tuple(Aim(name) for name in names)
    except ValueError:
        known = ", ".join(aim.value for aim in Aim)
        raise PlanError(
            f"{', '.join(names)!r} is no objective; use one or more of: {known}"
        ) from None


def cost(forecast: Forecast, aim: Aim) -> float:
    """What ``aim`` makes small: ms, ms per image, lost accuracy, bytes, bytes, joules, ms."""
    match aim:
        case Aim.LATENCY:
            return forecast.latency_ms
        case Aim.THROUGHPUT:
            return 1e3 / forecast.images_per_s if forecast.images_per_s > 0 else float("inf")
        case Aim.ACCURACY:
            return 1.0 - forecast.accuracy
        case Aim.BYTES:
            return forecast.bytes_per_image
        case Aim.MEMORY:
            return float(max(forecast.memory.values(), default=0))
        case Aim.ENERGY:
            return forecast.energy_j if forecast.energy_j is not None else float("inf")
        case Aim.SERVER_COST:
            return forecast.server_ms

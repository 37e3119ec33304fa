"""The bench of repairs: when a lost device's work was done by others, and again by itself."""

from __future__ import annotations

import pytest

from shoal.errors import LabError
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec, Reserve, Stage
from shoal.strategies.shards.record import Layer, Record, Step
from shoal_benchmarks.node.equals import Followed
from shoal_benchmarks.shards import repair
from shoal_benchmarks.split.driver import Told

LAYERS = (Layer("a", 8, 2, (3, 1, 2), 10.0), Layer("b", 4, 0, (1, 3, 0), 100.0))
RECORD = Record(
    devices=("worker-1", repair.LOST, "worker-3"),
    steps=(Step(0, 4, "sum", "t", LAYERS, (), (), ()),),
    losses=(),
    curve=(),
    whys=(),
)
STAGE = Stage({"worker-1": "part"}, ("x",), ("y",))
FORECAST = Forecast(1.0, 1.0)
BOOK = Playbook(
    "id",
    "net",
    "shards",
    PolicySpec("shards", RECORD.plain()),
    (
        Plan("all", (STAGE,), FORECAST),
        Plan("repaired", (STAGE,), FORECAST, reserve=Reserve((repair.LOST,), repair.AFTER_S)),
    ),
    parts={},
    inputs=(),
    outputs=(),
)


def followed(*plans: tuple[float, str]) -> Followed:
    """Requests after the device was lost, in seconds, and by which plan they were answered."""
    began_s = 100.0
    lost_s = began_s + repair.CALM_S
    told = [Told(lost_s + at, lost_s + at + 0.1, plan) for at, plan in plans]
    return Followed((Told(began_s, began_s + 0.1, "all"), *told), began_s, ())


REPAIRED = f"repaired without {repair.LOST}"


def test_times_begin_when_it_counts_as_lost_and_when_it_is_started() -> None:
    soon, late = repair.AFTER_S + 1.5, repair.GONE_S + 2.0
    asked = (0.5, "all"), (soon, REPAIRED), (soon + 1, REPAIRED), (late, "all"), (late + 1, "all")
    assert repair.times_of(followed(*asked), BOOK) == pytest.approx((1.5, 2.0))


@pytest.mark.parametrize("plans", [["all", "all"], ["all", REPAIRED]])
def test_what_never_happens_is_no_time(plans: list[str]) -> None:
    with pytest.raises(LabError, match="no request followed"):
        repair.times_of(followed(*((k + 1.0, plan) for k, plan in enumerate(plans))), BOOK)


def test_what_only_the_lost_one_held() -> None:
    assert repair.alone_bytes(BOOK) == 1 * 10 + 3 * 100

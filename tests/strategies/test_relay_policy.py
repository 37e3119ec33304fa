"""The policy ``relay``: what it remembers, and what stays as it was planned."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.core.toys import leaving, one, plan, playbook

from shoal.core.messages import Load
from shoal.core.policy import DeviceView, Hold, LinkView, View
from shoal.plan.plan import Playbook, PolicySpec
from shoal.strategies.relay.policy import Pace, policy
from shoal.strategies.relay.rules import Rules
from shoal.strategies.relay.settings import Settings

NAMES = ("a", "b")
AT = ("input",)


def book(thresholds: tuple[float, ...], **settings: Any) -> Playbook:
    stages = [leaving(one(3 * k, 3 * k + 3, NAMES), each) for k, each in enumerate(thresholds)]
    made = playbook(plan("relay", *stages, one(3 * len(stages), 12, NAMES)))
    spec = PolicySpec("relay", msgspec.to_builtins(Settings(**settings)))
    return msgspec.structs.replace(made, policy=spec)


def view(now: float, waiting: int) -> View:
    return View(now, {name: DeviceView(load=Load(waiting=waiting)) for name in NAMES})


def thresholds_of(made: Playbook, queues: list[int]) -> list[dict[int, float]]:
    """What the policy sets, asked after each period while queues are so long."""
    found, memory = [], None
    at = tuple(spec.name for spec in made.inputs)
    for number, waiting in enumerate(queues):
        choice, memory = policy.choose(made, view(float(number), waiting), at, memory)
        assert choice is not None
        found.append(dict(choice.values.thresholds))
    return found


@given(
    st.tuples(*[st.sampled_from([0.0, 0.2, 0.7, 0.95, 1.0, 1.1, 2.0])] * 2),
    st.lists(st.sampled_from([0, 20, 100]), max_size=30),
)
def test_where_queues_were_never_long_nobody_leaves_who_was_to_stay(
    planned: tuple[float, float], queues: list[int]
) -> None:
    made = book(planned, fixed="rate", loosest=0.3)
    for found in thresholds_of(made, [*queues, *[0] * 30]):
        for stage, threshold in found.items():
            assert 0.0 <= threshold <= max(1.0, planned[stage])
    calm = thresholds_of(made, [queue for queue in queues if queue < Rules().long])
    rested = thresholds_of(made, [*queues, *[0] * 60])[-1:]
    for found in [*calm, *rested]:
        assert all(threshold >= planned[stage] for stage, threshold in found.items())


@given(st.lists(st.sampled_from([0, 100]), min_size=40, max_size=40))
def test_no_threshold_follows_the_rate_below_the_loosest(queues: list[int]) -> None:
    made = book((0.9, 2.0), fixed="rate", loosest=0.4)
    assert all(min(found.values()) >= 0.4 for found in thresholds_of(made, queues))
    assert min(thresholds_of(made, [100] * 60)[-1].values()) == 0.4


def test_where_as_much_is_under_way_as_may_be_nobodys_turn_is_used_up() -> None:
    made = book((0.9,), least_gap_s=0.25)
    full = round(Rules().window * len(NAMES))
    pace = Pace(gap_s=0.25, at=10.0, not_before=10.0)
    limit, kept = policy.admit(made, view(10.1, 0), full, pace)
    assert limit.under_way == full
    assert kept == pace
    limit, begun = policy.admit(made, view(10.1, 0), full - 1, kept)
    assert limit.not_before <= 10.1
    assert begun.not_before > 10.1


MB = 1e6


def forwarded(link: LinkView, waiting: int, drawn: float = 0.99) -> str | Hold | None:
    """What becomes of a task into which 200 kB go at ``a``, where tasks of 10 ms wait and ``b`` has
    nothing to do; the line is stated to carry 1.25 MB/s."""
    made = book((0.9,), sizes=(3e3, 2e5), bytes_per_s=1.25 * MB)
    here = DeviceView(outstanding=waiting, load=Load(waiting=waiting, run_ms=10.0))
    seen = View(1.0, {"a": here, "b": DeviceView()}, {"b": link}, drawn=drawn, here="a")
    hop, _ = policy.forward(made, made.plans[0], 1, seen, None)
    return hop


def test_a_task_stays_where_the_way_takes_longer_than_what_waits() -> None:
    """160 ms on the line: nobody waits for that before 17 tasks are here, whatever was drawn."""
    for drawn in (0.0, 0.99):
        assert forwarded(LinkView(), 3, drawn) == "a"
        assert forwarded(LinkView(), 16, drawn) == "a"
    assert forwarded(LinkView(), 17) == "b"


def test_a_short_burst_that_passes_quickly_does_not_make_a_line_quick() -> None:
    assert forwarded(LinkView(16 * MB, 0.01, 1.0, at_least=True), 3) == "a"
    assert forwarded(LinkView(16 * MB, 0.01, 1.0), 3) == "b", "it was measured: 12.5 ms"
    assert forwarded(LinkView(0.5 * MB, 0.01, 1.0), 17) == "a", "it was measured: 400 ms"


def test_on_a_quick_line_a_task_is_held_while_the_neighbour_is_busier() -> None:
    made = book((0.9,), sizes=(3e3, 2e5), bytes_per_s=125 * MB)
    busy = DeviceView(outstanding=5, load=Load(waiting=5, run_ms=10.0))
    mine = DeviceView(outstanding=2, load=Load(waiting=2, run_ms=10.0))
    seen = View(1.0, {"a": mine, "b": busy}, drawn=0.99, here="a")
    hop, _ = policy.forward(made, made.plans[0], 1, seen, None)
    assert isinstance(hop, Hold)

"""What a gateway counts and learns of its devices."""

import pytest
from tests.core.toys import pipeline

from shoal.core.gateway.devices import Devices, Given
from shoal.core.messages import StageTrace
from shoal.core.shared.routes import LinkName

PLAN = pipeline("ab", "a", "b")
ROUTE = (("a",), ("b",))


def test_work_is_counted_while_it_is_out_and_no_longer() -> None:
    devices = Devices()
    given: Given = {}
    devices.give(given, PLAN, ROUTE, range(2))
    devices.give(given, PLAN, (("a",), ("a",)), range(2))
    assert (devices["a"].outstanding, devices["a"].work_ms) == (3, 30.0)
    assert devices["b"].outstanding == 1
    devices.take_back(given, "a")
    devices.take_back(given, "a")
    assert (devices["a"].outstanding, devices["a"].work_ms) == (0, 0.0)
    devices.take_back_all(given)
    assert devices["b"].outstanding == 0
    assert given == {}


def test_only_the_stages_that_are_given_count_and_free_ones_count_for_nobody() -> None:
    devices = Devices()
    given: Given = {}
    devices.give(given, PLAN, ROUTE, range(1, 2))
    devices.give(given, PLAN, (), range(2))
    assert given == {"b": (1, 10.0)}
    assert devices.get("a") is None


def test_a_device_that_is_slower_than_forecast_is_learned_and_a_batch_is_shared_out() -> None:
    devices = Devices()
    devices["a"], devices["b"]
    for _ in range(100):
        steps = StageTrace(0, "a", run_ms=30.0), StageTrace(1, "x", run_ms=1.0)
        devices.observe(PLAN, steps, 0.0)
        devices.observe(PLAN, (StageTrace(1, "b", run_ms=40.0, batch=4),), 0.0)
    assert devices["a"].slowdown == pytest.approx(3.0, rel=0.01)
    assert devices["b"].slowdown == pytest.approx(1.0)
    assert devices["a"].answered == 100
    assert devices.get("x") is None, "who is unknown is not made up"


def test_every_link_of_an_answer_in_slices_has_done_something() -> None:
    """One that was full is else given one at a time for ever."""
    devices = Devices("g")
    full = [LinkName("g", "a"), LinkName("g", "b"), LinkName("a", "c"), LinkName("b", "c")]
    for link in full:
        devices.limits.refused(link, 1, 0.0)
    steps = [StageTrace(0, "b"), StageTrace(1, "c"), StageTrace(0, "a")]
    for _ in range(3):
        devices.observe(None, tuple(steps), 1.0)
    assert [link for link in full if devices.limits.full(link, 2, 1.0)] == []


def test_several_images_are_so_much_more_work_and_make_no_device_seem_slow() -> None:
    devices = Devices()
    given: Given = {}
    devices.give(given, PLAN, ROUTE, range(2), images=4)
    assert (devices["a"].outstanding, devices["a"].work_ms) == (1, 40.0)
    for _ in range(100):
        devices.observe(PLAN, (StageTrace(0, "a", run_ms=60.0, batch=4),), 0.0)
    assert devices["a"].slowdown == pytest.approx(1.5, rel=0.01)
    devices.take_back_all(given)
    assert devices["a"].work_ms == 0.0


def test_what_a_request_was_given_does_not_stand_in_its_own_way() -> None:
    devices = Devices()
    given: Given = {}
    devices.give(given, PLAN, ROUTE, range(1))
    devices.limits.refused("a", 0, now=0.0)
    assert devices.full(60.0, {}) == ["a"]
    assert devices.full(60.0, given) == []
    assert devices.full(0.0, given) == ["a"], "it is left alone for a moment"


def test_a_restart_empties_a_device_but_not_what_it_was_given() -> None:
    devices = Devices()
    given: Given = {}
    device = devices["a"]
    device.ready["book"] = frozenset({"0-6"})
    device.draining, device.slowdown = True, 9.0
    devices.give(given, PLAN, ROUTE, range(1))
    devices.restarted("a")
    devices.restarted("nobody")
    assert (device.ready, device.draining, device.slowdown) == ({}, False, 1.0)
    assert device.outstanding == 1


def test_a_view_is_a_snapshot() -> None:
    devices = Devices()
    view = devices["a"].view(usable=True)
    devices.give({}, PLAN, ROUTE, range(1))
    assert (view.usable, view.outstanding) == (True, 0)
    assert devices["a"].view(usable=False).outstanding == 1

"""What a survey makes of what devices measured."""

import pytest

from shoal.runtime.survey import sustained_ms


def test_a_single_disturbance_is_left_out() -> None:
    assert sustained_ms([10.0] * 30 + [40.0]) == 10.0


def test_a_device_with_a_share_of_a_core_takes_what_it_takes_on_average() -> None:
    """A tenth of a core in periods of 10 ms: three runs of 0.3 ms, then nothing for 9 ms."""
    times = [0.3, 0.3, 0.3, 9.1] * 100
    assert sustained_ms(times) == pytest.approx(2.5)


def test_one_run_is_all_that_is_known() -> None:
    assert sustained_ms([7.0]) == 7.0

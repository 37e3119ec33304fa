"""The rows of the lab's bench."""

import pytest

from shoal.errors import UsageError
from shoal_benchmarks.lab import failover
from shoal_benchmarks.lab.emulation import row_of
from shoal_benchmarks.registry import find
from shoal_lab.faults import Freeze, Restart
from shoal_lab.reading import Reading


def test_failover_hits_one_worker_a_round_in_its_first_third() -> None:
    played = failover.scene_of(3, 20, 2)
    assert len(played.faults) == 20
    assert {type(fault) for fault in played.faults} == {Restart, Freeze}
    for number, fault in enumerate(played.faults):
        assert 1 <= fault.at_s - number * failover.ROUND_S <= failover.ROUND_S / 3
    assert sum(played.spec.quota(host) for host in played.spec.hosts) <= 2


def test_a_section_of_a_bench_runs_alone() -> None:
    assert find("lab.failover") is failover
    with pytest.raises(UsageError, match=r"no section 'x'; there are: lab\.emulation"):
        find("lab.x")


def test_a_reading_is_a_row_of_how_far_it_is_off() -> None:
    reading = Reading(
        what="rate a -> b", way="tbf", asked=20, got=19.5, low=19, high=20, within=1, unit="Mbit/s"
    )
    made = row_of(reading)
    assert (made.value, made.goal, made.met) == (0.5, "<= 1", True)
    assert "20 asked, 19.5 got" in made.name

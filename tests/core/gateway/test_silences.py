"""Who lets deadlines pass is asked from time to time only, until it gives something in time."""

from __future__ import annotations

from shoal.core.gateway.silences import Silences


def test_pauses_double_up_to_a_bound_and_no_miss_within_one_counts() -> None:
    silences, now, pauses = Silences(), 0.0, []
    for _ in range(8):
        silences.missed(["a"], now)
        silences.missed(["a"], now)  # of the same moment: others were under way
        began = now
        while silences.at(now):
            now += 0.125
        pauses.append(now - began)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_what_came_in_time_or_a_new_life_ends_it() -> None:
    silences = Silences()
    for end in (lambda: silences.came(["a"]), lambda: silences.forget("a")):
        silences.missed(["a", "b"], 0.0)
        assert silences.at(0.1) == ("a", "b")
        end()
        assert silences.at(0.1) == ("b",)
        silences.missed(["a"], 1.0)
        assert silences.at(1.2) == ("a",)
        assert silences.at(1.3) == ()
        silences.came(["a", "b"])

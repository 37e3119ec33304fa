"""The rules of MDI-Exit: what they are to do, whatever the numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.strategies.relay.rules import (
    Queues,
    Rules,
    keeps,
    offloads,
    reaches,
    slower_or_quicker,
    surer_or_looser,
)

RULES = Rules()
COUNTS = st.integers(0, 200).map(float)
TIMES = st.floats(1e-4, 10.0)
QUEUES = st.builds(Queues, COUNTS, COUNTS, TIMES)
DRAWN = st.floats(0.0, 1.0, exclude_max=True)


def test_a_node_goes_on_itself_when_it_has_nothing_else_to_do_or_too_much_to_pass_on() -> None:
    assert keeps(Queues(0, 0, 0.01), RULES)
    assert not keeps(Queues(1, 50, 0.01), RULES)
    assert keeps(Queues(1, 51, 0.01), RULES)


def test_a_neighbour_that_would_begin_sooner_gets_it() -> None:
    here = Queues(10, 5, 0.01)
    assert offloads(here, Queues(4, 0, 0.01), 0.0, 0.999)
    assert not offloads(here, Queues(5, 0, 0.01), 0.0, 0.0), "it has as many as are to be passed on"
    assert offloads(here, Queues(4, 0, 0.01), 0.06, 0.999)
    assert offloads(here, Queues(4, 0, 0.01), 0.16, 0.49), "0.1 s here, 0.2 s there: one in two"
    assert not offloads(here, Queues(4, 0, 0.01), 0.16, 0.5)


def test_nobody_is_reached_to_whom_the_way_takes_longer_than_what_waits_here() -> None:
    here = Queues(3, 1, 0.01)
    assert reaches(here, 0.029)
    assert not reaches(here, 0.03)
    assert not reaches(Queues(0, 1, 0.01), 0.0), "nothing waits here"


@given(QUEUES, TIMES, DRAWN)
def test_who_is_reached_would_begin_sooner_at_least_with_nothing_else_to_do(
    here: Queues, way_s: float, drawn: float
) -> None:
    idle = Queues(0, 0, 0.01)
    here = here._replace(held=max(1.0, here.held))
    if reaches(here, way_s):
        assert offloads(here, idle, way_s, drawn)


@given(QUEUES, QUEUES, TIMES, DRAWN, DRAWN)
def test_the_further_it_is_the_seldomer_it_is_given_away(
    here: Queues, there: Queues, way_s: float, drawn: float, more: float
) -> None:
    if offloads(here, there, way_s + more, drawn):
        assert offloads(here, there, way_s, drawn)
    if offloads(here, there, way_s, drawn):
        assert offloads(here, there, way_s, drawn * more)
        assert here.held > there.waiting


@given(TIMES, COUNTS)
def test_rate_and_threshold_go_opposite_ways_by_the_length_of_the_queue(
    value: float, queue: float
) -> None:
    gap, sure = (rule(value, queue, RULES) for rule in (slower_or_quicker, surer_or_looser))
    assert (gap > value) == (queue >= RULES.long) == (sure < value)
    assert gap != value != sure
    short = slower_or_quicker(value, 0.0, RULES), surer_or_looser(value, 0.0, RULES)
    assert short[0] <= gap
    assert short[1] >= sure

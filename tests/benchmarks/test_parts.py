from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shoal_benchmarks.foundation.parts import balanced


def toy(node_ms: list[float]) -> tuple[Any, Any]:
    network = SimpleNamespace(
        cuts=[SimpleNamespace(at=at) for at in range(1, len(node_ms))], nodes=node_ms
    )
    profile = SimpleNamespace(range_ms=lambda start, end: sum(node_ms[start:end]))
    return network, profile


def test_equal_nodes_are_dealt_out_equally() -> None:
    assert balanced(*toy([1.0] * 12), 4) == [3, 6, 9]


def test_a_slow_node_gets_a_part_of_its_own() -> None:
    assert balanced(*toy([1, 1, 9, 1, 1]), 3) == [2, 3]


@given(st.lists(st.integers(1, 20), min_size=4, max_size=9))
def test_no_other_cuts_have_a_quicker_slowest_part(node_ms: list[int]) -> None:
    def slowest(places: list[int]) -> float:
        edges = [0, *places, len(node_ms)]
        return max(sum(node_ms[a:b]) for a, b in pairwise(edges))

    count = len(node_ms)
    best = min(slowest([a, b]) for a in range(1, count) for b in range(a + 1, count))
    network, profile = toy([float(time) for time in node_ms])
    assert slowest(balanced(network, profile, 3)) == best

"""Who is trained when, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import UsageError
from shoal_train.fluid.groups import KINDS, divide, sub_networks
from shoal_train.fluid.turns import POLICIES, ROUNDS, Turn, allowance, turns


def plan(kind: str, policy: str, groups: int = 2, steps: int = 1000) -> tuple[Turn, ...]:
    division = divide(groups)
    return turns(sub_networks(division, kind), division, kind, policy, steps)  # type: ignore[arg-type]


@given(st.sampled_from(KINDS), st.sampled_from(POLICIES), st.integers(2, 8), st.integers(1, 3000))
def test_every_kind_and_policy_gets_the_same_number_of_steps(
    kind: str, policy: str, groups: int, steps: int
) -> None:
    planned = plan(kind, policy, groups, steps)
    assert sum(turn.steps for turn in planned) == steps
    assert all(turn.steps > 0 for turn in planned)


def test_none_goes_through_all_in_rounds_and_freezes_nothing() -> None:
    planned = plan("fluid", "none")
    assert len(planned) == 6 * ROUNDS
    names = [turn.subs[0].name for turn in planned[:6]]
    assert names == ["L25", "L50", "C75", "C100", "U25", "U50"]
    assert not any(turn.frozen for turn in planned)
    starts = [turn.start.name if turn.start else None for turn in planned[:7]]
    assert starts == [None, "L25", "L50", "C75", "C75", "C100", None]


def test_nested_freezes_what_smaller_ones_have_learned_in_this_round() -> None:
    planned = {turn.name: turn for turn in plan("fluid", "nested")}
    assert planned["1/4 L25"].frozen == frozenset()
    assert planned["1/4 L50"].frozen == {(0, 0)}
    assert planned["2/4 C75"].frozen == {(to, source) for to in (0, 1) for source in (0, 1)}
    assert planned["2/4 U25"].frozen == frozenset()
    assert planned["2/4 U50"].frozen == {(2, 2)}
    assert len(planned["4/4 C100"].frozen) == 9


def test_joint_trains_all_in_each_step_while_they_are_few() -> None:
    (turn,) = plan("fluid", "joint")
    assert turn.subs[0].name == "C100"
    assert len(turn.subs) == 6
    assert turn.distilled
    (turn,) = plan("fluid", "joint", groups=5)
    assert [sub.name for sub in turn.subs] == ["1+2+3+4+5"]
    assert len(turn.pool) == 30
    assert turn.by_size
    (turn,) = plan("fluid", "joint", groups=4)
    assert (len(turn.pool), turn.by_size) == (14, False)


def test_the_baselines() -> None:
    assert [turn.name for turn in plan("static", "joint")] == ["C100"]
    dynamic = plan("dynamic", "none")
    assert [turn.name for turn in dynamic] == ["L25", "L50", "C75", "C100"]
    assert [len(turn.frozen) for turn in dynamic] == [0, 1, 4, 9]
    (slimmable,) = plan("slimmable", "none")
    assert {sub.name for sub in slimmable.subs} == {"L25", "L50", "C75", "C100"}
    assert not slimmable.distilled


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UsageError, match="none, nested, joint"):
        plan("fluid", "sideways")


def test_halves_may_lose_a_point_and_the_whole_nothing() -> None:
    assert allowance(1.0) == 0
    assert allowance(0.5) == pytest.approx(0.01)

import pytest

from shoal.core.gateway.limits import Limits


def test_a_device_that_never_refused_is_never_full() -> None:
    limits = Limits("g")
    assert not limits.full("a", 1000, now=0.0)
    assert limits.devices() == []


def test_a_device_that_refused_is_left_alone_for_a_while_and_then_gets_no_more_than_it_took() -> (
    None
):
    limits = Limits("g")
    limits.refused("a", outstanding=5, now=0.0)
    assert limits.full("a", 0, now=0.0)
    opens = limits.opens(0.0)
    assert opens is not None
    assert 0.01 <= opens <= 0.03
    assert not limits.full("a", 4, now=opens)
    assert limits.full("a", 5, now=opens)


def test_an_answer_ends_the_pause() -> None:
    limits = Limits("g")
    limits.refused("a", 5, 0.0)
    limits.answered("a")
    assert not limits.full("a", 4, 0.0)
    assert limits.opens(0.0) is None


def test_one_that_holds_nothing_of_ours_may_be_given_one() -> None:
    limits = Limits("g")
    limits.refused("a", 0, 0.0)
    opens = limits.opens(0.0)
    assert opens is not None
    assert not limits.full("a", 0, opens)
    assert limits.full("a", 1, opens)


def test_refusals_in_a_row_make_the_pauses_longer_but_not_without_end() -> None:
    limits = Limits("g")
    now, pauses = 0.0, []
    for _ in range(12):
        limits.refused("a", 1, now)
        at = limits.opens(now)
        assert at is not None
        pauses.append(at - now)
        now = at
    assert pauses[6] > 10 * pauses[0]
    assert max(pauses) < 2.0


def test_gateways_do_not_come_back_in_step() -> None:
    def opens(name: str) -> float | None:
        limits = Limits(name)
        limits.refused("a", 1, 0.0)
        return limits.opens(0.0)

    assert len({opens(f"g{k}") for k in range(10)}) == 10
    assert opens("g0") == opens("g0")


def test_with_answers_the_limit_grows_by_one_a_round_until_it_matters_no_more() -> None:
    limits = Limits("g")
    limits.refused("a", 4, 0.0)
    for _ in range(5):
        limits.answered("a")
    assert not limits.full("a", 4, 1.0)
    assert limits.full("a", 6, 1.0)
    for _ in range(40_000):
        limits.answered("a")
    assert limits.devices() == []


def test_a_device_that_starts_anew_is_judged_anew() -> None:
    limits = Limits("g")
    limits.refused("a", 1, 0.0)
    limits.forget("a")
    assert not limits.full("a", 1, 0.0)
    assert limits.opens(0.0) == pytest.approx(None)

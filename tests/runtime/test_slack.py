"""When memory is given back: judged by what runs were given, at times that are told."""

from shoal.runtime.slack import IDLE_S, PERIOD_S, Slack

LARGE, SMALL = 64_000_000, 1_000_000


def after(slack: Slack, size: int, begin: float, seconds: float) -> list[float]:
    """Runs of one size, ten in a second: when memory was given back."""
    times = [begin + k / 10 for k in range(int(10 * seconds))]
    return [now for now in times if slack.ran(size, now)]


def test_what_is_idle_gives_back_once() -> None:
    slack = Slack()
    assert slack.wait_s is None, "there is nothing yet"
    slack.ran(SMALL, 0.0)
    assert slack.wait_s == IDLE_S
    slack.idle()
    assert slack.wait_s is None
    slack.ran(0, 1.0)
    assert slack.wait_s == IDLE_S


def test_runs_that_are_alike_keep_what_they_need() -> None:
    assert after(Slack(), LARGE, 0.0, 60) == []
    mixed = Slack()
    for second in range(60):
        assert not mixed.ran(LARGE if second % 4 == 0 else SMALL, float(second))


def test_after_a_large_one_among_small_ones_it_is_given_back_soon_and_once() -> None:
    slack = Slack()
    assert after(slack, SMALL, 0.0, 20) == []
    assert not slack.ran(LARGE, 20.0)
    (at,) = after(slack, SMALL, 20.1, 60)
    assert at <= 20.0 + 2 * PERIOD_S + 0.2


def test_growing_is_no_reason() -> None:
    slack = Slack()
    for k in range(40):
        assert not slack.ran(SMALL * (k + 1), float(k))

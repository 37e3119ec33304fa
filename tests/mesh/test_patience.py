"""The mesh is joined anew when it has lost somebody for good, and not before."""

from shoal.mesh.patience import CALM_S, MAX_PATIENCE_S, PATIENCE_S, Patience


class Story:
    """Second by second."""

    def __init__(self, calls: bool = True) -> None:
        self.patience = Patience(calls)
        self.now = 0.0

    def verdict(self, seconds, unseen=(), alone=False):
        """What is decided first within so many seconds, and after how many."""
        for second in range(int(seconds)):
            reason = self.patience.judge(unseen, alone, self.now)
            self.now += 1.0
            if reason is not None:
                return reason, second
        return None


def test_while_all_are_seen_nothing_is_done():
    assert Story().verdict(3600) is None


def test_what_passes_is_forgiven():
    story = Story()
    for _ in range(20):
        assert story.verdict(PATIENCE_S - 1, unseen=["b"]) is None
        assert story.verdict(1) is None


def test_now_one_and_now_another_is_no_reason():
    story = Story()
    for _ in range(20):
        assert story.verdict(PATIENCE_S / 2, unseen=["b"]) is None
        assert story.verdict(PATIENCE_S / 2, unseen=["c"]) is None


def test_a_peer_that_is_up_and_not_visible_for_long_is_a_reason():
    verdict = Story().verdict(60, unseen=["b"])
    assert verdict == ("no sign of b is visible, which is up", int(PATIENCE_S))


def test_who_calls_in_vain_joins_anew_and_who_waits_to_be_called_does_not():
    assert Story(calls=True).verdict(60, alone=True) == ("nobody is up", int(PATIENCE_S))
    assert Story(calls=False).verdict(3600, alone=True) is None


def test_attempts_that_do_not_help_become_rare_and_after_a_calm_patience_is_short_again():
    story = Story()
    waits = [story.verdict(1000, unseen=["b"])[1] for _ in range(8)]
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert waits[-1] == MAX_PATIENCE_S
    assert story.verdict(CALM_S / 2) is None
    assert story.verdict(1000, unseen=["b"])[1] == MAX_PATIENCE_S, "no calm yet"
    assert story.verdict(CALM_S + 2) is None
    assert story.verdict(1000, unseen=["b"])[1] == PATIENCE_S

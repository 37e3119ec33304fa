"""The session is opened anew when views differ for good, and only then."""

from shoal.mesh.watchdog import PATIENCE_S, Watchdog


class Story:
    """Node b, second by second."""

    def __init__(self, calls: bool = True) -> None:
        self.dog = Watchdog("b", "B", calls)
        self.now = 0.0

    def verdict(self, seconds, up, heard, idle=True):
        """What is decided first within so many seconds of seeing ``up`` and hearing ``heard``,
        and after how many seconds."""
        for second in range(int(seconds)):
            for name, (incarnation, sees) in heard.items():
                self.dog.heard(name, incarnation, sees, self.now)
            reason = self.dog.judge(up, idle, self.now)
            if reason is not None:
                return reason, second
            self.now += 1.0
        return None


ALL_WELL = {"up": {"c": "C"}, "heard": {"c": ("C", {"b": "B"})}}


def test_when_all_agree_nothing_is_done():
    assert Story().verdict(600, **ALL_WELL) is None


def test_a_difference_that_passes_is_forgiven():
    story = Story()
    for _ in range(20):
        assert story.verdict(PATIENCE_S - 1, {"c": "C"}, {"c": ("C", {})}) is None
        assert story.verdict(1, **ALL_WELL) is None


def test_a_peer_that_does_not_see_us():
    assert Story().verdict(60, {"c": "C"}, {"c": ("C", {})}) == ("c does not see this node", 5)


def test_a_peer_that_sees_an_earlier_life_of_ours():
    verdict = Story().verdict(60, {"c": "C"}, {"c": ("C", {"b": "old"})})
    assert verdict == ("c does not see this node", 5)


def test_a_peer_that_is_visible_but_silent():
    assert Story().verdict(60, {"c": "C"}, {}) == ("c is visible but says nothing", 5)


def test_a_peer_that_speaks_but_is_not_visible():
    verdict = Story().verdict(60, {"d": "D"}, {"d": ("D", {"b": "B"}), "c": ("C", {"b": "B"})})
    assert verdict == ("c speaks but is not visible", 5)


def test_the_greater_name_waits_longer():
    assert Story().verdict(60, {"a": "A"}, {"a": ("A", {})}) == ("a does not see this node", 10)


def test_a_third_node_that_only_others_see_is_looked_for_when_idle_or_after_a_long_time():
    heard = {"c": ("C", {"b": "B", "d": "D"})}
    reason = "d is visible to others only"
    assert Story().verdict(100, {"c": "C"}, heard) == (reason, 10)
    assert Story().verdict(100, {"c": "C"}, heard, idle=False) == (reason, 60)
    story = Story()
    assert story.verdict(30, {"c": "C"}, heard, idle=False) is None
    assert story.verdict(30, {"c": "C"}, heard) == (reason, 0)


def test_a_node_that_calls_in_vain_starts_anew_and_one_that_waits_to_be_called_does_not():
    assert Story(calls=True).verdict(60, {}, {}) == ("nobody is visible", 15)
    assert Story(calls=False).verdict(60, {}, {}) is None


def test_attempts_become_rare_and_after_a_quiet_minute_patience_is_back():
    story = Story()
    waits = []
    for _ in range(8):
        waits.append(story.verdict(1000, {"c": "C"}, {"c": ("C", {})})[1])
        story.dog.reopened()
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert story.verdict(120, **ALL_WELL) is None
    assert story.verdict(1000, {"c": "C"}, {"c": ("C", {})})[1] == 5

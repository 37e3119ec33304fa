"""The session is opened anew when views differ for good, and only then."""

import pytest

from shoal.mesh.watchdog import PATIENCE_S, Watchdog


class Story:
    """Node b, second by second, which has something to do with c and d."""

    def __init__(self, calls: bool = True, concern=("c", "d"), only: bool = False) -> None:
        self.dog = Watchdog("b", "B", calls)
        self.dog.concern(concern, only)
        self.now = 0.0

    def verdict(self, seconds, up, heard, work=()):
        """What is decided first within so many seconds of seeing ``up`` and hearing ``heard``,
        and after how many seconds."""
        for second in range(int(seconds)):
            for name, (incarnation, sees) in heard.items():
                self.dog.heard(name, incarnation, sees, self.now)
            reason = self.dog.judge(up, work, self.now)
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


HEARD_OF_D = {"c": ("C", {"b": "B", "d": "D"})}


def test_a_third_node_that_only_others_see_is_looked_for():
    reason = "d is visible to others only"
    assert Story().verdict(100, {"c": "C"}, HEARD_OF_D) == (reason, 10)
    assert Story(only=True).verdict(100, {"c": "C"}, HEARD_OF_D) == (reason, 10)


@pytest.mark.parametrize("only", [False, True])
def test_a_third_node_that_this_one_has_nothing_to_do_with_is_not(only):
    """There may be any number of them, behind networks where nobody else gets to."""
    story = Story(concern=["c"], only=only)
    assert story.verdict(600, {"c": "C"}, HEARD_OF_D) is None
    story.dog.concern(["d"])
    assert story.verdict(100, {"c": "C"}, HEARD_OF_D)[1] == 10


def test_a_third_node_that_this_one_has_met_is_missed_unless_it_is_a_stranger():
    """Those that two nodes hear of through a third are not called again by themselves."""
    for only, verdict in ((False, ("d is visible to others only", 10)), (True, None)):
        story = Story(concern=["c"], only=only)
        both = {"c": ("C", {"b": "B", "d": "D"}), "d": ("D", {"b": "B", "c": "C"})}
        assert story.verdict(5, {"c": "C", "d": "D"}, both) is None
        assert story.verdict(100, {"c": "C"}, HEARD_OF_D) == verdict


STRANGE = [
    ({"s": "S"}, {"s": ("S", {})}, "s does not see this node"),
    ({"s": "S"}, {}, "s is visible but says nothing"),
    ({}, {"s": ("S", {"b": "B"})}, "s speaks but is not visible"),
]


@pytest.mark.parametrize(("up", "heard", "reason"), STRANGE)
def test_strangers_do_not_matter_to_a_node_that_knows_its_cluster(up, heard, reason):
    up, heard = {**ALL_WELL["up"], **up}, {**ALL_WELL["heard"], **heard}
    assert Story(only=True).verdict(600, up, heard) is None
    assert Story().verdict(600, up, heard) == (reason, 5)


def test_what_a_stranger_says_of_the_others_does_not_matter_either():
    story = Story(only=True)
    up = {"c": "C", "s": "S"}
    heard = {**ALL_WELL["heard"], "s": ("S", {"b": "B", "d": "D"})}
    assert story.verdict(600, up, heard) is None


@pytest.mark.parametrize(
    ("up", "heard"),
    [
        ({"c": "C"}, HEARD_OF_D),
        ({"c": "C", "d": "D"}, ALL_WELL["heard"]),
        ({"c": "C", "d": "D"}, {**ALL_WELL["heard"], "d": ("D", {})}),
        ({"c": "C"}, {**ALL_WELL["heard"], "d": ("D", {"b": "B"})}),
    ],
)
def test_work_that_is_under_way_on_a_link_that_works_is_not_disturbed(up, heard):
    story = Story()
    assert story.verdict(3600, up, heard, work={"c", "d"}) is None
    assert story.verdict(1, up, heard, work={"d"}) is not None  # the difference is an hour old


def test_work_with_the_one_in_trouble_is_lost_anyway():
    heard = {**ALL_WELL["heard"], "d": ("D", {})}
    verdict = Story().verdict(60, {"c": "C", "d": "D"}, heard, work={"d"})
    assert verdict == ("d does not see this node", 5)


def test_work_with_those_that_are_not_there_does_not_count():
    assert Story().verdict(60, {}, {}, work={"c", "d"}) == ("nobody is visible", 15)


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

"""A name is free when nobody sees it, and taken when its holder says so."""

from shoal.mesh.claim import Claim, Claimed

LIFE = "1" * 16


def test_the_first_node_of_all_gets_its_name_at_once():
    assert Claim(patience_until=9.0).judge([], [], 0.0) is True


def test_everybody_who_is_visible_is_waited_for():
    claim = Claim(9.0)
    assert claim.judge(["a", "b"], [], 0.0) is None
    claim.answered(Claimed("a"))
    assert claim.judge(["a", "b"], [], 0.1) is None
    claim.answered(Claimed("b"))
    assert claim.judge(["a", "b"], [], 0.2) is True


def test_one_who_does_not_answer_is_not_waited_for_without_end():
    claim = Claim(9.0)
    claim.answered(Claimed("a"))
    assert claim.judge(["a", "frozen"], [], 8.9) is None
    assert claim.judge(["a", "frozen"], [], 9.0) is True


def test_the_holder_itself_says_that_the_name_is_taken():
    claim = Claim(9.0)
    claim.answered(Claimed("me", LIFE, own=True))
    assert claim.judge(["a"], [], 0.0) is False


def test_a_holder_that_only_others_see_is_waited_out():
    claim = Claim(9.0)
    claim.answered(Claimed("a", LIFE))
    assert claim.judge(["a"], [], 0.1) is None
    claim.answered(Claimed("a"))  # its lease has ended
    assert claim.judge(["a"], [], 0.5) is True
    assert claim.lives == {LIFE}


def test_what_is_seen_long_after_a_lease_would_have_ended_is_alive():
    claim = Claim(9.0)
    claim.answered(Claimed("a", LIFE))
    assert claim.judge(["a"], [], 9.0) is False
    assert Claim(9.0).judge([], [LIFE], 9.0) is False


def test_a_life_that_is_visible_to_oneself_is_waited_out_too():
    claim = Claim(9.0)
    assert claim.judge([], [LIFE], 0.0) is None
    assert claim.judge([], [], 0.4) is True


def test_the_word_of_a_node_that_is_gone_does_not_count():
    claim = Claim(9.0)
    claim.answered(Claimed("a", LIFE))
    assert claim.judge([], [], 0.1) is True

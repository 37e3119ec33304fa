"""Whatever happens between nodes, in the end one session stands between each two of them."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mesh.village import LEASE_S, NEWS_S, TIMEOUT_S, Village

from shoal.mesh.events import PeerDown, PeerUp
from shoal.mesh.frames import NodeSeen
from shoal.mesh.hello import CallerHello, No, Refusal
from shoal.mesh.peers import (
    GRACE_S,
    HEARSAY_S,
    LONGEST_HEARSAY_PAUSE_S,
    MAX_HEARSAY,
    MAX_LIVES,
    MAX_PEERS,
    QUIET_PATIENCE_S,
    QUIET_S,
    Ask,
    Begin,
    Break,
    Call,
    Peers,
    Session,
)
from shoal.mesh.place import Place

names = st.sampled_from("abc")
doings = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(0, 9)),
        st.tuples(st.just("step"), st.integers(0, 9)),
        st.tuples(st.just("step"), st.integers(0, 9)),
        st.tuples(st.just("pass_time"), st.sampled_from([0.001, 0.03, 0.1, 0.3, 1.0, 3.0])),
        st.tuples(st.just("break_one"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("restart"), names, st.booleans()),
        st.tuples(st.just("sight"), names, names, st.booleans()),
        st.tuples(st.just("hide_all"), names),
        st.tuples(st.just("cut"), names, names),
        st.tuples(st.just("heal"), names, names),
    ),
    min_size=40,
    max_size=150,
)
CALM_S = QUIET_S + QUIET_PATIENCE_S + TIMEOUT_S + 2 * NEWS_S + 5.0
"""Time in which all is found out and made good."""


def do(village, what, *how):
    match what:
        case "sight":
            watcher, name, visible = how
            if watcher != name:
                village.sight(watcher, name, village.nodes[name].life, visible)
        case "cut":
            village.cuts.add(frozenset(how))
        case "heal":
            village.cuts.discard(frozenset(how))
        case _:
            getattr(village, what)(*how)


@settings(max_examples=120)
@given(doings, st.sampled_from(["", "a", "c"]), st.sampled_from([[], ["ac", "ca"], ["bc"]]))
def test_in_the_end_one_session_stands_between_each_two(doings, calls_only, unseen):
    village = Village("abc", calls_only, unseen)
    for doing in doings:
        do(village, *doing)
    village.cuts.clear()
    village.show_all()
    took = village.run(CALM_S, village.all_linked)
    assert village.all_linked(), f"not after {took} s: {village.nodes}"
    ups = {name: dict(node.up) for name, node in village.nodes.items()}
    village.run(60.0)
    assert ups == {name: node.up for name, node in village.nodes.items()}, "it does not stay so"
    for node in [*village.gone, *village.nodes.values()]:
        for name in "abc":
            kinds = [type(event) for event in node.events if event.name == name]
            assert kinds == ([PeerUp, PeerDown] * len(kinds))[: len(kinds)]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=40), st.floats(0, 0.5), st.booleans())
def test_two_that_call_each_other_at_once_get_one_session_at_once(steps, late, calls_too):
    """However the steps of both calls lie between each other: no session is made and broken."""
    village = Village("ab")
    if calls_too:  # the greater name has no patience either
        village.nodes["b"].peers._peers["a"].call_at = 0.0
    for node in village.nodes.values():
        node.tick()
    for number in steps:
        village.step(number)
    village.pass_time(late)
    village.run(5.0)
    assert village.all_linked()
    for node in village.nodes.values():
        assert [type(event) for event in node.events] == [PeerUp]


def linked(names="ab", **how):
    village = Village(names, **how)
    village.run(5.0, village.all_linked)
    assert village.all_linked()
    return village


def kinds(village, name, other):
    return [type(event) for event in village.nodes[name].events if event.name == other]


# -- who calls ------------------------------------------------------------------------------------


def test_the_lesser_name_calls_and_the_greater_waits_for_it():
    village = linked()
    assert (village.nodes["a"].calls, village.nodes["b"].calls) == (1, 0)


def test_a_node_that_takes_no_data_calls_whatever_its_name_and_is_not_called():
    village = linked(calls_only="b")
    assert (village.nodes["a"].calls, village.nodes["b"].calls) == (0, 1)
    assert village.now < GRACE_S


def test_the_greater_name_calls_when_the_lesser_does_not():
    village = Village("ab")
    dial = village.nodes["a"]._dial
    village.nodes["a"]._dial = lambda session: None  # its way there does not work
    village.run(5.0, village.all_linked)
    assert village.all_linked()
    assert village.nodes["b"].calls == 1
    assert GRACE_S <= village.now < GRACE_S + 0.1
    assert dial is not None


def test_a_node_that_cannot_be_reached_is_called_less_and_less_and_told_of():
    village = Village("ab")
    village.cuts.add(frozenset("ab"))
    village.run(60.0)
    assert 30 <= village.nodes["a"].calls < 45
    assert village.nodes["a"].peers.unreachable() == {"b": "nobody is there"}
    village.cuts.clear()
    village.run(5.0, village.all_linked)
    assert village.all_linked()
    assert village.nodes["a"].peers.unreachable() == {}


def test_a_node_that_is_being_called_is_told_of_with_its_place():
    """A firewall that drops what comes says nothing for seconds."""
    peers = Peers("a", 0.4)
    peers.incarnation = "1" * 16
    peers.appeared("b", "1" * 16, [Place("host", 7448)], 0.0)
    assert peers.unreachable() == {}
    peers.tick(0.0, lambda session: 0.0, lambda session: 0.0)
    (call,) = peers.take()
    assert peers.unreachable() == {"b": "host:7448: no reply yet"}
    assert peers.may_ask(call.session)
    assert peers.answered(call.session, 0.1)
    assert peers.unreachable() == {}


def test_two_that_nobody_can_call_have_no_link_and_say_so():
    village = Village("ab", calls_only="ab")
    village.run(5.0)
    assert village.nodes["a"].peers.unreachable() == {"b": "it tells no place to be called at"}
    assert village.nodes["a"].calls == 0


def test_a_session_that_does_not_last_is_not_made_again_and_again_at_once():
    village = linked()
    for _ in range(200):
        village.break_one(0, False)
        village.run(0.05)
    assert len(village.nodes["a"].events) < 20
    village.run(60.0)
    assert village.all_linked()
    before = len(village.nodes["a"].events)
    since = village.now
    village.break_one(0, False)
    village.run(5.0, lambda: len(village.nodes["a"].events) == before + 2)
    assert village.now - since < 0.1, "one that lasted is made again at once"


# -- how a session ends ---------------------------------------------------------------------------


def test_a_dead_peer_is_noticed_by_its_connections():
    village = linked("abc")
    village.restart("b", killed=True)
    village.run(1.0, village.all_linked)  # its new life is not visible yet
    assert kinds(village, "a", "b") == [PeerUp, PeerDown]
    assert kinds(village, "a", "c") == [PeerUp]
    village.show_all()
    village.run(5.0, village.all_linked)
    assert village.all_linked()


def test_a_frozen_peer_is_noticed_by_its_silence_once_its_sign_is_gone():
    village = linked("abc")
    old = village.nodes["b"].life
    village.restart("b", killed=False)
    village.run(QUIET_S / 2)
    assert kinds(village, "a", "b") == [PeerUp]
    since = village.now
    for watcher in "ac":
        village.sight(watcher, "b", old, False)
    took = village.run(5.0, lambda: len(kinds(village, "a", "b")) == 2)
    assert took <= max(0.1, LEASE_S / 4) + 0.05
    assert village.now > since
    assert kinds(village, "a", "c") == [PeerUp]


def test_a_mesh_that_loses_its_view_of_somebody_who_lives_breaks_nothing():
    village = linked("abc")
    village.sight("a", "b", village.nodes["b"].life, False)
    village.run(30.0)
    assert village.nodes["a"].peers.unseen() == ["b"]
    assert 10 < village.nodes["a"].asks < 400
    village.hide_all("c")
    village.run(30.0)
    for name, other in itertools.permutations("abc", 2):
        assert kinds(village, name, other) == [PeerUp]


def test_a_sign_that_is_back_ends_the_questions():
    village = linked()
    village.sight("a", "b", village.nodes["b"].life, False)
    village.run(1.0)
    village.show_all()
    asks = village.nodes["a"].asks
    village.run(1.0)
    assert village.nodes["a"].asks == asks
    assert village.nodes["a"].peers.unseen() == []


def test_a_way_that_is_cut_silently_is_noticed_although_both_are_visible():
    village = linked("abc")
    village.break_one(0, True)
    village.run(QUIET_S + QUIET_PATIENCE_S + 3.0, village.all_linked)
    assert village.all_linked()
    assert sorted(len(kinds(village, *pair)) for pair in itertools.permutations("abc", 2)) == [
        1, 1, 1, 1, 3, 3,
    ]  # fmt: skip


def test_a_peer_that_is_quiet_and_visible_has_more_time_than_one_that_is_not():
    village = linked()
    village.restart("b", killed=False)
    village.nodes["a"].peers.vanished("x", "0" * 16, village.now)
    took = village.run(20.0, lambda: len(kinds(village, "a", "b")) == 2)
    assert QUIET_PATIENCE_S <= took <= QUIET_S + QUIET_PATIENCE_S + 1.0
    assert village.nodes["a"].asks == 1


def test_who_calls_again_and_again_over_a_session_that_is_cut_is_let_in_soon():
    """Each of its calls is a reason to ask, and none puts off the answer."""
    village = linked()
    village.break_one(0, True)
    a, b = village.nodes["a"], village.nodes["b"]
    (session,) = b.up.values()
    b.peers.lost(session, "its system told it")
    b.act()
    took = village.run(5.0, village.all_linked)
    assert village.all_linked()
    assert took < 1.0
    assert [type(event) for event in a.events] == [PeerUp, PeerDown, PeerUp]


def test_leaving_breaks_with_all_and_forgets_all():
    village = linked("abc")
    node = village.nodes["a"]
    node.peers.break_all("it leaves")
    node.act()
    assert node.up == {}
    assert node.peers.due(village.now) == math.inf
    del village.nodes["a"]
    village.run(0.5)
    assert kinds(village, "b", "a") == kinds(village, "c", "a") == [PeerUp, PeerDown]
    assert kinds(village, "b", "c") == [PeerUp]


# -- lives ----------------------------------------------------------------------------------------


def test_a_later_life_replaces_an_earlier_one_which_cannot_come_back():
    village = linked()
    old = village.nodes["b"]
    village.restart("b", killed=False)
    village.sight("a", "b", village.nodes["b"].life, True)
    village.sight("b", "a", village.nodes["a"].life, True)
    village.run(5.0, village.all_linked)
    assert village.all_linked()
    hello = CallerHello("c", "b", old.life, "a", village.nodes["a"].life, 99, False)
    refusal = village.nodes["a"].peers.called(hello, village.now)
    assert isinstance(refusal, Refusal)
    assert refusal.no is No.STRANGER
    assert refusal.text == "a later life of b is there"
    village.run(5.0)
    assert kinds(village, "a", "b") == [PeerUp, PeerDown, PeerUp]


def lone(name="me"):
    peers = Peers(name, LEASE_S)
    peers.incarnation = "1" * 16
    peers.places = (Place(name, 1),)
    return peers


def hello(name, life="2" * 16, target="me", its_life="1" * 16, number=1):
    return CallerHello("c", name, life, target, its_life, number, False, (Place(name, 1),))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (hello("b", target="x"), "x in another life was called"),
        (hello("b", its_life="0" * 16), "me in another life was called"),
        (hello("me"), "it has the same name"),
    ],
)
def test_who_calls_somebody_else_is_refused_by_name(wrong, text):
    peers = lone()
    assert peers.called(wrong, 0.0) == Refusal(No.STRANGER, text, "me", "1" * 16)
    assert peers.take() == []


def test_names_and_lives_without_end_are_not_kept():
    peers = lone()
    for number in range(MAX_PEERS + 10):
        peers.appeared(f"n{number}", "2" * 16, (), 0.0)
    assert len(peers._peers) == MAX_PEERS
    assert isinstance(peers.called(hello("late"), 0.0), Refusal)
    peers.vanished("n0", "2" * 16, 0.0)
    assert isinstance(peers.called(hello("late"), 0.0), Session)
    for life in range(100):
        peers.appeared("n1", f"{life:016x}", (), 0.0)
    assert len(peers.visible("n1")) == MAX_LIVES


def test_a_name_of_which_nothing_is_known_any_more_is_forgotten():
    village = linked("abc")
    for name in "bc":
        old = village.nodes[name].life
        village.restart(name, killed=True)
        village.sight("a", name, old, False)
    village.run(60.0)
    assert village.nodes["a"].peers._peers == {}


# -- hearsay --------------------------------------------------------------------------------------


def test_who_is_not_visible_is_heard_of_at_once():
    village = Village("abc", calls_only="a", unseen=["ac", "ca"])
    assert village.run(5.0, village.all_linked) < 0.1
    assert sorted(village.nodes["a"].peers.unseen()) == ["c"]


def test_news_of_a_later_life_ends_no_session_with_one_that_answers():
    village = linked()
    lie = NodeSeen("b", "f" * 16, (Place("nowhere", 1),))
    for _ in range(20):
        village.nodes["a"].peers.heard(lie, village.now)
        village.nodes["a"].act()
        village.run(1.0)
    assert kinds(village, "a", "b") == [PeerUp]
    assert village.nodes["a"].calls == 1


def test_news_of_a_later_life_replaces_one_that_is_frozen_and_still_visible():
    village = linked("abc", calls_only="a")  # so it is up to a
    village.restart("b", killed=False)
    village.sight("c", "b", village.nodes["b"].life, True)
    village.sight("b", "c", village.nodes["c"].life, True)
    assert village.run(5.0, lambda: village.linked("a", "b")) < 1.0


def test_lies_do_not_hide_who_is_visible():
    village = Village("ab")
    village.nodes["a"].peers.heard(NodeSeen("b", "f" * 16, (Place("nowhere", 1),)), 0.0)
    village.nodes["b"].peers.places = ()  # so it is up to a
    village.calls_only = "b"
    village.nodes["b"]._dial = lambda session: None
    village.nodes["b"].peers.vanished("a", village.nodes["a"].life, 0.0)
    village.nodes["a"].peers.appeared("b", village.nodes["b"].life, (Place("b", 1),), 0.0)
    village.run(1.0, village.all_linked)
    assert village.all_linked()


def test_hearsay_is_bounded_called_rarely_and_forgotten():
    village = Village("a")
    node = village.nodes["a"]
    for round in range(4):
        for number in range(2 * MAX_HEARSAY):
            node.peers.heard(NodeSeen(f"n{number}", "2" * 16, (Place("nowhere", 1),)), village.now)
        assert len(set(node.peers._peers) - {"real"}) == MAX_HEARSAY
        node.peers.appeared("real", f"{round:016x}", (), village.now)
        assert node.peers.visible("real")
        village.run(NEWS_S)
    assert node.calls / MAX_HEARSAY < 2 + math.log2(LONGEST_HEARSAY_PAUSE_S / 0.1)
    village.run(HEARSAY_S + 1.0)
    assert set(node.peers._peers) == {"real"}


def test_news_of_oneself_of_nobody_and_of_who_cannot_be_called_changes_nothing():
    peers = lone()
    for node in [
        NodeSeen("me", "f" * 16, (Place("me", 1),)),
        NodeSeen("x", "2" * 16, ()),
    ]:
        peers.heard(node, 0.0)
    assert peers._peers == {}
    assert peers.due(0.0) == math.inf


# -- calls that come to nothing -------------------------------------------------------------------


def begun(peers):
    return [action for action in peers.take() if isinstance(action, Begin)]


def test_an_own_call_is_given_up_for_one_that_comes_until_it_has_asked():
    peers = lone()
    peers.appeared("z", "2" * 16, (Place("z", 1),), 0.0)
    peers.tick(0.0, lambda s: 0.0, lambda s: 0.0)
    (call,) = peers.take()
    assert isinstance(call, Call)
    theirs = peers.called(hello("z"), 0.0)
    assert isinstance(theirs, Session)
    assert not peers.may_ask(call.session)
    assert not peers.answered(call.session, 0.0)
    peers.failed(call.session, "", 0.0)
    assert begun(peers) == [Begin(theirs)]


def test_of_two_that_have_asked_each_other_the_lesser_name_comes_first():
    me = lone()
    me.appeared("z", "2" * 16, (Place("z", 1),), 0.0)
    me.tick(0.0, lambda s: 0.0, lambda s: 0.0)
    (call,) = me.take()
    assert me.may_ask(call.session)
    refusal = me.called(hello("z"), 0.0)
    assert isinstance(refusal, Refusal)
    assert refusal.no is No.AGAIN
    assert me.answered(call.session, 0.0)
    greater = lone("z")
    greater.appeared("me", "2" * 16, (Place("me", 1),), 0.0)
    greater.tick(GRACE_S, lambda s: 0.0, lambda s: 0.0)
    (call,) = greater.take()
    assert greater.may_ask(call.session)
    assert isinstance(greater.called(hello("me", target="z"), GRACE_S), Session)
    assert not greater.answered(call.session, GRACE_S)


def test_a_session_of_which_the_last_words_are_not_told_is_not_followed_by_another():
    peers = lone()
    session = peers.called(hello("z"), 0.0)
    peers.take()
    peers.lost(session, "it left")
    peers.lost(session, "it left")
    assert peers.take() == [Break(session, "it left")]
    refusal = peers.called(hello("z", number=2), 0.0)
    assert isinstance(refusal, Refusal)
    assert refusal.no is No.AGAIN
    peers.ended(session, 0.0)
    peers.ended(session, 0.0)
    assert isinstance(peers.called(hello("z", number=2), 0.0), Session)


def test_a_question_waits_for_what_was_sent_before_it():
    peers = lone()
    session = peers.called(hello("z"), 0.0)
    peers.appeared("z", "2" * 16, (), 0.0)
    peers.vanished("z", "2" * 16, 1.0)
    peers.take()
    peers.tick(1.0, lambda s: 0.5, lambda s: 3.0)
    assert peers.take() == [Ask(session)]
    peers.tick(3.9, lambda s: 0.5, lambda s: 3.0)
    assert peers.take() == []
    peers.tick(4.2, lambda s: 0.5, lambda s: 3.0)
    assert peers.take() == [Break(session, "it is silent")]

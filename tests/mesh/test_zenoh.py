"""What is particular to the Zenoh kind of link: addresses, strangers, and the watchdog."""

import json
import os
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest
import zenoh

from shoal.errors import AddressInUseError, MeshError, UsageError
from shoal.mesh.credit import WINDOW
from shoal.mesh.frames import MAX_ATTACHMENT, Ack, Ask, Data, Pairing, encode
from shoal.mesh.link import NameLost, PeerDown, PeerUp
from shoal.mesh.names import new_incarnation
from shoal.mesh.zenoh import ZenohLink

PREFIX = "shoal/shoal"


class Stranger:
    """Somebody on the mesh who speaks Zenoh, and says what he likes."""

    def __init__(self, seed: str) -> None:
        config = zenoh.Config()
        for path, value in {
            "connect/endpoints": [seed],
            "listen/endpoints": [],
            "scouting/multicast/enabled": False,
        }.items():
            config.insert_json5(path, json.dumps(value))
        self.session = zenoh.open(config)
        self.life = new_incarnation()
        self.token = None

    def appear(self, name: str) -> None:
        self.token = self.session.liveliness().declare_token(f"{PREFIX}/alive/{name}/{self.life}")

    def say(self, key: str, payload: bytes = b"", attachment: bytes | None = None) -> None:
        self.session.put(
            f"{PREFIX}/{key}",
            payload,
            attachment=attachment,
            congestion_control=zenoh.CongestionControl.BLOCK,
        )


def test_a_node_can_be_asked_who_answers_at_an_address(zenoh_fleet):
    """Whatever else that one sees."""
    first, second = zenoh_fleet.join("first"), zenoh_fleet.join("second")
    for asker in (first, second):
        for asked in (first, second):
            assert asker.link.who(asked.link.addresses[0]) == asked.link.name


def test_nobody_answers_where_nobody_or_somebody_else_listens(node):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        address = f"tcp/127.0.0.1:{other.getsockname()[1]}"
        assert node.link.who(address) is None
        other.listen(8)
        assert node.link.who(address) is None
    assert node.link.peers() == {}


def test_the_way_to_a_peer_that_is_gone_is_given_back(zenoh_fleet):
    """Of publishers that are there when their session ends Zenoh keeps a part for ever."""
    a, b = zenoh_fleet.pair()
    assert a.link.send("b", b"hello", b"x")
    b.wait(lambda: len(b.heard()) == 1)
    a.wait(lambda: a.link.waiting("b") == 0)
    ways = [a.link._ways["b"], b.link._ways["a"]]
    b.link.close()
    end = time.monotonic() + 10
    while a.link._ways:
        assert time.monotonic() < end
        time.sleep(0.05)
    for way in ways:
        way.lane.thread.join(5)
        assert (way._data, way._acks) == (None, None)


@pytest.fixture
def node(zenoh_fleet):
    return zenoh_fleet.join("node")


@pytest.fixture
def stranger(node) -> Iterator[Stranger]:
    stranger = Stranger(node.link.addresses[0])
    yield stranger
    stranger.session.close()


def test_port_zero_becomes_a_real_port(zenoh_fleet):
    link = zenoh_fleet.make("a")
    assert link.addresses == []
    link.start(lambda event: True)
    protocol, _, port = link.addresses[0].rpartition(":")
    assert protocol == "tcp/127.0.0.1"
    with socket.create_connection(("127.0.0.1", int(port)), 2):
        pass


def test_a_taken_port_is_an_error_that_names_the_address(zenoh_fleet):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        link = ZenohLink("a", [f"tcp/127.0.0.1:{port}"])
        with pytest.raises(AddressInUseError, match=rf"{port}.*choose another port"):
            link.start(lambda event: True)
    link.close()


def test_a_port_is_free_again_after_close(zenoh_fleet):
    a = zenoh_fleet.join("a")
    b = zenoh_fleet.join("b")
    a.wait_for_peer("b")
    address = a.link.addresses
    a.link.close()
    again = ZenohLink("a", address)
    zenoh_fleet.links.append(again)
    again.start(lambda event: True)
    b.wait(lambda: b.link.peers() == {"a": again.incarnation})  # b calls again by itself


def test_settings_that_zenoh_does_not_know_are_refused():
    with pytest.raises(UsageError, match="transport/no/such = 1"):
        ZenohLink("a", settings={"transport/no/such": 1})


def test_an_unknown_protocol_is_refused(zenoh_fleet):
    link = ZenohLink("a", ["tcp/127.0.0.1:0"], ["pigeon/127.0.0.1:7447"])
    zenoh_fleet.links.append(link)
    with pytest.raises(MeshError, match="pigeon"):
        link.start(lambda event: True)


@pytest.mark.parametrize("cluster", ["", "a/b", "*"])
def test_cluster_names_that_would_break_keys_are_refused(cluster):
    with pytest.raises(UsageError, match="cannot name a cluster"):
        ZenohLink("a", cluster=cluster)


def test_clusters_do_not_see_each_other(zenoh_fleet):
    a = zenoh_fleet.join("a", cluster="one")
    b = zenoh_fleet.join("b", cluster="two")
    c = zenoh_fleet.join("c", cluster="one")
    a.wait_for_peer("c")
    c.wait_for_peer("a")
    assert b.link.peers() == {}


def test_who_cannot_be_reached_is_said_with_the_reason(zenoh_fleet):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
    link = ZenohLink("a", ["tcp/127.0.0.1:0"], [f"tcp/127.0.0.1:{taken}"])
    zenoh_fleet.links.append(link)
    link.start(lambda event: True)
    assert link.unreachable() == {
        f"tcp/127.0.0.1:{taken}": "the host is there, but nothing listens on that port"
    }


def test_a_node_that_comes_later_is_called_again_and_again(zenoh_fleet):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp/127.0.0.1:{server.getsockname()[1]}"
    zenoh_fleet.seed = [address]
    early = zenoh_fleet.join("early")
    time.sleep(0.3)
    late = ZenohLink("late", [address])
    zenoh_fleet.links.append(late)
    late.start(lambda event: True)
    early.wait_for_peer("late")


# -- strangers ------------------------------------------------------------------------------------


def test_garbage_is_counted_and_the_link_goes_on(node, stranger, zenoh_fleet, caplog):
    stranger.appear("stranger")
    node.wait_for_peer("stranger")
    pairing = Pairing(stranger.life, node.link.incarnation, 0)
    good = encode(Data(pairing, 1, b"hello", 3))
    to = "to/node/stranger"
    bad = [
        (to, b"", None),
        (to, b"x", b""),
        (to, os.urandom(1000), os.urandom(100)),
        (to, b"four", good),  # announces three bytes
        (to, b"", encode(Data(pairing, 1, b"", (1 << 64) - 2))),
        (to, b"", bytes(MAX_ATTACHMENT + 1)),
        (to, b"x", encode(Ask(pairing, 1))),
        (to, b"", encode(Data(Pairing("0" * 16, "0" * 16, 0), 1, b"", None))),
        ("to/node/nobody", b"xyz", good),
        ("to/node/stranger/and/more", b"", None),
        ("to/node", b"xyz", good),
    ]
    for key, payload, attachment in bad:
        stranger.say(key, payload, attachment)
    stranger.say(to, b"", encode(Ack(pairing, 9, 9, 9, 0.0)))
    stranger.say("alive/nonsense")
    for key in ("**", "view/**", "view", "*", "claim", "taken/**", "to/**"):
        stranger.say(key, b"to everybody")
    for about in (
        b"",
        b"stranger",
        b"stranger/x",
        b"x/y",
        b"node/z",
        b"/",
        b"\xff/\xff",
        bytes(999),
    ):
        for key in ("view", "claim"):
            stranger.say(key, b"\xff\xff", about)
    stranger.say("answer/node/z", b"\xff\xff")
    stranger.say("view", bytes(1 << 20), f"stranger/{stranger.life}".encode())
    stranger.say(to, b"yes", good)
    node.wait(lambda: [message.body for message in node.heard()] == [b"yes"])
    node.wait(lambda: node.link.stats().dropped >= len(bad))
    friend = zenoh_fleet.join("friend")
    friend.wait_for_peer("node")
    assert friend.link.send("node", b"still here?")
    node.wait(lambda: len(node.heard()) == 2)
    assert not caplog.records


def test_names_and_lives_that_are_none_are_not_seen(node, stranger):
    live = stranger.session.liveliness()
    tokens = [
        live.declare_token(f"{PREFIX}/alive/{name}")
        for name in (f"-bad/{stranger.life}", "good/xyz", f"{'x' * 65}/{stranger.life}")
    ]
    stranger.appear("last")
    node.wait_for_peer("last")
    assert set(node.link.peers()) == {"last"}
    assert node.link.stats().dropped == len(tokens)


def test_a_flood_is_bounded_and_survived(node, stranger, zenoh_fleet):
    stranger.appear("stranger")
    node.wait_for_peer("stranger")
    pairing = Pairing(stranger.life, node.link.incarnation, 0)
    node.settles = False
    for seq in range(1, 400):
        stranger.say("to/node/stranger", bytes(10_000), encode(Data(pairing, seq, b"", 10_000)))
    friend = zenoh_fleet.join("friend")
    friend.wait_for_peer("node")
    assert friend.link.send("node", b"still here?")
    node.wait(lambda: len(node.heard("friend")) == 1)
    assert len(node.heard("stranger")) <= WINDOW


def test_more_than_the_largest_body_is_not_taken_and_does_not_block_for_ever(
    zenoh_fleet, monkeypatch
):
    monkeypatch.setattr("shoal.mesh.credit.ASK_S", 0.05)
    small = zenoh_fleet.join("small", max_body=100_000)
    large = zenoh_fleet.join("large")
    large.wait_for_peer("small")
    assert large.link.send("small", b"", bytes(5_000_000))
    large.wait(lambda: [type(one) for one in large.seen("small")] == [PeerUp, PeerDown, PeerUp])
    assert large.link.send("small", b"small enough")
    small.wait(lambda: [message.head for message in small.heard()] == [b"small enough"])


# -- names and the watchdog -----------------------------------------------------------------------


def test_an_older_life_that_comes_back_is_told_to_give_way(node, stranger):
    told = stranger.session.declare_subscriber(
        f"{PREFIX}/taken/node/{'0' * 15}1", zenoh.handlers.RingChannel(1)
    )
    stranger.life = "0" * 15 + "1"
    stranger.appear("node")
    assert told.recv().payload.to_bytes().decode() == node.link.incarnation


def test_a_node_whose_name_was_taken_says_so_and_leaves(node, stranger):
    stranger.life = "f" * 16
    stranger.appear("node")
    for nonsense in (b"", b"x" * 16, b"\xff" * 16, b"0" * 16, b"f" * 1000):
        stranger.say(f"taken/node/{node.link.incarnation}", nonsense)
    stranger.say(f"taken/node/{node.link.incarnation}", stranger.life.encode())
    node.wait(lambda: node.events[-1:] == [NameLost("node", "f" * 16)])
    assert not node.link.send("stranger", b"")
    assert node.link.peers() == {}


def test_a_predecessor_that_nobody_answers_for_is_waited_out(node, stranger, zenoh_fleet):
    stranger.appear("ghost")
    node.wait_for_peer("ghost")
    stranger.session.declare_subscriber(
        f"{PREFIX}/claim",
        zenoh.handlers.Callback(lambda sample: stranger.token.undeclare(), indirect=True),
    )
    successor = zenoh_fleet.join("ghost")
    assert successor.link.incarnation > stranger.life
    node.wait(lambda: node.link.peers().get("ghost") == successor.link.incarnation)


def test_a_session_in_which_views_differ_for_good_is_opened_anew(
    node, stranger, zenoh_fleet, monkeypatch, caplog
):
    friend = zenoh_fleet.join("friend")
    friend.wait_for_peer("node")
    monkeypatch.setattr("shoal.mesh.watchdog.PATIENCE_S", 0.5)
    stranger.appear("zombie")  # visible, and says each second that it sees nobody
    friend.wait_for_peer("zombie")
    deadline = time.monotonic() + 60
    while "opens its Zenoh session anew: zombie does not see this node" not in caplog.text:
        about = f"zombie/{stranger.life}".encode()
        stranger.say("view", msgspec.msgpack.encode({}), about)
        time.sleep(0.2)
        assert time.monotonic() < deadline
    stranger.session.close()
    life = friend.link.incarnation
    node.wait(lambda: node.link.peers() == {"friend": life})
    friend.wait_for_peer("node")
    deadline = time.monotonic() + 60
    while not friend.link.send("node", b"again"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    node.wait(lambda: len(node.heard()) == 1)
    kinds = [type(event) for event in node.seen("friend")]
    assert kinds == [PeerUp, PeerDown] * (len(kinds) // 2) + [PeerUp]


def test_a_session_can_be_opened_anew_under_load(zenoh_fleet):
    a, b = zenoh_fleet.pair()
    for _ in range(3):
        for _ in range(50):
            a.link.send("b", b"x", bytes(100_000))
            b.link.send("a", b"x", bytes(100_000))
        b.link._chore(lambda now: b.link._reopen("a test wants it", now))
        since = len(a.seen("b"))
        a.wait(lambda since=since: len(a.seen("b")) >= since + 2)
        a.wait_for_peer("b")
        b.wait_for_peer("a")
    count = len(b.heard())
    deadline = time.monotonic() + 60
    while not a.link.send("b", b"last"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    b.wait(lambda: len(b.heard()) > count and b.heard()[-1].head == b"last")

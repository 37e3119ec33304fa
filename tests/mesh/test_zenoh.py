"""What is particular to the Zenoh kind of mesh: addresses, names, strangers, and who is found."""

import functools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import msgspec
import psutil
import pytest
import zenoh
from tests.mesh.conftest import say_all

from shoal.errors import AddressInUseError, MeshError, UsageError
from shoal.mesh import link as mesh_link
from shoal.mesh import patience
from shoal.mesh.events import NameLost, Outdated, PeerDown, PeerUp, Received
from shoal.mesh.hello import VERSION
from shoal.mesh.names import new_incarnation
from shoal.mesh.peers import MAX_LIVES, MAX_PEERS
from shoal.mesh.place import Place
from shoal.mesh.tcp_info import tcp_info
from shoal.mesh.zenoh import MAX_CHORES, ZenohLink

PREFIX = "shoal/shoal"
LEAST_ID = "1" + "0" * 31


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

    def show(self, key: str) -> None:
        self.token = self.session.liveliness().declare_token(f"{PREFIX}/alive/{key}")

    def appear(self, name: str, places: str = "-") -> None:
        self.show(f"{name}/{self.life}/{VERSION}/{places}")

    def say(self, key: str, payload: bytes = b"", attachment: bytes | None = None) -> None:
        self.session.put(
            f"{PREFIX}/{key}",
            payload,
            attachment=attachment,
            congestion_control=zenoh.CongestionControl.BLOCK,
        )


@pytest.fixture
def node(zenoh_fleet):
    return zenoh_fleet.join("node")


@pytest.fixture
def stranger(node) -> Iterator[Stranger]:
    stranger = Stranger(node.link.addresses[0])
    yield stranger
    stranger.session.close()


def wait_for_friend(node, zenoh_fleet, name="friend", **settings):
    friend = zenoh_fleet.join(name, **settings)
    friend.wait_for_peer("node")
    node.wait_for_peer(name)
    return friend


# -- addresses ------------------------------------------------------------------------------------


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
        link = zenoh_fleet.make("a", listen=[f"tcp/127.0.0.1:{port}"])
        with pytest.raises(AddressInUseError, match=rf"{port}.*choose another port"):
            link.start(lambda event: True)


def test_a_taken_data_port_is_an_error_that_says_which(zenoh_fleet):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        link = zenoh_fleet.make("a", data_port=port)
        with pytest.raises(AddressInUseError, match=rf"data port: .*{port}.*another process"):
            link.start(lambda event: True)
    assert link.peers() == {}


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_data_port_that_is_none_is_refused(port):
    with pytest.raises(UsageError, match="is no port"):
        ZenohLink("a", data_port=port)


def test_a_stated_data_port_is_that_at_which_data_is_taken(zenoh_fleet):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    a = zenoh_fleet.join("a", data_port=port)
    b = zenoh_fleet.join("b", connect=a.link.addresses)
    b.wait_for_peer("a")
    assert a.link._peers.places == (Place("127.0.0.1", port),)
    say_all(b.link, "a", [b"hello"])
    a.wait(lambda: a.heads() == [b"hello"])


def test_a_port_is_free_again_after_close(zenoh_fleet):
    a = zenoh_fleet.join("a")
    b = zenoh_fleet.join("b")
    a.wait_for_peer("b")
    places, addresses = a.link._peers.places, a.link.addresses
    a.link.close()
    again = zenoh_fleet.make("a", listen=addresses, data_port=places[0].port)
    again.start(lambda event: True)
    b.wait(lambda: b.link.peers() == {"a": again.incarnation})  # b calls again by itself


def test_a_worker_comes_back_under_another_address(zenoh_fleet):
    a, b = zenoh_fleet.pair()
    for host in ("127.0.0.2", "127.0.0.3"):
        b.link.close()
        b = zenoh_fleet.join("b", listen=[f"tcp/{host}:0"])
        b.wait_for_peer("a")
        a.wait(lambda b=b: a.link.peers() == {"b": b.link.incarnation})
        say_all(a.link, "b", [b"hello"])
        b.wait(lambda b=b: b.heads() == [b"hello"])


def test_settings_that_zenoh_does_not_know_are_refused():
    with pytest.raises(UsageError, match="transport/no/such = 1"):
        ZenohLink("a", settings={"transport/no/such": 1})


def test_an_unknown_protocol_is_refused(zenoh_fleet):
    link = zenoh_fleet.make("a", connect=["pigeon/127.0.0.1:7447"])
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


def test_a_node_that_comes_later_is_called_again_and_again(zenoh_fleet):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp/127.0.0.1:{server.getsockname()[1]}"
    zenoh_fleet.seed = [address]
    early = zenoh_fleet.join("early")
    time.sleep(0.3)
    late = zenoh_fleet.join("late", listen=[address], connect=[])
    early.wait_for_peer("late")
    late.wait_for_peer("early")


def only_ipv6(monkeypatch, name, hosts=("::1",)):
    """Let a name stand for addresses of version 6 only."""
    real = socket.getaddrinfo

    def look(host, port, family=0, type=0, proto=0, flags=0):
        if host != name:
            return real(host, port, family, type, proto, flags)
        if family == socket.AF_INET or flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [found for number in hosts for found in real(number, port, family, type)]

    monkeypatch.setattr(socket, "getaddrinfo", look)


def test_a_host_name_that_is_ipv6_only_is_reached(zenoh_fleet, monkeypatch):
    a = zenoh_fleet.join("a", listen=["tcp/[::1]:0"])
    port = a.link.addresses[0].rpartition(":")[2]
    only_ipv6(monkeypatch, "six.test")
    b = zenoh_fleet.join("b", listen=["tcp/[::1]:0"], connect=[f"tcp/six.test:{port}"])
    b.wait_for_peer("a")
    a.wait_for_peer("b")
    say_all(b.link, "a", [b"hello"])
    a.wait(lambda: a.heads() == [b"hello"])


def test_a_node_is_first_called_where_it_is_stated_to_be(zenoh_fleet, monkeypatch):
    a = zenoh_fleet.join("b", listen=["tcp/[::1]:0"])
    only_ipv6(monkeypatch, "board.test", ["::1"])
    caller = zenoh_fleet.make(
        "a", listen=["tcp/[::1]:0"], known={"b": Place("board.test", 0)}, connect=a.link.addresses
    )
    called = []
    dial = caller._dial
    caller._dial = lambda places, given_up: called.extend(places) or dial(places, given_up)
    caller.start(lambda event: True)
    a.wait_for_peer("a")
    port = a.link._peers.places[0].port
    assert called[:2] == [Place("board.test", port), Place("::1", port)]


def test_two_on_one_cable_find_each_other_by_addresses_of_the_link(zenoh_fleet):
    found = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.address.startswith("fe80:") and "%" in entry.address
    ]
    if not found:
        pytest.skip("this machine has no address of a link")
    listen = [f"tcp/[{found[0]}]:0"]
    a = zenoh_fleet.join("a", listen=listen)
    b = zenoh_fleet.join("b", listen=listen)
    assert a.link._peers.places[0].host == found[0].partition("%")[0], "zones differ by machine"
    b.wait_for_peer("a")
    a.wait_for_peer("b")
    say_all(b.link, "a", [b"hello"])
    a.wait(lambda: a.heads() == [b"hello"])


# -- who is found ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"id": LEAST_ID}], ids=["any id", "the least id"])
def test_a_gateway_without_an_address_finds_a_worker_that_joined_through_another(
    zenoh_fleet, monkeypatch, settings
):
    """Nobody can call it, and with the least number it calls nobody on the mesh: it hears of the
    newcomer from the worker that it knows, at once."""
    monkeypatch.setattr(mesh_link, "NEWS_S", 600.0)
    first = zenoh_fleet.join("w1")
    gateway = zenoh_fleet.join("gateway", listen=[], settings=settings)
    gateway.wait_for_peer("w1")
    first.wait_for_peer("gateway")
    late = zenoh_fleet.join("w2")
    gateway.wait_for_peer("w2")
    late.wait_for_peer("gateway", "w1")
    say_all(gateway.link, "w2", [b"hello"])
    say_all(late.link, "gateway", [b"hello"])
    late.wait(lambda: late.heads() == [b"hello"])
    gateway.wait(lambda: gateway.heads() == [b"hello"])
    assert gateway.kinds("w2") == [PeerUp]


def test_two_that_cannot_be_called_have_no_link_and_say_so(zenoh_fleet):
    first = zenoh_fleet.join("w1")
    gateways = [zenoh_fleet.join(name, listen=[]) for name in ("g1", "g2")]
    for ear in gateways:
        ear.wait_for_peer("w1")
    first.wait_for_peer("g1", "g2")
    time.sleep(0.3)
    for ear, other in zip(gateways, ("g2", "g1"), strict=True):
        assert set(ear.link.peers()) == {"w1"}
        assert ear.link.unreachable() in ({}, {other: "it tells no place to be called at"})


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


# -- strangers ------------------------------------------------------------------------------------


def test_garbage_on_the_mesh_is_survived(node, stranger, zenoh_fleet, caplog):
    for key in ("alive/nonsense", "**", "claim", "claim/x/y", "taken/**", "answer/**", "to/node/x"):
        stranger.say(key, b"to everybody")
    for key in ("answer/node/z", "taken/node/x"):
        stranger.say(key, b"\xff\xff")
    for about in (b"", b"x", b"x/y", b"node/z", b"-/1", b"/", b"a/b/c", b"\xff/\xff", bytes(999)):
        stranger.say("claim", b"\xff\xff", about)
    stranger.say("claim", bytes(60_000), f"node/{new_incarnation()}".encode())
    for token in (
        "nonsense",
        f"-bad/{stranger.life}/{VERSION}/-",
        f"good/xyz/{VERSION}/-",
        f"{'x' * 65}/{stranger.life}/{VERSION}/-",
        f"many/{stranger.life}/{VERSION}/1,a/and/more",
        f"place/{stranger.life}/{VERSION}/99999999,host",
        f"places/{stranger.life}/{VERSION}/1,{',' * 1000}",
        f"long/{stranger.life}/{VERSION}/1,{'h' * 5000}",
    ):
        stranger.show(token)
    # Those that seem to be there do not answer when it asks for its name.
    wait_for_friend(node, zenoh_fleet, lease_ms=400)
    assert set(node.link.peers()) == {"friend"}
    assert not caplog.records


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("", "speaks a version without a wire, this is version"),
        (f"/{VERSION + 1}/7448,127.0.0.1", f"speaks version {VERSION + 1} of the wire, this is"),
        ("/" + "9" * 1000, f"speaks version {'9' * 16} of the wire, this is"),
    ],
    ids=["the old protocol", "a later version", "nonsense"],
)
def test_a_node_of_another_version_is_told_of_in_words_and_not_called(
    node, stranger, zenoh_fleet, version, told
):
    stranger.show(f"old/{stranger.life}{version}")
    node.wait(lambda: any(isinstance(event, Outdated) for event in node.events))
    event = node.events[-1]
    assert event.name == "old"
    assert event.text.startswith(told)
    assert "install the same version of Shoal on both" in event.text
    stranger.token.undeclare()
    wait_for_friend(node, zenoh_fleet)
    assert set(node.link.peers()) == {"friend"}
    assert node.link.unreachable() == {}


def test_a_node_that_nobody_answers_for_is_said_to_be_unreachable_and_where(
    node, stranger, zenoh_fleet
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    stranger.appear("z", f"{port},127.0.0.1")
    nothing = "the host is there, but nothing listens on that port"
    node.wait(lambda: node.link.unreachable() == {"z": f"127.0.0.1:{port}: {nothing}"})
    stranger.token.undeclare()
    node.wait(lambda: node.link.unreachable() == {})
    wait_for_friend(node, zenoh_fleet)


def test_a_node_of_another_name_at_a_place_is_named(node, stranger, zenoh_fleet):
    """Two boards state the same port of the same host: who answers is not who was called."""
    friend = wait_for_friend(node, zenoh_fleet)
    place = friend.link._peers.places[0]
    stranger.appear("z", f"{place.port},{place.host}")
    node.wait(lambda: "z" in node.link.unreachable())
    node.wait(
        lambda: node.link.unreachable()["z"] == f"{place}: z in another life was called (friend)"
    )
    assert node.kinds("friend") == [PeerUp]


def test_signs_without_end_are_not_kept(node):
    discovery = node.link._zenoh
    for number in range(MAX_PEERS + 100):
        discovery._sighted(0, [f"n{number}", "2" * 16, str(VERSION), "-"], True)
    assert len(discovery._lives) == MAX_PEERS
    for life in range(100):
        discovery._sighted(0, ["n1", f"{life:016x}", str(VERSION), "-"], True)
    assert len(discovery._lives["n1"]) == MAX_LIVES
    for number in range(MAX_PEERS):
        for life in set(discovery._lives[f"n{number}"]):
            discovery._sighted(0, [f"n{number}", life, str(VERSION), "-"], False)
    assert discovery._lives == {}


def test_more_chores_than_can_wait_are_not_done_and_the_mesh_is_joined_anew(
    node, zenoh_fleet, caplog
):
    friend = wait_for_friend(node, zenoh_fleet)
    discovery = node.link._zenoh
    gate = threading.Event()
    discovery._chore(gate.wait)
    for _ in range(MAX_CHORES + 10):
        discovery._chore(lambda: None)
    node.wait(lambda: discovery._threads.full())
    gate.set()
    node.wait(lambda: "joins the mesh anew: too much happened at once" in caplog.text)
    node.wait(lambda: node.link._peers.unseen() == [] and bool(discovery._lives))
    assert caplog.text.count("joins the mesh anew") == 1
    assert friend.kinds("node") == node.kinds("friend") == [PeerUp]


def test_a_link_with_more_chores_than_can_wait_closes(node):
    discovery = node.link._zenoh
    gate = threading.Event()
    discovery._chore(gate.wait)
    while discovery._chore(lambda: None):
        pass
    closer = threading.Thread(target=node.link.close)
    closer.start()
    time.sleep(0.2)
    gate.set()
    closer.join(30)
    assert not closer.is_alive()


def test_a_link_that_calls_where_nobody_replies_closes(node, stranger, zenoh_fleet):
    with socket.socket() as door, socket.socket() as filler:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for one in [filler, *fillers]:
            one.setblocking(False)
            one.connect_ex(door.getsockname())
        stranger.appear("z", f"{door.getsockname()[1]},127.0.0.1")
        node.wait(lambda: any(t.name == "node-calls-z" for t in threading.enumerate()))
        node.link.close()
        assert not any(thread.name.startswith("node-") for thread in threading.enumerate())
        for one in fillers:
            one.close()


def test_a_process_that_ends_without_closing_its_link_ends_well_and_is_seen_to_leave(node):
    code = (
        "import sys\n"
        "from shoal.mesh.zenoh import ZenohLink\n"
        "link = ZenohLink('w', ['tcp/127.0.0.1:0'], sys.argv[1:], lease_ms=60_000)\n"
        "link.start(lambda event: True)\n"
        "while not link.peers(): pass\n"
        "link.send('node', b'hello')\n"
        "while link.waiting('node'): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *node.link.addresses],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    node.wait(lambda: node.kinds("w") == [PeerUp, PeerDown])
    assert node.heads("w") == [b"hello"]


# -- names ----------------------------------------------------------------------------------------


def test_an_older_life_that_comes_back_is_told_to_give_way(node, stranger):
    told = stranger.session.declare_subscriber(
        f"{PREFIX}/taken/node/{'0' * 15}1", zenoh.handlers.RingChannel(1)
    )
    stranger.life = "0" * 15 + "1"
    stranger.appear("node")
    assert told.recv().payload.to_bytes().decode() == node.link.incarnation


def test_a_node_whose_name_was_taken_says_so_and_leaves(node, stranger, zenoh_fleet):
    friend = wait_for_friend(node, zenoh_fleet)
    stranger.life = "f" * 16
    stranger.appear("node")
    for nonsense in (b"", b"x" * 16, b"\xff" * 16, b"0" * 16, b"f" * 1000):
        stranger.say(f"taken/node/{node.link.incarnation}", nonsense)
    stranger.say(f"taken/node/{node.link.incarnation}", stranger.life.encode())
    node.wait(lambda: node.events[-1:] == [NameLost("node", "f" * 16)])
    assert not node.link.send("friend", b"")
    assert node.link.peers() == {}
    friend.wait(lambda: friend.link.peers() == {})


def test_a_predecessor_that_nobody_answers_for_is_waited_out(node, stranger, zenoh_fleet):
    stranger.appear("ghost")
    node.wait(lambda: bool(node.link._peers.visible("ghost")))
    stranger.session.declare_subscriber(
        f"{PREFIX}/claim",
        zenoh.handlers.Callback(lambda sample: stranger.token.undeclare(), indirect=True),
    )
    successor = zenoh_fleet.join("ghost")
    assert successor.link.incarnation > stranger.life
    node.wait(lambda: node.link.peers().get("ghost") == successor.link.incarnation)


# -- the mesh is lost, and joined anew ------------------------------------------------------------


def test_a_peer_whose_sign_is_lost_for_good_is_a_reason_to_join_anew(
    node, zenoh_fleet, monkeypatch, caplog
):
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    friend = zenoh_fleet.join("friend")
    friend.wait_for_peer("node")
    friend.wait(lambda: bool(friend.link._peers.visible("node")))
    friend.link._zenoh._patience._patience_s = 0.5
    friend.link.vanished("node", node.link.incarnation)
    friend.wait(
        lambda: "friend joins the mesh anew: no sign of node is visible, which is up" in caplog.text
    )
    friend.wait(lambda: friend.link._peers.unseen() == [])
    assert friend.kinds("node") == node.kinds("friend") == [PeerUp]


def test_a_mesh_that_cannot_be_joined_at_once_is_tried_again(node, zenoh_fleet, caplog):
    friend = wait_for_friend(node, zenoh_fleet)
    discovery = friend.link._zenoh
    (address,) = discovery.bound
    opened = discovery._open
    tries = []

    def fail(bound):
        tries.append(bound)
        if len(tries) < 3:
            raise zenoh.ZError("a test wants it")
        return opened(bound)

    discovery._open = fail
    discovery._chore(functools.partial(discovery._reopen, "a test wants it"))
    friend.wait(lambda: len(tries) == 3)
    friend.wait(lambda: friend.link._peers.unseen() == [] and bool(discovery._lives))
    assert discovery.bound == [address]
    assert caplog.text.count("cannot join the mesh yet") == 2
    assert friend.kinds("node") == node.kinds("friend") == [PeerUp]


def test_signs_of_before_do_not_count_after_the_mesh_was_joined_anew(node):
    discovery = node.link._zenoh
    sign = ["ghost", "2" * 16, str(VERSION), "-"]
    discovery._sighted(discovery._view - 1, sign, True)
    assert node.link._peers.visible("ghost") == frozenset()
    discovery._sighted(discovery._view, sign, True)
    assert node.link._peers.visible("ghost") == {"2" * 16}


def test_closing_while_the_mesh_is_joined_anew_ends_both(node, zenoh_fleet):
    friend = wait_for_friend(node, zenoh_fleet)
    discovery = friend.link._zenoh
    for _ in range(3):
        discovery._chore(functools.partial(discovery._reopen, "a test wants it"))
    time.sleep(0.05)
    friend.link.close()
    assert discovery._session is None
    assert not any(thread.name.startswith("friend-") for thread in threading.enumerate())
    node.wait(lambda: node.link.peers() == {})


def test_a_link_that_cannot_start_leaves_nothing_behind(node, zenoh_fleet, monkeypatch):
    """Whatever goes wrong, and wherever."""
    friend = wait_for_friend(node, zenoh_fleet)
    for where in ("show", "_join_in", "_take_name"):
        link = zenoh_fleet.make("late")

        def fail(*args):
            raise zenoh.ZError("a test wants it")

        monkeypatch.setattr(link._zenoh, where, fail)
        with pytest.raises((MeshError, zenoh.ZError), match="a test wants it"):
            link.start(lambda event: True)
        assert not any(thread.name.startswith("late-") for thread in threading.enumerate())
    assert friend.kinds("node") == [PeerUp]


def test_an_answer_to_a_claim_tells_what_is_seen(node, stranger):
    number = new_incarnation()
    answers = stranger.session.declare_subscriber(
        f"{PREFIX}/answer/*/*", zenoh.handlers.RingChannel(10)
    )
    stranger.say("claim", b"", f"node/{number}".encode())
    answer = msgspec.msgpack.decode(answers.recv().payload.to_bytes())
    assert answer == ["node", node.link.incarnation, True]
    stranger.say("claim", os.urandom(100), f"nobody/{number}".encode())
    assert msgspec.msgpack.decode(answers.recv().payload.to_bytes()) == ["node", None, False]


def test_messages_do_not_go_over_the_mesh(node, stranger, zenoh_fleet):
    friend = wait_for_friend(node, zenoh_fleet)
    listener = stranger.session.declare_subscriber("**", zenoh.handlers.RingChannel(100))
    say_all(friend.link, "node", [b"secret"] * 20)
    node.wait(lambda: node.heard() == [Received("friend", b"secret")] * 20)
    time.sleep(0.1)
    while (sample := listener.try_recv()) is not None:
        assert b"secret" not in sample.payload.to_bytes()


# -- who is slow ----------------------------------------------------------------------------------


def test_a_peer_that_is_slow_in_reading_is_not_taken_for_dead(zenoh_fleet, monkeypatch):
    """Its sign is gone, and what it is asked it has not come to yet: but it reads."""
    a, b = zenoh_fleet.pair(lease_ms=400)
    (line,) = a.link._lines.values()
    (receiver,) = (line.receiver for line in b.link._lines.values())
    if tcp_info(receiver._sock) is None:
        pytest.skip("this system tells nothing of a connection")
    receiver._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    monkeypatch.setattr(line.sender, "late_s", lambda: 0.0)
    monkeypatch.setattr(line.receiver, "heard_at", lambda now: -1.0)  # it says nothing
    into = receiver._into

    def slowly(target):
        for at in range(0, len(target), 1 << 16):
            into(target[at : at + (1 << 16)])
            time.sleep(0.004)

    monkeypatch.setattr(receiver, "_into", slowly)
    assert a.link.send("b", b"much", bytes(16 << 20))
    a.link.vanished("b", b.link.incarnation)
    b.wait(lambda: b.heads() == [b"much"])
    # Now it neither says nor reads anything.
    a.wait(lambda: PeerDown in a.kinds("b"))

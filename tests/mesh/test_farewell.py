"""Who leaves the mesh waits for a moment only, and all ends well."""

import functools
import socket
import subprocess
import sys
import threading
import time

import pytest
import zenoh

from shoal.mesh import farewell
from shoal.mesh.events import PeerDown, PeerUp
from shoal.mesh.farewell import bid, wait_for_all
from shoal.mesh.zenoh import LEAVE_S

SLOW_MS = 4000
"""How long the engine waits in these tests for a caller who says nothing."""


class SlowSession:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.said: list[str] = []

    def undeclare(self) -> None:
        self.said.append("the sign goes")

    def close(self) -> None:
        self.gate.wait(30)
        self.said.append("it is closed")
        raise zenoh.ZError("it took too long")


def test_a_session_that_cannot_be_closed_yet_is_let_go_and_closed_later(caplog):
    session = SlowSession()
    bid(session, session, 0.05)
    assert session.said == ["the sign goes"]
    session.gate.set()
    assert wait_for_all()
    assert session.said == ["the sign goes", "it is closed"]
    assert "could not be closed: it took too long" in caplog.text
    assert not wait_for_all(), "nobody is left"
    bid(None, None, None)
    assert not wait_for_all()


def test_one_that_is_closed_at_once_is_waited_for():
    session = SlowSession()
    session.gate.set()
    bid(session, None, 30.0)
    assert session.said == ["it is closed"]


@pytest.mark.parametrize("why", ["the interpreter ends", "there are no more threads"])
def test_where_no_thread_can_be_had_it_is_closed_in_place(monkeypatch, why):
    session = SlowSession()
    session.gate.set()

    class Nobody:
        def is_alive(self) -> bool:
            return False

    def no_more(thread):
        raise RuntimeError("can't start new thread")

    if why == "the interpreter ends":
        monkeypatch.setattr(threading, "main_thread", Nobody)
    else:
        monkeypatch.setattr(threading.Thread, "start", no_more)
    bid(session, session, 0.0)
    assert session.said == ["the sign goes", "it is closed"]
    assert not farewell.wait_for_all()


@pytest.mark.parametrize("calls", [True, False], ids=["it calls", "it is called"])
def test_a_link_closes_although_its_engine_waits_for_somebody(zenoh_fleet, calls):
    """And the next one under its name and its address is there as soon as that can be: while the
    engine waits for somebody whom it called, it keeps its port."""
    slow = {f"transport/unicast/{kind}_timeout": SLOW_MS for kind in ("accept", "open")}
    friend = zenoh_fleet.join("friend")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as caller:
        connect = [*zenoh_fleet.seed, f"tcp/127.0.0.1:{silent.getsockname()[1]}"]
        leaver = zenoh_fleet.join("leaver", settings=slow, connect=connect[: 1 + calls])
        friend.wait_for_peer("leaver")
        friend.wait(lambda: bool(friend.link._peers.visible("leaver")))
        if calls:
            kept, _ = silent.accept()  # and never answered
        else:
            caller.connect(("127.0.0.1", int(leaver.link.addresses[0].rpartition(":")[2])))
            time.sleep(0.2)
        began = time.monotonic()
        leaver.link.close()
        took = time.monotonic() - began
        lingers = [one.name for one in threading.enumerate() if one.name == "shoal-farewell"]
        friend.wait(lambda: not friend.link._peers.visible("leaver"), 3.0)
        assert friend.kinds("leaver") == [PeerUp, PeerDown]
        assert lingers, "this test is about nothing"
        assert LEAVE_S <= took < SLOW_MS / 1000 - 1
        again = zenoh_fleet.join("leaver", listen=leaver.link.addresses)
        again.wait_for_peer("friend")
        if calls:
            kept.close()
    wait_for_all()


def test_a_link_closes_although_its_mesh_is_being_joined_anew(zenoh_fleet):
    """For which the last session must be closed, and that takes its time. Peers that are frozen
    are noticed meanwhile."""
    slow = {"transport/unicast/open_timeout": SLOW_MS}
    friend = zenoh_fleet.join("friend")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect = [*zenoh_fleet.seed, f"tcp/127.0.0.1:{silent.getsockname()[1]}"]
        leaver = zenoh_fleet.join("leaver", settings=slow, connect=connect)
        kept, _ = silent.accept()
        leaver.wait_for_peer("friend")
        leaver.wait(lambda: bool(leaver.link._peers.visible("friend")))
        discovery = leaver.link._zenoh
        discovery._chore(functools.partial(discovery._reopen, "a test wants it"))
        leaver.wait(lambda: leaver.link._peers.unseen() == ["friend"])
        leaver.wait(lambda: any(one.name == "shoal-farewell" for one in threading.enumerate()))
        assert leaver.kinds("friend") == [PeerUp]
        began = time.monotonic()
        leaver.link.close()
        assert time.monotonic() - began < SLOW_MS / 1000 - 1
        friend.wait(lambda: friend.kinds("leaver") == [PeerUp, PeerDown])
        wait_for_all()
        discovery._thread.join(30)
        assert not discovery._thread.is_alive()
        assert discovery._session is None
        kept.close()


@pytest.mark.parametrize("closes", [True, False], ids=["closes its link", "just ends"])
def test_a_process_ends_well_although_its_engine_waits_for_somebody(closes):
    code = (
        "import socket, time\n"
        "from shoal.mesh.zenoh import ZenohLink\n"
        "link = ZenohLink('w', ['tcp/127.0.0.1:0'])\n"
        "link.start(lambda event: True)\n"
        "port = int(link.addresses[0].rpartition(':')[2])\n"
        "stranger = socket.create_connection(('127.0.0.1', port))\n"
        "time.sleep(0.2)\n"
        f"if {closes}: link.close()\n"
        "stranger.detach()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

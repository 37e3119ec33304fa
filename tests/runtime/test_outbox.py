"""What leaves a node: in order for each peer, and a full link to one holds up no other."""

import threading

import numpy as np
import pytest
from tests.runtime.tiny import soon

from shoal.core.actions import Send
from shoal.core.events import Unsent
from shoal.core.messages import Forget, Task
from shoal.errors import FrameError
from shoal.runtime import wire
from shoal.runtime.body import Body
from shoal.runtime.outbox import Outbox


class FakeLink:
    """A link whose peers have ``room`` for so many messages more."""

    def __init__(self):
        self.room = {"a": 1000, "b": 1000}
        self.sent = []
        self.error = None

    def peers(self):
        return dict.fromkeys(self.room, "1")

    def send(self, to, head, body=None, *, work=False, about=None):
        if self.error is not None:
            raise self.error
        if self.room.get(to, 0) <= 0:
            return False
        self.room[to] -= 1
        chunks = body if isinstance(body, tuple) else (body or b"",)
        self.sent.append((to, wire.decode(head).message, b"".join(map(bytes, chunks))))
        return True

    def numbers(self, to):
        return [message.numbers[0] for name, message, _ in self.sent if name == to]


class Box:
    def __init__(self):
        self.link = FakeLink()
        self.unsent = []
        self.failed = []
        self.outbox = Outbox(
            self.link, self.unsent.append, lambda send, text: self.failed.append((send, text))
        )
        self.thread = threading.Thread(target=self.outbox.serve)
        self.thread.start()

    def put(self, to, number):
        self.outbox.put(Send(to, Forget("g", "1", (number,))))

    def close(self):
        self.outbox.stop()
        self.thread.join()


@pytest.fixture
def box():
    box = Box()
    yield box
    box.close()


def task(number, **changes):
    return Task("g", "1", number, 1, 0, "g", 100.0, **changes)


def test_messages_leave_in_order_with_their_bodies(box):
    array = np.arange(3, dtype=np.int8)
    for k in range(5):
        box.put("a", k)
    box.outbox.put(Send("a", task(6), Body({"x": array})))
    soon(lambda: box.outbox.idle)
    assert box.link.numbers("b") == []
    assert [m.numbers[0] for _, m, _ in box.link.sent[:5]] == list(range(5))
    assert box.link.sent[5][2] == array.tobytes()


def test_what_is_lost_on_a_full_link_is_logged_and_holds_up_no_other(box, caplog):
    box.link.room["a"] = 2
    for k in range(4):
        box.put("a", k)
        box.put("b", k)
    soon(lambda: len(box.link.numbers("b")) == 4)
    assert box.link.numbers("a") == [0, 1]
    assert "to a: too much waits already" in caplog.text
    assert box.unsent == []


def test_work_that_finds_no_room_goes_back_to_the_core_at_once(box):
    box.link.room["a"] = 0
    box.outbox.put(Send("a", task(1)))
    soon(lambda: box.unsent)
    assert box.unsent == [Unsent("a", task(1), full=True)]
    assert box.outbox.idle


def test_the_core_is_told_of_what_cannot_reach_anybody(box):
    box.outbox.put(Send("nobody", task(1)))
    box.put("nobody", 2)
    soon(lambda: len(box.unsent) == 2)
    assert [event.full for event in box.unsent] == [False, False]
    assert box.outbox.idle


def test_a_tensor_that_cannot_be_packed_fails_its_request_only(box):
    box.outbox.put(Send("a", task(1), Body({"x": np.zeros(2, complex)})))
    box.outbox.put(Send("a", task(2), Body({"x": np.zeros(2)}), codec="zip"))
    box.put("a", 3)
    soon(lambda: box.link.sent)
    texts = [text for _, text in box.failed]
    assert "complex128, which cannot be sent" in texts[0]
    assert "no codec is called 'zip'" in texts[1]
    soon(lambda: box.outbox.idle)


@pytest.mark.parametrize("error", [FrameError("too large"), RuntimeError("what?")])
def test_no_error_of_the_link_ends_the_thread(box, error, caplog):
    box.link.error = error
    box.outbox.put(Send("a", task(1)))
    soon(lambda: box.failed)
    box.link.error = None
    box.put("a", 2)
    soon(lambda: box.link.sent)
    assert str(error) in box.failed[0][1]


def test_control_messages_say_whether_the_peer_is_there(box):
    assert box.outbox.control("a", wire.Chunk(1, 3), b"abc")
    assert not box.outbox.control("nobody", wire.Ping(1))
    soon(lambda: box.link.sent)
    assert box.link.sent == [("a", wire.Chunk(1, 3), b"abc")]

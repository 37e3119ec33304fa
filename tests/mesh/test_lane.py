"""Frames leave in order: at once where they do not have to wait, else on the lane's thread."""

import threading
import time

import pytest

from shoal.mesh.exchange import Transmit
from shoal.mesh.lane import Lane

SOON_S = 60.0


class Wire:
    """Notes what is put and by whom; what is not swift waits at a gate."""

    def __init__(self):
        self.gate = threading.Event()
        self.waiting = threading.Event()
        self.put_by = []
        self.lane = Lane("lane", self.put, lambda frame: frame.swift)

    def put(self, frame):
        if not frame.swift:
            self.waiting.set()
            assert self.gate.wait(SOON_S)
        self.put_by.append((int(frame.attachment), threading.current_thread().name))

    def post(self, number, swift=True):
        self.lane.post(Transmit("b", b"%d" % number, swift=swift))
        self.lane.push()

    def wait(self, count):
        end = time.monotonic() + SOON_S
        while len(self.put_by) < count:
            assert time.monotonic() < end
            time.sleep(0.002)


@pytest.fixture
def wire():
    wire = Wire()
    yield wire
    wire.gate.set()
    wire.lane.close()
    wire.lane.thread.join(SOON_S)
    assert not wire.lane.thread.is_alive()


def test_a_swift_frame_leaves_on_the_thread_that_brings_it(wire):
    wire.post(1)
    wire.post(2)
    assert wire.put_by == [(1, "MainThread"), (2, "MainThread")]


def test_what_has_to_wait_holds_up_nobody_but_those_behind_it(wire):
    wire.post(1)
    wire.post(2, swift=False)
    assert wire.waiting.wait(SOON_S)
    wire.post(3)  # returns at once
    assert wire.put_by == [(1, "MainThread")]
    wire.gate.set()
    wire.wait(3)
    assert wire.put_by[1:] == [(2, "lane"), (3, "lane")]


def test_what_is_discarded_does_not_leave(wire):
    wire.post(1, swift=False)
    assert wire.waiting.wait(SOON_S)
    wire.post(2)
    wire.lane.discard()
    wire.gate.set()
    wire.wait(1)
    wire.post(3)
    wire.wait(2)
    assert [number for number, _ in wire.put_by] == [1, 3]


def test_frames_of_several_threads_all_leave_in_the_order_in_which_they_were_posted(wire):
    wire.gate.set()
    order, lock = [], threading.Lock()

    def bring(first):
        for number in range(first, first + 300):
            with lock:  # as the link holds while it posts
                wire.lane.post(Transmit("b", b"%d" % number, swift=number % 7 != 0))
                order.append(number)
            wire.lane.push()

    threads = [threading.Thread(target=bring, args=(k * 1000,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wire.wait(900)
    assert [number for number, _ in wire.put_by] == order

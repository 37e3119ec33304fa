"""Events are handled one at a time and in order, by the threads that bring them."""

import math
import threading
import time

import pytest
from tests.runtime.tiny import soon

from shoal.runtime.serial_queue import GUEST_EVENTS, HOST_EVENTS, SerialQueue


class Table:
    """Notes who handled what; an event that can be called is called."""

    def __init__(self):
        self.at = math.inf
        self.handled = []
        self.threads = []
        self.busy = 0
        self.events = SerialQueue("clock", self.handle, lambda: self.at)

    def handle(self, event):
        self.busy += 1
        assert self.busy == 1
        self.handled.append(event)
        self.threads.append(threading.current_thread().name)
        if callable(event):
            event()
        self.busy -= 1

    def bring(self, event, guest=False):
        self.events.put(event)
        self.events.take(guest)


@pytest.fixture
def table():
    table = Table()
    yield table
    table.events.close()


def test_whoever_brings_an_event_handles_it(table):
    table.events.start("first")
    table.bring("second")
    assert table.handled == ["first", "second"]
    assert set(table.threads) == {threading.current_thread().name}


def test_what_comes_before_the_start_is_handled_after_the_first(table):
    table.bring("early")
    assert table.handled == []
    table.events.start("first")
    assert table.handled == ["first", "early"]


def test_what_is_brought_while_another_is_at_it_is_left_to_that_one(table):
    gate, inside = threading.Event(), threading.Event()
    table.events.start("first")
    slow = threading.Thread(
        target=lambda: table.bring(lambda: (inside.set(), gate.wait(60))), name="slow"
    )
    slow.start()
    assert inside.wait(60)
    table.bring("second")  # does not wait
    assert "second" not in table.handled
    gate.set()
    slow.join()
    assert (table.handled[-1], table.threads[-1]) == ("second", "slow")


def test_an_event_may_bring_another_one(table):
    table.events.start("first")
    table.bring(lambda: table.bring("inner"))
    assert table.handled[-1] == "inner"
    assert not table.events.mine


def test_nothing_is_left_behind_and_all_is_in_order_whoever_brings_it(table):
    table.events.start(("main", -1))

    def bring(name):
        for number in range(300):
            table.bring((name, number), guest=name == "0")

    threads = [threading.Thread(target=bring, args=(str(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    soon(lambda: len(table.handled) == 1201)
    for name in "0123":
        assert [n for who, n in table.handled if who == name] == list(range(300))


def test_a_guest_does_not_work_for_others_for_long(table):
    table.events.start("first")
    for number in range(5 * GUEST_EVENTS):
        table.events.put(number)
    table.events.take(guest=True)
    soon(lambda: table.handled[1:] == list(range(5 * GUEST_EVENTS)))
    me = threading.current_thread().name
    assert table.threads.count(me) == 1 + GUEST_EVENTS
    assert table.threads.count("clock") == 4 * GUEST_EVENTS


def test_a_thread_that_has_something_else_to_do_comes_back_to_it(table):
    """However fast others bring events: the one that reads would never hear of an answer again."""
    table.events.start("first")
    left = [10 * HOST_EVENTS]

    def another():
        left[0] -= 1
        if left[0] > 0:
            table.events.put(another)

    table.bring(another)
    soon(lambda: left[0] == 0)
    me = threading.current_thread().name
    assert table.threads.count(me) == 1 + HOST_EVENTS


def test_a_guest_that_is_interrupted_gives_the_turn_back():
    def interrupt():
        raise KeyboardInterrupt

    due, handled = [lambda: math.inf], []
    turns = SerialQueue("clock", handled.append, lambda: due[0]())
    turns.start("first")
    due[0] = interrupt
    turns.put("second")
    with pytest.raises(KeyboardInterrupt):
        turns.take(guest=True)
    due[0] = lambda: math.inf
    assert not turns.mine
    turns.put("third")
    turns.take()
    assert handled == ["first", "second", "third"]
    turns.close()


def test_it_rings_for_what_the_first_event_asked(table):
    table.at = time.monotonic()

    def rung():
        table.at = math.inf if None in table.handled else table.at
        return None in table.handled

    table.events.start("first")
    soon(rung)


def test_it_rings_at_the_time_that_the_last_turn_named(table):
    table.at = time.monotonic() + 60
    table.events.start("first")
    at = time.monotonic() + 0.05

    def ring():
        table.at = at

    def rung():
        if table.handled[-1] is None:
            table.at = math.inf
        return table.handled[-1] is None

    table.bring(ring)
    soon(rung)
    assert time.monotonic() >= at
    assert table.threads[-1] == "clock"


@pytest.mark.parametrize("at", [math.nan, -math.inf, 0.0])
def test_a_time_that_is_none_rings_at_once(table, at):
    table.events.start("first")

    def name_it():
        table.at = at

    def rung():
        table.at = math.inf if None in table.handled else table.at
        return None in table.handled

    table.bring(name_it)
    soon(rung)


def test_waiting_costs_nothing(table):
    table.events.start("first")
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1


def test_after_the_end_nothing_is_handled(table):
    table.events.start("first")
    left = []

    def end():
        table.events.put("late")
        left.extend(table.events.close())

    table.bring(end)
    assert left == ["late"]
    table.bring("later")
    assert table.handled[-1] is end
    assert table.events.left() == ["later"]

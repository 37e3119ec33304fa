"""The queue of a gateway: first come, first served; who has waited before goes first."""

from shoal.core.gateway.queue import Queue


def drain(queue: Queue) -> list[int]:
    order = []
    while (number := queue.first()) is not None:
        order.append(number)
        queue.drop(number)
    return order


def test_first_come_first_served_and_each_once() -> None:
    queue = Queue()
    for number in (1, 2, 3, 2):
        queue.put(number)
    assert len(queue) == 3
    assert drain(queue) == [1, 2, 3]
    assert queue.first() is None


def test_who_waited_before_goes_first() -> None:
    queue = Queue()
    queue.put(5)
    queue.put_first(2)
    assert drain(queue) == [2, 5]


def test_a_paused_request_is_no_turn_of_anybody_until_its_pause_ends() -> None:
    queue = Queue()
    queue.put(9)
    queue.pause(1, until=1.0)
    queue.pause(2, until=2.0)
    assert (queue.first(), queue.next()) == (9, 1.0)
    queue.due(0.5)
    assert queue.first() == 9
    queue.due(2.0)
    assert drain(queue) == [1, 2, 9]
    assert queue.next() is None


def test_a_paused_request_that_is_dropped_does_not_come_back() -> None:
    queue = Queue()
    queue.pause(1, until=1.0)
    queue.drop(1)
    queue.due(5.0)
    assert queue.first() is None


def test_a_queue_that_is_stuck_looks_again_and_does_not_put_it_off() -> None:
    queue = Queue()
    queue.put(1)
    queue.stuck(0.0)
    at = queue.next()
    assert at is not None
    assert 0.0 < at <= 1.0
    queue.stuck(at - 0.01)
    assert queue.next() == at
    queue.due(at)
    assert queue.next() is None

"""The queue of a gateway: by priority, then by deadline, then first come, first served."""

from shoal.core.gateway.queue import Queue, turn


def drain(queue: Queue) -> list[int]:
    order = []
    while (number := queue.first()) is not None:
        order.append(number)
        queue.drop(number)
    return order


def test_first_come_first_served_and_each_once() -> None:
    queue = Queue()
    for number in (1, 2, 3, 2):
        queue.put(turn(number, 0, 9.0))
    assert len(queue) == 3
    assert drain(queue) == [1, 2, 3]
    assert queue.first() is None


def test_who_was_asked_before_goes_first_though_it_comes_again_later() -> None:
    queue = Queue()
    queue.put(turn(5, 0, 9.0))
    queue.put(turn(2, 0, 9.0))
    assert drain(queue) == [2, 5]


def test_a_nearer_deadline_goes_first_and_a_higher_priority_before_it() -> None:
    queue = Queue()
    queue.put(turn(1, 0, 9.0))
    queue.put(turn(2, 0, 5.0))
    queue.put(turn(3, 1, 99.0))
    queue.put(turn(4, -1, 1.0))
    assert drain(queue) == [3, 2, 1, 4]


def test_a_queue_that_many_have_left_is_no_larger_than_it_is_long() -> None:
    queue = Queue()
    for number in range(10_000):
        queue.put(turn(number, 0, -float(number)))
        if number >= 5:
            queue.drop(number - 5)
    assert len(queue._heap) < 200
    assert len(queue) == 5


def test_a_paused_request_is_no_turn_of_anybody_until_its_pause_ends() -> None:
    queue = Queue()
    queue.put(turn(9, 0, 9.0))
    queue.pause(turn(1, 0, 1.0), until=1.0)
    queue.pause(turn(2, 0, 2.0), until=2.0)
    assert (queue.first(), queue.next()) == (9, 1.0)
    queue.due(0.5)
    assert queue.first() == 9
    queue.due(2.0)
    assert drain(queue) == [1, 2, 9]
    assert queue.next() is None


def test_a_paused_request_that_is_dropped_does_not_come_back() -> None:
    queue = Queue()
    queue.pause(turn(1, 0, 1.0), until=1.0)
    queue.drop(1)
    queue.due(5.0)
    assert queue.first() is None


def test_a_queue_that_is_stuck_looks_again_and_does_not_put_it_off() -> None:
    queue = Queue()
    queue.put(turn(1, 0, 9.0))
    queue.stuck(0.0)
    at = queue.next()
    assert at is not None
    assert 0.0 < at <= 1.0
    queue.stuck(at - 0.01)
    assert queue.next() == at
    queue.due(at)
    assert queue.next() is None

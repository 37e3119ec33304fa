from shoal.sim.clock import Clock


def test_what_is_due_happens_in_order_and_time_stands_still_between() -> None:
    clock, seen = Clock(), []
    for at in (0.3, 0.1, 0.2):
        clock.at(at, lambda at=at: seen.append((at, clock.now)))
    clock.run(0.25)
    assert seen == [(0.1, 0.1), (0.2, 0.2)]
    assert clock.now == 0.25
    assert clock.next() == 0.3


def test_what_is_due_at_one_moment_happens_as_it_was_asked_for() -> None:
    clock, seen = Clock(), []
    for k in range(20):
        clock.at(1.0, seen.append, k)
    clock.run(1.0)
    assert seen == list(range(20))


def test_what_is_asked_for_too_late_happens_at_once() -> None:
    clock, seen = Clock(), []
    clock.run(5.0)
    clock.at(1.0, lambda: seen.append(clock.now))
    clock.run(5.0)
    assert seen == [5.0]


def test_what_happens_can_ask_for_more() -> None:
    clock, seen = Clock(), []

    def again() -> None:
        seen.append(clock.now)
        clock.after(0.5, again)

    clock.after(0.5, again)
    clock.run(2.0)
    assert seen == [0.5, 1.0, 1.5, 2.0]

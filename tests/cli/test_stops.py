"""A stop comes at once, or behind what is done whole."""

import os
import signal
from collections.abc import Iterator

import pytest

from shoal.cli.stops import Terminated, raise_stops, whole

CASES = [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number, _ in CASES}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_stops()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "stop"), CASES)
def test_a_stop_comes_at_once(number: int, stop: type[KeyboardInterrupt]) -> None:
    with pytest.raises(stop):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "stop"), CASES)
def test_a_stop_waits_for_what_is_done_whole(number: int, stop: type[KeyboardInterrupt]) -> None:
    done = []

    def tell() -> None:
        with whole():
            os.kill(os.getpid(), number)
            done.append("the rest")

    with pytest.raises(stop):
        tell()
    assert done == ["the rest"]
    with whole():  # and it comes once
        pass


def test_an_error_within_is_that_error() -> None:
    with pytest.raises(ZeroDivisionError), whole():
        raise ZeroDivisionError
    with pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_process_that_was_told_to_ignore_ctrl_c_still_does() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_stops()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)

"""Questions to peers: each is answered once, or was never asked."""

import queue

import pytest

from shoal.runtime.questions import Questions, Replies, Told
from shoal.runtime.wire import Ping, Pong


def test_an_answer_comes_once_and_from_who_was_asked() -> None:
    questions, replies = Questions(lambda to, message, body=None: True), Replies()
    token = questions.ask("a", Ping, replies, about=7)
    assert token is not None
    questions.take("b", Pong(token))
    assert replies.empty()
    for _ in range(2):
        questions.take("a", Pong(token), b"body")
        questions.gone("a")
    assert replies.get_nowait() == Told("a", 7, Pong(token), b"body")
    assert replies.empty()


def test_what_cannot_be_asked_is_told_by_the_answer_to_who_asks_alone() -> None:
    questions, replies = Questions(lambda to, message, body=None: False), Replies()
    assert questions.ask("a", Ping, replies) is None
    questions.gone("a")
    assert (replies.empty(), questions.asked) == (True, {})


def test_a_peer_that_goes_while_it_is_asked_is_told_of_once() -> None:
    def mail(to: str, message: object, body: object = None) -> bool:
        questions.gone(to)
        return False

    questions, replies = Questions(mail), Replies()
    assert questions.ask("a", Ping, replies) is not None
    assert replies.get_nowait() == Told("a", 0, None)
    with pytest.raises(queue.Empty):
        replies.get_nowait()


def test_who_asks_after_the_end_is_told_so_and_nothing_is_sent() -> None:
    sent = []
    questions = Questions(lambda to, message, body=None: sent.append(to) is None)
    waiting = Replies()
    assert questions.ask("a", Ping, waiting) is not None
    questions.close()
    assert waiting.get_nowait().answer is None
    assert questions.ask("b", Ping, waiting) is None
    assert sent == ["a"]

"""What observers are told: each request once asked and once ended, before its client knows."""

import re
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from tests.runtime.test_service import right
from tests.runtime.tiny import SlowEngine, anywhere, images, soon
from tests.toys import distribution

from shoal.core.actions import Reject
from shoal.errors import DeadlineError, InputError, RequestError
from shoal.runtime.observer import GROUP, Observer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "observers.md").read_text(encoding="utf-8")
ENDS = ("answered", "failed", "cancelled", "divided")


class Diary(Observer):
    """Writes down what it is told."""

    def __init__(self):
        self.heard = []
        self.requests = {}
        self.errors = []

    def asked(self, request):
        self.heard.append(("asked", request.number))
        self.requests[request.number] = request

    def answered(self, request, answer):
        assert self.requests[request.number] is request
        self.heard.append(("answered", request.number))

    def failed(self, request, error):
        self.heard.append(("failed", request.number))
        self.errors.append(error)

    def cancelled(self, request):
        self.heard.append(("cancelled", request.number))

    def divided(self, request):
        self.heard.append(("divided", request.number))

    def unclaimed(self, number):
        self.heard.append(("unclaimed", number))

    def peer(self, name, there):
        self.heard.append((name, there))

    def closed(self):
        self.heard.append("closed")


class Broken(Observer):
    """Raises whatever it is told."""

    def _raise(self, *_):
        raise ZeroDivisionError("the observer is to blame")

    asked = answered = failed = cancelled = divided = unclaimed = peer = closed = _raise


@pytest.fixture
def diary():
    return Diary()


@pytest.fixture
def slow(crowd):
    engine = SlowEngine()
    crowd.start("a", engine=engine)
    yield engine
    engine.gate.set()


def test_a_request_is_asked_and_then_answered(crowd, net, diary):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    known = []
    for image in images(2):
        future = service.submit(image)
        future.add_done_callback(lambda _: known.append(len(diary.heard)))
        right(net, future.result(), image)
    assert diary.heard == [("asked", 0), ("answered", 0), ("asked", 1), ("answered", 1)]
    assert known == [2, 4], "it is told before the client is"
    assert [request.images for request in diary.requests.values()] == [1, 1]


def test_several_images_are_one_request(crowd, net, diary):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    for future in service.submit_together(images(5)):
        future.result()
    (request,) = diary.requests.values()
    assert request.images == 5
    assert diary.heard == [("asked", 0), ("answered", 0)]


def test_one_that_workers_died_of_is_divided_and_its_inputs_are_asked_for_one_by_one(
    crowd, net, slow, diary
):
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    slow.gate.clear()
    futures = service.submit_together(images(2))
    service.on_result(Reject(0, "poison", "two workers died"))
    slow.gate.set()
    for future in futures:
        future.result()
    ends = [heard for heard in diary.heard if heard[0] in ENDS]
    assert ends == [("divided", 0), ("answered", 1), ("answered", 2)]
    assert [diary.requests[number].images for number in range(3)] == [2, 1, 1]
    assert service.stats().failed == 0


def test_what_is_refused_at_once_is_no_request(crowd, net, diary):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    with pytest.raises(InputError):
        service.infer(images(1, width=3)[0])
    service.close()
    with pytest.raises(RequestError, match="closed"):
        service.infer(images(1)[0])
    assert diary.heard == ["closed"]


def test_a_request_without_an_answer_has_failed(crowd, net, slow, diary):
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    slow.gate.clear()
    with pytest.raises(DeadlineError):
        service.infer(images(1)[0], deadline_ms=50.0)
    assert diary.heard[:2] == [("asked", 0), ("failed", 0)]
    assert isinstance(diary.errors[0], DeadlineError)


def test_a_request_that_is_cancelled_is_told_so_once(crowd, net, slow, diary):
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    slow.gate.clear()
    future = service.submit(images(1)[0])
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    slow.gate.set()
    service.infer(images(1)[0])
    assert diary.heard == [("asked", 0), ("cancelled", 0), ("asked", 1), ("answered", 1)]


def test_what_is_pending_when_a_service_is_closed_has_failed_before_the_end(
    crowd, net, slow, diary
):
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    slow.gate.clear()
    service.submit(images(1)[0])
    service.close()
    service.close()
    assert diary.heard == [("asked", 0), ("failed", 0), "closed"]


def test_an_answer_too_many_is_unclaimed(crowd, net, diary):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(diary)
    service.infer(images(1)[0])
    service.on_result(Reject(0, "deadline", "as a gateway that is wrong would say"))
    assert diary.heard == [("asked", 0), ("answered", 0), ("unclaimed", 0)]
    assert service.stats().failed == 0


def test_devices_of_the_playbook_come_and_go(crowd, net, diary):
    crowd.start("a", "b")
    service = crowd.serve(anywhere(net, "a", "b"))
    service.add_observer(diary)
    crowd.kill("b")
    soon(lambda: diary.heard == [("b", False)])
    crowd.start("stranger")
    crowd.start("b")
    soon(lambda: diary.heard == [("b", False), ("b", True)])


def test_one_that_raises_harms_no_request_and_no_other_observer(crowd, net, slow, diary, caplog):
    crowd.start("b")
    service = crowd.serve(anywhere(net, "a"))
    service.add_observer(Broken())
    service.add_observer(diary)
    (image,) = images(1)
    right(net, service.infer(image), image)
    slow.gate.clear()
    with pytest.raises(DeadlineError):
        service.infer(image, deadline_ms=50.0)
    slow.gate.set()
    service.close()
    assert [word for word, *_ in diary.heard[:4]] == ["asked", "answered", "asked", "failed"]
    assert diary.heard[-1] == "closed"
    told = [record for record in caplog.records if "the observer Broken failed" in record.message]
    assert len(told) >= 5
    assert all(record.exc_info[0] is ZeroDivisionError for record in told)


def test_one_that_is_removed_hears_no_more(crowd, net, diary):
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))
    other = Diary()
    for observer in (diary, other):
        service.add_observer(observer)
    service.infer(images(1)[0])
    service.remove_observer(diary)
    service.infer(images(1)[0])
    assert len(diary.heard) == 2
    assert len(other.heard) == 4


def test_one_that_asks_where_it_is_told_of_a_request_is_told_so(crowd, net, caplog):
    """It would wait for itself, or the gateway would be given requests out of their order."""
    crowd.start("a")
    service = crowd.serve(anywhere(net, "a"))

    class Curious(Observer):
        def asked(self, request):
            service.submit(images(1)[0])

    service.add_observer(Curious())
    (image,) = images(1)
    for _ in range(3):
        right(net, service.infer(image), image)
    assert service.stats().answered == 3
    assert "cannot ask for another" in caplog.text


def test_whoever_asks_each_request_is_asked_in_order_and_ends_once(crowd, net, diary):
    crowd.start("a", "b")
    service = crowd.serve(anywhere(net, "a", "b"))
    service.add_observer(diary)

    def ask(seed):
        for number, image in enumerate(images(40, seed)):
            future = service.submit(image)
            if number % 5 == 0:
                future.cancel()

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def ends():
        return [number for word, number in diary.heard if word in ENDS]

    soon(lambda: len(ends()) == 160)
    asked = [number for word, number in diary.heard if word == "asked"]
    assert asked == list(range(160))
    assert sorted(ends()) == asked
    place = {heard: at for at, heard in reversed([*enumerate(diary.heard)])}
    for word in ENDS:
        for number in asked:
            assert place["asked", number] < place.get((word, number), len(diary.heard))


# -- those that other distributions bring


CODE = """
from shoal.runtime.observer import Observer

made = []

class Mine(Observer):
    def __init__(self, service):
        self.network = service.playbook.network
        self.answers = 0

    def answered(self, request, answer):
        self.answers += 1

def observer(service):
    made.append(Mine(service))
    return made[-1]

def nothing(service):
    return None

def worse(service):
    raise OSError("no disk")
"""


def test_those_of_other_distributions_hear_too_and_a_broken_one_is_logged(
    crowd, net, tmp_path, monkeypatch, caplog
):
    monkeypatch.syspath_prepend(str(tmp_path))
    named = {
        "absent": "no_such_module:x",
        "good": "watchful:observer",
        "none": "watchful:nothing",
        "worse": "watchful:worse",
        "wrong": "watchful:made",
    }
    distribution.write(tmp_path, "watchful", distribution.entries(GROUP, **named), CODE)
    crowd.start("a")
    try:
        service = crowd.serve(anywhere(net, "a"))
        (mine,) = sys.modules["watchful"].made
    finally:
        sys.modules.pop("watchful", None)
    service.infer(images(1)[0])
    assert (mine.network, mine.answers) == (net.name, 1)
    said = [record.message for record in caplog.records if "without the observer" in record.message]
    assert len(said) == 3
    for name, why in (("absent", "ModuleNotFoundError"), ("worse", "no disk"), ("wrong", "list")):
        (line,) = (line for line in said if f"{name!r}" in line)
        assert "of watchful 1.2" in line
        assert why in line


# -- what the page says


def test_the_page_shows_what_works_and_names_all_that_is_told(crowd, net, slow, capsys):
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(shown) == 2
    service = crowd.serve(anywhere(net, "a"))
    names = {"service": service}
    for code in shown:
        exec(code, names)
    assert isinstance(names["failures"](service), Observer)
    slow.gate.clear()
    with pytest.raises(DeadlineError):
        service.infer(images(1)[0], deadline_ms=50.0)
    assert "request 0, 1 images: no answer" in capsys.readouterr().out
    told = {name for name, member in vars(Observer).items() if callable(member)}
    assert set(re.findall(r"`(\w+)\((?:\w+(?:, \w+)*)?\)`", PAGE)) == told
    assert f'entry-points."{GROUP}"' in PAGE

"""What a worker says of itself: what it has loaded, and how busy it is."""

from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import one, plan, playbook

from shoal.core.actions import Run
from shoal.core.events import Appeared, Loaded, Tick, Vanished
from shoal.core.messages import Busy, Holding, Install, Load, Uninstall

LINE = playbook(plan("line", one(0, 6, "a"), one(6, 12, "b")))
CHOICE = playbook(plan("choice", one(0, 6, "bc"), one(6, 12, "ad")))


def test_what_is_loaded_is_said_to_everybody_when_all_of_it_is() -> None:
    worker = LoneWorker(LINE, "bc")
    book = playbook(plan("two", one(0, 4, "a"), one(4, 12, "a")), id="two")
    worker.hear("g", Install(book, ("book", "two")))
    assert sent(Holding, worker.take(Loaded("two", "0-4"))) == []
    said = sent(Holding, worker.take(Loaded("two", "4-12")))
    assert said == [(name, Holding(("0-4", "0-6", "4-12"))) for name in ("g", "b", "c")]
    assert sent(Holding, worker.hear("g", Uninstall("two"))) == [
        (name, Holding(("0-6",))) for name in ("g", "b", "c")
    ]


def test_who_appears_hears_what_is_loaded() -> None:
    worker = LoneWorker(LINE)
    assert sent(Holding, worker.take(Appeared("x", "x1"))) == [("x", Holding(("0-6",)))]


def test_what_a_peer_has_loaded_is_known() -> None:
    worker = LoneWorker(LINE)
    worker.hear("b", Holding(("6-12",)))
    peer = worker.core.members.get("b")
    assert peer is not None
    assert peer.parts == {"6-12"}


def test_those_who_choose_hear_of_the_load_when_it_changes_and_not_too_often() -> None:
    worker = LoneWorker(CHOICE)
    actions = worker.task(0, "choice", 1, giver="b")
    assert sent(Busy, actions) == [(name, Busy(Load(0, 1))) for name in ("b", "c")]
    worker.now = 0.05
    assert sent(Busy, worker.task(1, "choice", 1, giver="c")) == []
    worker.now = 0.1
    assert sent(Busy, worker.take(Tick())) == [(name, Busy(Load(1, 1))) for name in ("b", "c")]
    worker.now = 0.5
    assert sent(Busy, worker.take(Tick())) == []


def test_one_who_chooses_and_was_out_of_sight_hears_of_the_load_again() -> None:
    worker = LoneWorker(CHOICE)
    (run,) = of(Run, worker.task(0, "choice", 1, giver="c"))
    worker.take(Vanished("b", "b1"))
    worker.now = 0.2
    assert [to for to, _ in sent(Busy, worker.ran(run))] == ["c"]
    assert sent(Busy, worker.take(Appeared("b", "b1"))) == [("b", Busy(Load(0, 0, 0, 10.0)))]
    assert sent(Busy, worker.take(Appeared("x", "x1"))) == []


def test_where_there_is_no_choice_nothing_is_said() -> None:
    worker = LoneWorker(LINE)
    (action,) = worker.task(0, "line")
    assert isinstance(action, Run)


def test_a_hop_hears_how_busy_its_neighbours_are() -> None:
    worker = LoneWorker(CHOICE)
    worker.hear("b", Busy(Load(3, 1, 0, 5.0)))
    assert worker.core.neighbours["b"].work_ms == 20.0

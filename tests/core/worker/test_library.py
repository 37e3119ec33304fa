"""The library of a worker: each part loaded once, while somebody needs it, within memory."""

import math
from typing import TypeVar

from msgspec.structs import replace
from tests.core.toys import MIB, one, pipeline, plan, playbook

from shoal.core.actions import FetchPart, LoadPart, Send, UnloadPart, WorkerAction
from shoal.core.messages import Install, Installed, Loading
from shoal.core.worker.library import IDLE_S, MAX_PLAYBOOKS, Library
from shoal.core.worker.trials import PATIENCE_S

T = TypeVar("T")
BOOK = playbook(pipeline("ab", "a", "b"), plan("a", one(0, 12, "a")))


def loads(actions: list[WorkerAction]) -> list[str]:
    return [action.part for action in actions if isinstance(action, FetchPart)]


def unloads(actions: list[WorkerAction]) -> list[str]:
    return sorted(action.part for action in actions if isinstance(action, UnloadPart))


def told(kind: type[T], actions: list[WorkerAction]) -> dict[str, T]:
    sends = [action for action in actions if isinstance(action, Send)]
    return {send.to: send.message for send in sends if isinstance(send.message, kind)}


def reports(actions: list[WorkerAction]) -> dict[str, Installed]:
    return told(Installed, actions)


def filled(*parts: str) -> Library:
    library = Library("a")
    library.install("g", Install(BOOK), 0.0)
    for part in parts:
        library.loaded(part, None)
    return library


def test_the_parts_of_this_device_are_loaded_and_reported_when_all_have_ended() -> None:
    library = Library("a")
    actions = library.install("g", Install(BOOK), 0.0)
    assert loads(actions) == ["0-6"]
    assert reports(actions) == {}
    assert not library.ready("0-6")
    actions = library.loaded("0-6", None)
    assert library.ready("0-6")
    assert reports(actions) == {}
    assert loads(actions) == ["0-12"], "one after the other"
    assert reports(library.loaded("0-12", None)) == {"g": Installed("book", ("0-6", "0-12"))}
    assert library.plan("book", "ab") == BOOK.plans[0]
    assert library.plan("book", "none") is None
    assert library.plan("none", "ab") is None


def test_a_part_that_cannot_be_loaded_is_refused_with_the_reason_and_tried_when_asked_again() -> (
    None
):
    library = filled("0-6")
    said = reports(library.loaded("0-12", "the disk is full"))
    assert said == {"g": Installed("book", ("0-6",), {"0-12": "the disk is full"})}
    actions = library.install("g", Install(BOOK), 0.0)
    assert loads(actions) == ["0-12"]
    assert reports(library.loaded("0-12", None))["g"].refused == {}


def test_what_does_not_fit_into_memory_is_refused_and_the_rest_is_loaded() -> None:
    library = Library("a", memory_limit=MIB)
    actions = library.install("g", Install(BOOK), 0.0)
    assert loads(actions) == ["0-6"]
    said = reports(library.loaded("0-6", None))["g"]
    assert said.ready == ("0-6",)
    assert "1 of 1 MiB are taken" in said.refused["0-12"]


def test_a_part_that_two_playbooks_need_is_loaded_once_and_stays_for_the_second() -> None:
    other = playbook(plan("a", one(0, 12, "a")), id="other")
    library = filled("0-6", "0-12")
    actions = library.install("h", Install(other), 0.0)
    assert loads(actions) == []
    assert reports(actions) == {"h": Installed("other", ("0-12",))}
    assert unloads(library.uninstall("g", "book")) == ["0-6"]
    assert library.ready("0-12")
    assert unloads(library.uninstall("h")) == ["0-12"]
    assert not library.ready("0-12")


def test_a_playbook_stays_while_one_of_its_owners_does_and_all_owners_are_told() -> None:
    library = Library("a")
    library.install("g", Install(BOOK), 0.0)
    library.install("h", Install(BOOK), 0.0)
    library.loaded("0-6", None)
    assert set(reports(library.loaded("0-12", None))) == {"g", "h"}
    assert library.uninstall("g") == []
    assert library.playbook("book") == BOOK
    assert unloads(library.uninstall("h", "book")) == ["0-12", "0-6"]
    assert library.playbook("book") is None


def test_a_part_that_is_loaded_when_nobody_needs_it_any_more_is_unloaded() -> None:
    library = filled()
    assert library.uninstall("g") == [], "nothing is loaded yet"
    assert library.loaded("0-6", None) == [UnloadPart("0-6")], "and nothing more is loaded"
    assert not library.ready("0-6")


def test_a_part_that_is_needed_again_while_it_is_loaded_in_vain_is_loaded_anew() -> None:
    library = filled()
    library.uninstall("g")
    actions = library.install("h", Install(BOOK), 0.0)
    assert loads(actions) == []
    actions = library.loaded("0-6", None)
    assert (unloads(actions), loads(actions)) == (["0-6"], ["0-6"])
    library.loaded("0-6", None)
    assert reports(library.loaded("0-12", None)) == {"h": Installed("book", ("0-6", "0-12"))}


def test_who_waits_for_a_part_hears_before_it_is_loaded() -> None:
    """If the device dies then, it has died of that; what it only sent may be lost with it."""
    library = Library("a")
    assert told(Loading, library.install("g", Install(BOOK), 0.0)) == {}
    assert library.fetched("0-6", 0.0) == [Send("g", Loading("0-6"))]
    assert library.fetched("0-6", 0.0) == []
    assert library.heard("g", "0-12") == []
    assert library.heard("h", "0-6") == []
    assert library.heard("g", "0-6") == [LoadPart("book", "0-6", BOOK.parts["0-6"])]
    assert library.heard("g", "0-6") == [], "once"
    assert told(Loading, library.install("h", Install(BOOK), 0.0)) == {"h": Loading("0-6")}
    library.loaded("0-6", None)
    assert told(Loading, library.fetched("0-12", 0.0)) == dict.fromkeys("gh", Loading("0-12"))
    assert library.heard("g", "0-12") == [], "not before all have"
    assert library.heard("h", "0-12") == [LoadPart("book", "0-12", BOOK.parts["0-12"])]


def test_who_comes_to_wait_for_a_part_is_waited_for_too() -> None:
    library = filled()
    library.fetched("0-6", 0.0)
    library.install("h", Install(BOOK), 0.0)
    assert library.heard("g", "0-6") == []
    assert library.heard("h", "0-6") == [LoadPart("book", "0-6", BOOK.parts["0-6"])]


def test_who_says_nothing_is_not_waited_for_for_long() -> None:
    library = filled()
    assert library.next() is None
    library.fetched("0-6", 1.0)
    assert library.next() == 1.0 + PATIENCE_S
    assert library.due(0.9 + PATIENCE_S) == []
    assert library.due(1.0 + PATIENCE_S) == [LoadPart("book", "0-6", BOOK.parts["0-6"])]
    assert library.next() is None


def test_who_is_gone_is_not_waited_for() -> None:
    library = filled()
    library.install("h", Install(BOOK), 0.0)
    library.fetched("0-6", 0.0)
    library.heard("g", "0-6")
    assert library.uninstall("h") == [LoadPart("book", "0-6", BOOK.parts["0-6"])]


def test_what_is_not_needed_any_more_when_all_have_heard_is_not_loaded() -> None:
    library = filled()
    library.fetched("0-6", 0.0)
    assert library.uninstall("g") == []
    assert library.next() is None
    assert library.due(PATIENCE_S) == []
    assert loads(library.install("h", Install(BOOK), 0.0)) == ["0-6"]


def test_what_was_fetched_in_vain_is_not_loaded() -> None:
    library = filled()
    library.uninstall("g")
    assert library.fetched("0-6", 0.0) == []
    assert loads(library.install("h", Install(BOOK), 0.0)) == ["0-6"]


def test_what_is_barred_is_refused_with_the_reason_and_the_rest_is_loaded() -> None:
    library = Library("a")
    actions = library.install("g", Install(BOOK, barred={"0-6": "it died of it"}), 0.0)
    assert loads(actions) == ["0-12"]
    said = reports(library.loaded("0-12", None))["g"]
    assert said == Installed("book", ("0-12",), {"0-6": "it died of it"})
    actions = library.install("g", Install(BOOK, barred={"0-12": "it died of it"}), 0.0)
    assert loads(actions) == ["0-6"], "what is loaded is loaded"
    assert reports(library.loaded("0-6", None))["g"].refused == {}


def test_a_device_without_a_part_says_so_at_once() -> None:
    library = Library("z")
    actions = library.install("g", Install(BOOK), 0.0)
    assert actions == [Send("g", Installed("book", ()))]


def crowded() -> Library:
    """A library with as many playbooks as it takes, one each second."""
    library = Library("a")
    for k in range(MAX_PLAYBOOKS):
        book = playbook(plan("a", one(0, 12, "a")), id=f"book{k}")
        library.install(f"gateway{k}", Install(book), float(k))
    return library


def test_the_number_of_playbooks_is_bounded() -> None:
    library = crowded()
    said = reports(library.install("g", Install(BOOK), IDLE_S - 1))
    assert set(said["g"].refused) == {"0-6", "0-12"}
    assert "stop one of them" in said["g"].refused["0-6"]
    assert library.playbook("book") is None


def test_the_playbook_that_was_not_used_for_longest_makes_room_for_another() -> None:
    library = crowded()
    library.loaded("0-12", None)
    library.use("book0", 5.0)
    now = IDLE_S + 4.0
    actions = library.install("g", Install(BOOK), now, busy={"book1"})
    assert loads(actions) == ["0-6"]
    assert unloads(actions) == [], "others need its part"
    gone = [k for k in range(MAX_PLAYBOOKS) if library.playbook(f"book{k}") is None]
    assert gone == [2], "of the first two something was asked for, or is here"


def test_so_many_images_are_run_as_there_is_memory_for_beside_the_parts() -> None:
    parts = {
        name: replace(info, activations=MIB // 2 if name == "0-12" else 0)
        for name, info in BOOK.parts.items()
    }
    library = Library("a", memory_limit=4 * MIB)
    assert library.most_images("0-12") == math.inf, "nothing is known of it"
    library.install("g", Install(replace(BOOK, parts=parts)), 0.0)
    # Two parts of 1 MiB each, which counts one image: 2 MiB are left for others.
    assert library.most_images("0-12") == 5
    assert library.most_images("0-6") == math.inf
    assert library.too_large("0-12", 5) == ""
    assert library.too_large("0-6", 1000) == ""
    text = library.too_large("0-12", 9)
    assert "9 images at once take 4 MiB" in text
    assert "limit is 4 MiB" in text
    assert "send at most 5 at once" in text


def test_one_image_is_always_run_and_without_a_limit_any_number() -> None:
    parts = {name: replace(info, activations=100 * MIB) for name, info in BOOK.parts.items()}
    for limit, most in ((2 * MIB, 1), (0, math.inf)):
        library = Library("a", memory_limit=limit)
        library.install("g", Install(replace(BOOK, parts=parts)), 0.0)
        assert library.most_images("0-12") == most

"""A library at the last byte and at the moment, and when what was in vain is wanted again."""

import math

from msgspec.structs import replace
from tests.core.toys import MIB, every, one, pipeline, plan, playbook
from tests.core.worker.test_library import BOOK, loads, reports, told, unloads

from shoal.core.actions import LoadPart
from shoal.core.messages import Install, Loading
from shoal.core.worker.library import IDLE_S, MAX_PLAYBOOKS, Library
from shoal.core.worker.trials import PATIENCE_S
from shoal.plan.plan import Playbook


def books(count: int) -> list[Playbook]:
    """Playbooks that share no part on ``a``."""
    first = playbook(plan("a", one(0, 12, "b")))
    return [replace(first, id=f"book {k}") for k in range(count)]


def loaded(library: Library, book: Playbook, owner: str = "g") -> Library:
    library.install(owner, Install(book), 0.0)
    for part in book.parts_of("a"):
        library.loaded(part, None)
    return library


# -- memory


def test_what_just_fits_is_loaded_and_what_is_unloaded_has_made_room() -> None:
    library = loaded(Library("a", memory_limit=2 * MIB), BOOK)
    assert library.held == ("0-12", "0-6")
    assert library.crowded("0-6") is not None
    more = playbook(plan("other", one(3, 9, "a")), id="more")
    actions = library.install("h", Install(more), 0.0)
    assert list(reports(actions)["h"].refused) == ["3-9"]
    assert unloads(library.uninstall("g")) == ["0-12", "0-6"]
    assert library.held == ()
    assert loads(library.install("h", Install(more), 0.0)) == ["3-9"]
    assert reports(library.loaded("3-9", None))["h"].ready == ("3-9",)
    assert library.crowded("3-9") is None, "there is room for one more"


def test_a_part_that_could_not_be_loaded_takes_no_memory() -> None:
    library = Library("a", memory_limit=2 * MIB)
    library.install("g", Install(BOOK), 0.0)
    library.loaded("0-6", "no disk")
    library.loaded("0-12", None)
    assert library.held == ("0-12",)
    more = playbook(plan("other", one(3, 9, "a")), id="more")
    assert loads(library.install("h", Install(more), 0.0)) == ["3-9"]


def test_just_so_many_images_are_taken_as_there_is_room_for() -> None:
    info = replace(BOOK.parts["0-6"], memory=100, activations=10)
    book = replace(BOOK, parts={**BOOK.parts, "0-6": info, "0-12": replace(info, activations=0)})
    library = loaded(Library("a", memory_limit=230), book)
    assert library.most_images("0-6") == 1 + 3
    assert library.too_large("0-6", 4) == ""
    assert "5 images" in library.too_large("0-6", 5)
    assert library.most_images("0-12") == math.inf
    full = loaded(Library("a", memory_limit=200), book)
    assert full.most_images("0-6") == 1


# -- how many playbooks


def test_one_that_was_not_used_for_just_so_long_makes_room() -> None:
    for idle_s, busy, room in (
        (IDLE_S, (), True),
        (math.nextafter(IDLE_S, 0.0), (), False),
        (IDLE_S, [f"book {k}" for k in range(MAX_PLAYBOOKS)], False),
    ):
        *served, another = books(MAX_PLAYBOOKS + 1)
        library = Library("a")
        for book in served:
            library.install(f"owner of {book.id}", Install(book), 0.0)
        library.use("book 0", 5.0)
        library.use("no book", 5.0)
        actions = library.install("h", Install(another), idle_s, busy)
        assert (library.playbook(another.id) is not None) == room
        assert (library.playbook("book 1") is None) == room, "the first of those used least"
        assert library.playbook("book 0") is not None
        assert list(reports(actions)) == ["h"]


def test_a_playbook_that_its_owner_uses_no_more_goes_and_those_of_others_stay() -> None:
    one_book, other, third = books(3)
    library = Library("a")
    library.install("g", Install(one_book), 0.0)
    library.install("g", Install(other, in_use=(one_book.id,)), 0.0)
    library.install("h", Install(one_book), 0.0)
    library.install("g", Install(third, in_use=(other.id,)), 0.0)
    assert library.playbook(one_book.id) is not None, "h uses it"
    library.install("h", Install(third), 0.0)
    assert library.playbook(one_book.id) is None
    assert library.playbook(other.id) is not None
    library.uninstall("g", other.id)
    assert library.playbook(other.id) is None
    library.uninstall("g")
    assert library.playbook(third.id) is not None
    library.uninstall("h")
    assert library.playbook(third.id) is None


# -- loading


def test_all_who_wait_are_heard_or_waited_for_to_the_moment() -> None:
    library = Library("a")
    for owner in "gh":
        library.install(owner, Install(BOOK), 0.0)
    actions = library.fetched("0-6", 1.0)
    assert sorted(told(Loading, actions)) == ["g", "h"]
    assert library.next() == 1.0 + PATIENCE_S
    assert library.fetched("0-6", 1.0) == [], "once"
    assert library.heard("g", "0-12") == []
    assert library.heard("g", "0-6") == []
    assert library.due(math.nextafter(1.0 + PATIENCE_S, 0.0)) == []
    (load,) = library.due(1.0 + PATIENCE_S)
    assert isinstance(load, LoadPart)
    assert load.part == "0-6"
    assert library.next() is None
    assert library.heard("h", "0-6") == [], "it has begun"
    assert library.due(99.0) == []
    assert loads(library.loaded("0-6", None)) == ["0-12"]


def test_what_is_wanted_again_after_it_was_in_vain_comes_in_its_turn() -> None:
    library = Library("a")
    library.install("g", Install(BOOK), 0.0)
    library.uninstall("g")
    assert library.fetched("0-12", 0.0) == [], "nobody asked for that now"
    assert library.fetched("0-6", 0.0) == []
    assert library.held == ()
    assert loads(library.install("g", Install(BOOK), 0.0)) == ["0-6"]
    assert library.held is None, "some are being loaded"
    library.loaded("0-6", None)
    assert library.held is None
    library.loaded("0-12", None)
    assert library.held == ("0-12", "0-6")
    assert library.loaded("0-12", None) == [], "it was loaded before"


# -- who chooses


def test_those_choose_who_come_before_a_stage_that_several_can_run() -> None:
    def choosers(*plans: object) -> tuple[str, ...]:
        library = Library("a")
        library.install("g", Install(playbook(*plans)), 0.0)  # type: ignore[arg-type]
        return library.choosers

    assert choosers(plan("p", one(0, 6, "cb"), one(6, 12, "ad"))) == ("b", "c")
    assert choosers(plan("p", one(0, 6, "ab"), one(6, 12, "ad"))) == ("b",)
    assert choosers(pipeline("p", "b", "a")) == ()
    assert choosers(plan("p", one(0, 6, "b"), one(6, 12, "cd"))) == ()
    assert choosers(plan("p", one(0, 6, "b"), every(6, 12, "ac"))) == ()
    assert choosers(plan("p", one(0, 12, "ab"))) == ()

"""What there is no memory for is brought to the store, when it is asked for so."""

from __future__ import annotations

from msgspec.structs import replace
from tests.core.toys import MIB, one, plan, playbook
from tests.core.worker.test_library import loads, reports, told

from shoal.core.actions import LoadPart
from shoal.core.messages import Install, Loading
from shoal.core.worker.library import Library

BASE = playbook(plan("base", one(0, 12, "a")))
NEXT = playbook(plan("next", one(0, 6, "a"), one(6, 12, "a")), id="next")
ASKED = Install(NEXT, in_use=("book", "next"), bring=True)


def crowded() -> Library:
    """Its memory is taken by the base."""
    library = Library("a", memory_limit=2 * MIB)
    taken = replace(BASE, parts={"0-12": replace(BASE.parts["0-12"], memory=2 * MIB)})
    library.install("g", Install(taken), 0.0)
    library.loaded("0-12", None)
    return library


def test_it_is_brought_and_said_to_lack_memory_only() -> None:
    library = crowded()
    asked = library.install("g", ASKED, 0.0)
    assert (loads(asked), reports(asked)) == (["0-6"], {})
    first = library.fetched("0-6", 0.0)
    assert (loads(first), told(Loading, first), reports(first)) == (["6-12"], {}, {})
    said = reports(library.fetched("6-12", 0.0))["g"]
    assert (said.ready, said.brought) == ((), ("0-6", "6-12"))
    assert all("too little memory" in why for why in said.refused.values())
    assert not library.ready("0-6")


def test_without_that_nothing_is_brought() -> None:
    asked = crowded().install("g", replace(ASKED, bring=False), 0.0)
    assert loads(asked) == []
    assert reports(asked)["g"].brought == ()


def test_it_is_loaded_when_there_is_room_and_asked_for_again() -> None:
    library = crowded()
    library.install("g", ASKED, 0.0)
    library.fetched("0-6", 0.0)
    library.fetched("6-12", 0.0)
    library.uninstall("g", "book")
    assert loads(library.install("g", ASKED, 1.0)) == ["0-6"]
    library.fetched("0-6", 1.0)
    began = library.heard("g", "0-6")
    assert [action.part for action in began if isinstance(action, LoadPart)] == ["0-6"]
    library.loaded("0-6", None)
    said = reports(library.loaded("6-12", None))["g"]
    assert (said.ready, said.refused, said.brought) == (("0-6", "6-12"), {}, ())


def test_room_that_comes_while_it_is_brought_is_used() -> None:
    library = crowded()
    library.install("g", ASKED, 0.0)
    library.uninstall("g", "book")
    assert loads(library.install("g", ASKED, 1.0)) == [], "it is on its way"
    assert told(Loading, library.fetched("0-6", 1.0)) == {"g": Loading("0-6")}


def test_what_could_not_be_brought_is_refused_for_that() -> None:
    library = crowded()
    library.install("g", ASKED, 0.0)
    library.loaded("0-6", "nobody gives it")
    said = reports(library.fetched("6-12", 0.0))["g"]
    assert (said.refused["0-6"], said.brought) == ("nobody gives it", ("6-12",))


def test_nobody_needs_it_any_more() -> None:
    library = crowded()
    library.install("g", ASKED, 0.0)
    library.uninstall("g", "next")
    assert loads(library.fetched("0-6", 0.0)) == [], "nor what was to come"

"""What is in reserve is no plan that anybody could follow, and time alone puts it in place."""

from __future__ import annotations

import msgspec
from tests.core.alone import LoneGateway, sent
from tests.core.toys import every, in_reserve, one, plan, playbook

from shoal.core.events import Adopt, Appeared, Tick, Vanished
from shoal.core.gateway.usable import fitting
from shoal.core.messages import DeviceInfo, Hello, Install, Installed, Uninstall
from shoal.plan.identity import from_reserve
from shoal.plan.plan import Reserve

MAIN = plan("abc", every(0, 8, "abc", least=3), one(8, 12, "bc"))
RESERVED = in_reserve(plan("bc", every(0, 8, "bc", least=2), one(8, 12, "bc")), "a", 10.0)
BOOK = playbook(MAIN, RESERVED)
ALONE = from_reserve(BOOK, RESERVED)


def lost(gateway: LoneGateway, at: float = 0.0) -> None:
    gateway.now = at
    gateway.take(Vanished("a", "a1"))


def brought(name: str) -> Installed:
    parts = ALONE.parts_of(name)[:1]
    return Installed(ALONE.id, ("8-12",), dict.fromkeys(parts, "no room"), parts)


def tick(gateway: LoneGateway, at: float) -> list[str]:
    gateway.now = at
    return [to for to, install in sent(Install, gateway.take(Tick())) if install.playbook != BOOK]


def test_its_parts_are_nobodys_before() -> None:
    assert BOOK.parts_of("b") == ("0-8/1", "8-12")
    assert ALONE.parts_of("b") == ("0-8/0+", "8-12")
    assert ALONE.parts.keys() == {"0-8/0+", "0-8/1+", "8-12"}
    assert ALONE.in_place == ALONE.plans


def test_who_waits_for_it_waits_for_nothing() -> None:
    """A request is too large for a part of the only plan in place: it is told so."""
    assert fitting(BOOK, frozenset()).plans == (MAIN,)
    assert fitting(BOOK, frozenset({("a", "0-8/0")})).plans == ()


def test_it_is_put_in_place_when_the_time_has_come_and_not_before() -> None:
    gateway = LoneGateway(BOOK)
    lost(gateway)
    assert gateway.node.wake_at <= 10.0
    assert tick(gateway, 9.9) == []
    assert tick(gateway, 10.0) == ["b", "c"]
    assert tick(gateway, 11.5) == ["b", "c"], "who says nothing is asked again"


def test_it_stays_until_the_lost_one_has_its_parts_again() -> None:
    gateway = LoneGateway(BOOK)
    lost(gateway)
    tick(gateway, 10.0)
    for name in "bc":
        gateway.installed(name, ALONE)
    gateway.now = 12.0
    gateway.take(Appeared("a", "a2"))
    assert not sent(Uninstall, gateway.hear("a", Hello(DeviceInfo("a", "a2"))))
    refused = Installed(BOOK.id, (), {"0-8/0": "too little memory"})
    assert not sent(Uninstall, gateway.hear("a", refused))
    dropped = sent(Uninstall, gateway.installed("a", BOOK))
    assert dropped == [(name, Uninstall(ALONE.id)) for name in "bc"]


def test_a_playbook_without_reserve_is_left_alone() -> None:
    gateway = LoneGateway(playbook(MAIN))
    lost(gateway)
    assert tick(gateway, 1000.0) == []


def test_where_there_is_memory_for_one_only_the_other_makes_room_when_all_is_there() -> None:
    reserve = Reserve(("a",), 10.0, instead=True)
    book = playbook(MAIN, msgspec.structs.replace(RESERVED, reserve=reserve))
    gateway = LoneGateway(book)
    lost(gateway)
    gateway.now = 10.0
    asked = sent(Install, gateway.take(Tick()))
    assert [(to, install.bring) for to, install in asked] == [("b", True), ("c", True)]
    assert gateway.hear("b", brought("b")) == [], "c has not its parts yet"
    swapped = gateway.hear("c", brought("c"))
    assert sent(Uninstall, swapped) == [(name, Uninstall(book.id)) for name in "bc"]
    assert [(to, i.playbook.id) for to, i in sent(Install, swapped)] == [
        (name, ALONE.id) for name in "bc"
    ]
    for name in "bc":
        gateway.installed(name, ALONE)
    again = gateway.take(Vanished("b", "b1")) + gateway.take(Appeared("b", "b2"))
    again += gateway.hear("b", Hello(DeviceInfo("b", "b2")))
    assert [install.playbook.id for _, install in sent(Install, again)] == [ALONE.id]
    gateway.installed("b", ALONE)
    gateway.ask(0)
    gateway.appears("a", "a2")
    back = gateway.installed("a", book)
    assert sent(Uninstall, back) == [(name, Uninstall(ALONE.id)) for name in "bc"]
    assert [(to, i.playbook.id) for to, i in sent(Install, back)] == [
        (name, book.id) for name in "bc"
    ]


def test_where_there_is_memory_for_both_none_makes_room() -> None:
    reserve = Reserve(("a",), 10.0, instead=True)
    gateway = LoneGateway(playbook(MAIN, msgspec.structs.replace(RESERVED, reserve=reserve)))
    lost(gateway)
    gateway.now = 10.0
    gateway.take(Tick())
    for name in "bc":
        assert not sent(Uninstall, gateway.installed(name, ALONE))


def test_who_made_room_is_served_again_though_the_base_was_adopted_once_more() -> None:
    reserve = Reserve(("a",), 10.0, instead=True)
    book = playbook(MAIN, msgspec.structs.replace(RESERVED, reserve=reserve))
    gateway = LoneGateway(book)
    lost(gateway)
    gateway.now = 10.0
    gateway.take(Tick())
    for name in "bc":
        gateway.hear(name, brought(name))
    for name in "bc":
        gateway.installed(name, ALONE)
    gateway.appears("a", "a2")
    assert not sent(Uninstall, gateway.take(Adopt(book))), "a has not its parts yet"
    back = gateway.installed("a", book)
    assert sent(Uninstall, back) == [(name, Uninstall(ALONE.id)) for name in "bc"]
    asked = [(to, install.playbook.id) for to, install in sent(Install, back)]
    assert asked == [(name, book.id) for name in "bc"]
    for name in "bc":
        gateway.installed(name, book)
    assert gateway.core.servable(book)
    assert [each.id for each in gateway.core.playbooks.all()] == [book.id]

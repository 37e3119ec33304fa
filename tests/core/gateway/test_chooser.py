from typing import Any

import msgspec
from tests.core.alone import LoneGateway, of
from tests.core.toys import POLICIES, Preferred, every, find, one, pipeline, plan, playbook

from shoal.core.actions import Probe
from shoal.core.gateway.chooser import Chooser, Pick
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.playbooks import Playbooks
from shoal.core.gateway.request import KeptSource, Request
from shoal.core.gateway.usable import Usable
from shoal.core.policy import Choice, View
from shoal.core.shared.membership import Membership
from shoal.plan.plan import Playbook


class Desk:
    """Playbooks that are installed on all of their devices."""

    def __init__(self, *books: Playbook) -> None:
        self.members, self.devices = Membership(), Devices("g")
        self.playbooks = Playbooks(find)
        for book in books:
            self.playbooks.add(book)
            for name in sorted(book.devices):
                self.members.appeared(name, f"{name}#1", 0.0)
                self.devices.installed(name, book.id, book.parts_of(name), {})
        usable = Usable(self.members, self.devices, self.playbooks)
        self.chooser = Chooser("g", self.playbooks, usable, self.devices, {})

    def pick(self, request: Request) -> tuple[str, Any] | None:
        picked: Pick | None = self.chooser.pick(request, 0.0)
        return (picked.choice.plan, picked.choice.route) if picked else None


def request(*blamed: str) -> Request:
    made = Request(0, None, 0.0, 10.0)
    made.blame(blamed)
    return made


SPARED = playbook(
    pipeline("ab", "a", "b"), pipeline("ac", "a", "c"), pipeline("bc", "b", "c"), policy="preferred"
)


def test_the_first_plan_is_taken_and_the_first_without_those_to_blame() -> None:
    state = Desk(SPARED)
    assert state.pick(request()) == ("ab", (("a",), ("b",)))
    assert state.pick(request("b")) == ("ac", (("a",), ("c",)))
    assert state.pick(request("a")) == ("bc", (("b",), ("c",)))


def test_when_all_is_not_possible_the_latest_to_blame_are_done_without() -> None:
    state = Desk(SPARED)
    assert state.pick(request("a", "b")) == ("ac", (("a",), ("c",)))
    assert state.pick(request("b", "a")) == ("bc", (("b",), ("c",)))


def test_whoever_can_be_spared_is_though_somebody_blamed_later_cannot() -> None:
    """Neither ``a`` nor ``b`` reaches ``s``; ``s`` alone would do."""
    state = Desk(
        playbook(
            pipeline("abs", "a", "b", "s"),
            pipeline("as", "a", "s"),
            pipeline("bs", "b", "s"),
            plan("alone", one(0, 12, "s")),
            policy="preferred",
        )
    )
    assert state.pick(request("s", "b")) == ("as", (("a",), ("s",)))
    assert state.pick(request("b", "s", "a")) == ("alone", (("s",),))


def test_if_nobody_can_be_spared_it_is_grudging() -> None:
    state = Desk(playbook(pipeline("ab", "a", "b")))
    picked = state.chooser.pick(request("a"), 0.0)
    assert picked is not None
    assert picked.grudging
    assert state.chooser.pick_without(("a",), request(), 0.0) is None


def test_kept_tensors_come_before_the_input() -> None:
    state = Desk(SPARED)
    kept = request()
    kept.playbook, kept.source = "book", KeptSource("a", ("t6",))
    picked = state.chooser.pick(kept, 0.0)
    assert picked is not None
    assert picked.source == kept.source
    assert picked.choice == Choice("ab", ((), ("b",)), 1)


def test_kept_tensors_that_nobody_can_go_on_from_or_reach_are_left() -> None:
    state = Desk(SPARED)
    kept = request()
    kept.playbook, kept.source = "book", KeptSource("a", ("t5",))
    assert state.pick(kept) == ("ab", (("a",), ("b",)))
    kept.source = KeptSource("a", ("t6",))
    state.members.vanished("a", "a#1", 0.0)
    assert state.pick(kept) == ("bc", (("b",), ("c",)))


def test_who_could_not_load_a_shard_is_done_without_as_if_it_were_away() -> None:
    """A device that came back with less memory: while it was away the others went on."""
    together = plan("abc", every(0, 6, "abc", least=2), every(6, 12, "abc", least=2))
    state = Desk(playbook(together, policy="tolerant"))
    (book,) = state.playbooks.all()
    state.devices.installed("c", book.id, ["0-6/2"], {"6-12/2": "too little memory"})
    assert state.pick(request()) == ("abc", (("a", "b"), ("a", "b")))
    state.devices.installed("b", book.id, ["6-12/1"], {"0-6/1": "too little memory"})
    assert state.pick(request()) is None, "one alone is not enough"


def test_a_plan_that_needs_all_is_left_where_one_could_not_load_its_part() -> None:
    bare = msgspec.structs.replace(every(0, 6, "ab"), join=None)
    others = one(6, 12, "c"), one(0, 12, "c")
    state = Desk(playbook(plan("all", bare, others[0]), plan("c", others[1]), policy="tolerant"))
    (book,) = state.playbooks.all()
    state.devices.installed("b", book.id, [], {"0-6/1": "too little memory"})
    assert state.pick(request()) == ("c", (("c",),))


def test_who_is_full_is_passed_by_if_there_are_others_and_waited_for_otherwise() -> None:
    state = Desk(playbook(plan("any", one(0, 12, "ab"))))
    state.devices.overloaded("a", 0.0)
    assert state.pick(request()) == ("any", (("b",),))
    state.devices.overloaded("b", 0.0)
    assert state.pick(request()) is None


def test_a_shard_that_is_full_is_waited_for_not_left_out() -> None:
    state = Desk(playbook(plan("all", every(0, 12, "abc")), policy="tolerant"))
    state.devices.overloaded("a", 0.0)
    assert state.pick(request()) is None


def test_a_newer_playbook_is_asked_first_when_it_is_installed_everywhere() -> None:
    new = playbook(plan("new", one(0, 12, "ab")), id="new")
    state = Desk(SPARED, new)
    assert state.pick(request()) == ("new", (("a",),))
    state.members.appeared("a", "a#2", 1.0)
    state.devices.restarted("a")
    assert state.pick(request()) == ("new", (("b",),)), "neither is installed everywhere"


def test_a_policy_may_have_a_link_probed_beside_a_request() -> None:
    class Curious(Preferred):
        def choose(
            self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
        ) -> tuple[Choice | None, Any]:
            choice, memory = super().choose(playbook, view, at, memory)
            asked = "b" if not memory else "nobody"
            return choice and msgspec.structs.replace(choice, probe=asked), True

    POLICIES["curious"] = Curious()
    gateway = LoneGateway(playbook(plan("any", one(0, 12, "a")), policy="curious"), "ab")
    assert [each.to for each in of(Probe, gateway.ask(0))] == ["b"]
    assert of(Probe, gateway.ask(1)) == [], "who is not there is not probed"


def test_policies_are_told_how_many_images_there_are() -> None:
    told = []

    class Asked(Preferred):
        def choose(
            self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
        ) -> tuple[Choice | None, Any]:
            told.append(view.images)
            return super().choose(playbook, view, at, memory)

    POLICIES["asked"] = Asked()
    state = Desk(playbook(plan("any", one(0, 12, "ab")), policy="asked"))
    state.pick(Request(0, None, 0.0, 10.0, images=5))
    assert told == [5]


def test_policies_are_given_back_what_they_wanted_to_remember() -> None:
    class Counting(Preferred):
        def choose(
            self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
        ) -> tuple[Choice | None, Any]:
            choice, _ = super().choose(playbook, view, at, memory)
            return choice, (memory or 0) + 1

    POLICIES["counting"] = Counting()
    state = Desk(playbook(plan("any", one(0, 12, "ab")), policy="counting"))
    (book,) = state.playbooks.all()
    for _ in range(3):
        picked = state.chooser.pick(request(), 0.0)
        assert picked is not None
        assert (picked.memory, book.memory) == (1, None)  # nothing has come of it yet
    book.memory = 1
    picked = state.chooser.pick(request(), 0.0)
    assert picked is not None
    assert picked.memory == 2
    assert state.chooser.servable(book, 0.0)
    assert book.memory == 1, "a question alone leaves no trace"

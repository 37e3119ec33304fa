"""What a policy answers that cannot be followed fails the one request, with the reason; no node is
harmed by it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.core.alone import LoneGateway, LoneWorker, of, sent
from tests.core.toys import POLICIES, Free, one, plan, playbook

from shoal.core.actions import Reject, Run
from shoal.core.messages import Refused, Task, Values, Why
from shoal.core.policy import Choice, Hold, View
from shoal.plan.plan import Plan, Playbook

PLAN = plan("ab", one(0, 6, "a"), one(6, 12, "b"))
BOOK = playbook(PLAN, policy="says")
AB = (("a",), ("b",))


class Says(Free):
    """Answers the same to everything."""

    def __init__(self, said: Any) -> None:
        super().__init__()
        self._said = said

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        return self._said, memory

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        return self._said, memory


@pytest.mark.parametrize(
    "choice",
    [
        "ab",
        Choice("cd", AB),
        Choice("ab", AB, start=1),  # its input is not at hand
        Choice("ab", AB, start=-1),
        Choice("ab", AB, start=2),
        Choice("ab", (("z",), ("b",))),
        Choice("ab", (("a",), ("a",))),
        Choice("ab", ((["a"],), ("b",))),  # type: ignore[arg-type]
        Choice("ab", (*AB, ("b",))),
        Choice("ab", AB, values=Values(((0, math.nan),))),
        Choice("ab", AB, values=Values(((0, "1"),))),  # type: ignore[arg-type]
    ],
)
def test_a_choice_that_cannot_be_followed_fails_its_request(
    choice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POLICIES, "says", Says(choice))
    gateway = LoneGateway(BOOK, "ab")
    actions = gateway.ask(0)
    assert sent(Task, actions) == []
    ((kind, text),) = [(reject.kind, reject.text) for reject in of(Reject, actions)]
    assert kind == "policy"
    assert "the policy 'says'" in text


@pytest.mark.parametrize("said", [5, ["b"], "z", "", "a", Hold("soon")])  # type: ignore[arg-type]
def test_a_next_hop_that_is_none_fails_its_request(
    said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POLICIES, "says", Says(said))
    worker = LoneWorker(BOOK)
    (run,) = of(Run, worker.task(0, "ab", route=(("a",), ()), free=True))
    actions = worker.ran(run)
    assert sent(Task, actions) == []
    ((_, refused),) = sent(Refused, actions)
    assert refused.why is Why.POLICY_FAILED

"""A lab that this machine cannot hold is refused, because its numbers would be wrong."""

import pytest

from shoal.errors import LabCapacityError
from shoal_lab import state
from shoal_lab.capacity import check_capacity
from shoal_lab.file import parse_lab
from shoal_lab.spec import LabSpec
from shoal_lab.state import State


def lab(name: str, *shares: float) -> LabSpec:
    hosts = ", ".join(f"h{at}: {{share: {share}}}" for at, share in enumerate(shares))
    return parse_lab(f"{{hosts: {{{hosts}}}, topology: star}}", name=name)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The labs that are up."""
    up: list[State] = []
    monkeypatch.setattr(state, "labs", lambda: up)
    return up


def up(spec: LabSpec, *, loopback: bool = False) -> State:
    owner, started = state.this_process()
    return State(
        spec=spec, loopback=loopback, owner=owner, started=started, keeper=True, folder="/"
    )


def test_shares_may_fill_the_machine_and_no_more(others: list[State]) -> None:
    check_capacity(lab("a", 1.0, 1.0), 2)
    with pytest.raises(LabCapacityError, match=r"2\.50 cores .* has 2: .* fewer hosts$"):
        check_capacity(lab("a", 1.0, 1.0, 0.5), 2)


def test_labs_that_are_up_count_and_are_named_as_labs(others: list[State]) -> None:
    others += [up(lab("b", 0.75, 0.5)), up(lab("c", 1.0), loopback=True)]
    check_capacity(lab("a", 0.75), 2)
    with pytest.raises(LabCapacityError, match=r"the lab b, which is up, 1\.25\).*lab down b"):
        check_capacity(lab("a", 1.0), 2)

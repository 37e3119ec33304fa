"""Who has which lab: names are claimed once, and dead owners' labs are nobody's."""

from pathlib import Path

import pytest

from shoal.errors import LabStateError
from shoal_lab import state
from shoal_lab.file import parse_lab
from shoal_lab.state import FILE, State


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "labs"
    monkeypatch.setattr(state, "base_folder", lambda: folder)
    return folder


def of(name: str, owner: int | None = None) -> State:
    pid, started = state.this_process()
    return State(
        spec=parse_lab("hosts: {a: {}}", name=name),
        loopback=True,
        owner=owner or pid,
        started=started,
        keeper=False,
        folder="/",
    )


def dead(name: str) -> State:
    return of(name, owner=2**22 + 1)


def test_a_claimed_lab_is_listed_and_can_be_read(base: Path) -> None:
    folder = state.claim(of("one"))
    assert folder == base / "one"
    assert state.read("one") == of("one")
    assert [lab.name for lab in state.labs()] == ["one"]
    assert state.read("one").alive
    state.release(of("one"))
    assert not base.exists()


def test_a_name_is_given_once() -> None:
    state.claim(of("one"))
    state.claim(of("two"))
    with pytest.raises(LabStateError, match="lab one is up already"):
        state.claim(of("one"))


def test_what_the_dead_left_is_removed_by_whoever_comes(base: Path) -> None:
    state.claim(dead("old"))
    (base / "old" / "a").mkdir()
    assert not state.read("old").alive
    state.claim(of("new"))
    assert not (base / "old").exists()


def test_the_number_of_a_dead_owner_may_belong_to_somebody_else() -> None:
    made = State(spec=of("x").spec, loopback=True, owner=1, started=5.0, keeper=False, folder="/")
    assert not made.alive, "process 1 runs, but began at another time"


def test_a_lab_that_is_not_up_cannot_be_read() -> None:
    with pytest.raises(LabStateError, match="not up"):
        state.read("none")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"spec": {"hosts": {}}}', b"\xff" * 100])
def test_a_damaged_state_file_is_no_lab_and_in_nobodys_way(base: Path, text: bytes) -> None:
    (base / "one").mkdir(parents=True)
    (base / "one" / FILE).write_bytes(text)
    assert state.labs() == []
    state.claim(of("one"))
    assert state.read("one").alive


def test_a_state_file_of_another_name_is_not_believed(base: Path) -> None:
    state.claim(of("one"))
    (base / "one").rename(base / "two")
    assert state.labs() == []


def test_releasing_twice_is_no_error() -> None:
    state.claim(of("one"))
    state.release(of("one"))
    state.release(of("one"))
    assert state.labs() == []

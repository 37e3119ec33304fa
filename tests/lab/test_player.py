"""Faults and traces happen when they should, on a lab that only listens."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import LabError
from shoal_lab.cable import Cable
from shoal_lab.faults import (
    ClockJump,
    Cut,
    DiskFull,
    Fault,
    Freeze,
    Kill,
    Lossy,
    Narrow,
    Restart,
    Slow,
)
from shoal_lab.file import parse_lab
from shoal_lab.network import network
from shoal_lab.player import Happening, Player, steps, traces_of
from shoal_lab.trace import parse_trace


class Quiet:
    """A lab whose host and cables write down what is done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.network = network(parse_lab("{hosts: {pi: {}, gate: {}}, topology: star}"))

    def host(self, name: str) -> Any:
        return Listener(f"{name} ", self.done)

    def cable(self, a: str, b: str) -> Any:
        return Listener(f"{a}:{b} ", self.done)


class Listener:
    def __init__(self, prefix: str, done: list[str]) -> None:
        self.prefix = prefix
        self.done = done

    def __getattr__(self, name: str) -> Any:
        def take(*args: object, **fields: object) -> None:
            said = " ".join(map(str, (*args, *(f"{k}={v}" for k, v in fields.items()))))
            self.done.append(f"{self.prefix}{name} {said}".strip())

        return take


CASES: list[tuple[Fault, list[tuple[float, str]]]] = [
    (Kill(at_s=1, host="pi"), [(1, "pi kill")]),
    (Restart(at_s=1, host="pi", for_s=2), [(1, "pi kill"), (3, "pi restart")]),
    (Freeze(at_s=1, host="pi", for_s=2), [(1, "pi freeze"), (3, "pi thaw")]),
    (Slow(at_s=1, host="pi", factor=0.5, for_s=2), [(1, "pi slow 0.5"), (3, "pi slow 1.0")]),
    (Slow(at_s=1, host="pi", factor=0.5), [(1, "pi slow 0.5")]),
    (DiskFull(at_s=1, host="pi", for_s=1), [(1, "pi fill_disk"), (2, "pi free_disk")]),
    (ClockJump(at_s=1, host="pi", by_s=-5), [(1, "pi jump_clock -5")]),
    (
        Cut(at_s=1, link=("pi", "switch"), for_s=1),
        [(1, "pi:switch change cut=True"), (2, "pi:switch change cut=False")],
    ),
    (
        Narrow(at_s=1, link=("pi", "switch"), mbit=2, for_s=1),
        [(1, "pi:switch change mbit=2"), (2, "pi:switch change mbit=None")],
    ),
    (Lossy(at_s=1, link=("pi", "switch"), loss=0.1), [(1, "pi:switch change loss=0.1")]),
]


@pytest.mark.parametrize(("fault", "expected"), CASES, ids=lambda case: type(case).__name__)
def test_each_fault_begins_and_passes(fault: Fault, expected: list[tuple[float, str]]) -> None:
    lab = Quiet()
    made = []
    for step in steps(fault, lab):  # type: ignore[arg-type]
        step.do()
        made.append((step.at_s, lab.done[-1]))
        assert step.text
    assert made == expected


def test_faults_happen_in_order_and_at_their_time() -> None:
    lab, heard = Quiet(), []
    faults = [
        Freeze(at_s=0.1, host="pi", for_s=0.2),
        Kill(at_s=0.2, host="gate"),
        Kill(at_s=0.0, host="pi"),
    ]
    player = Player(lab, faults, say=heard.append).start()  # type: ignore[arg-type]
    assert player.wait(30)
    assert lab.done == ["pi kill", "pi freeze", "gate kill", "pi thaw"]
    assert player.happenings == heard
    for happening, at_s in zip(heard, (0.0, 0.1, 0.2, 0.3), strict=True):
        assert at_s <= happening.at_s


def test_a_killed_host_that_comes_back_was_killed_once() -> None:
    """What a random schedule does after 'kill' is no second fault."""
    lab, told = Quiet(), []
    mortal = Mortal()
    lab.host = lambda name: mortal  # type: ignore[method-assign]
    faults = [
        Kill(at_s=0, host="pi"),
        Restart(at_s=0.01, host="pi"),
        Restart(at_s=0.02, host="pi", for_s=0.01),
    ]
    player = Player(lab, faults, say=told.append).start()  # type: ignore[arg-type]
    assert player.wait(30)
    assert [happening.text for happening in told] == [
        "kill pi", "pi is back", "restart pi", "pi is back",
    ]  # fmt: skip
    assert [happening.ends for happening in told] == [False, True, False, True]


class Mortal:
    """A host that only knows whether it lives."""

    lives = True

    def kill(self) -> bool:
        lived, self.lives = self.lives, False
        return lived

    def restart(self) -> None:
        self.lives = True


def test_what_cannot_be_done_is_told_and_the_rest_happens() -> None:
    lab = Quiet()

    def refuse(name: str) -> Any:
        raise LabError("not emulated")

    lab.cable = lambda a, b: refuse(a)  # type: ignore[method-assign]
    faults = [Cut(at_s=0, link=("pi", "switch")), Kill(at_s=0.01, host="pi")]
    player = Player(lab, faults).start()  # type: ignore[arg-type]
    assert player.wait(30)
    assert [happening.error for happening in player.happenings] == ["not emulated", None]
    assert lab.done == ["pi kill"]


def test_a_player_that_is_stopped_does_nothing_more() -> None:
    lab = Quiet()
    player = Player(lab, [Kill(at_s=30, host="pi")]).start()  # type: ignore[arg-type]
    player.stop()
    assert player.happenings == []
    assert lab.done == []


def test_a_trace_is_followed_row_by_row_and_over_again() -> None:
    heard: list[tuple[float, Any]] = []
    began = time.monotonic()
    enough = threading.Event()
    wire = network(parse_lab("{hosts: {a: {}, b: {}}, topology: star}")).wires[0]
    cable = Cable(wire, "netem", None, lambda node, line: None)
    change = cable.change

    def listen(**what: Any) -> None:
        heard.append((time.monotonic() - began, what["sample"].down_mbit))
        change(**what)
        if len(heard) == 4:
            enough.set()

    cable.change = listen  # type: ignore[method-assign]
    trace = parse_trace("time_s,down_mbit,up_mbit,rtt_ms\n0,1,1,5\n0.1,2,2,9\n", "mine")
    player = Player(Quiet(), traces=[(cable, trace)]).start()  # type: ignore[arg-type]
    assert enough.wait(30)
    player.stop()
    assert [mbit for _, mbit in heard][:4] == [1, 2, 1, 2]
    for number, (at_s, _) in enumerate(heard):
        assert at_s >= 0.1 * number, "never early"
    assert cable.shapes[0].delay_ms in (2.5, 4.5)
    assert player.happenings == [], "following a trace is not worth telling"


def test_the_cables_with_a_trace_are_found() -> None:
    spec = parse_lab("{hosts: {a: {}, b: {}}, topology: {kind: star, link: {trace: square}}}")

    class Two:
        cables = tuple(
            Cable(wire, "netem", None, lambda node, line: None) for wire in network(spec).wires
        )

    found = traces_of(Two(), Path())  # type: ignore[arg-type]
    assert [(cable.wire.name, trace.name) for cable, trace in found] == [
        ("a:switch", "square"),
        ("b:switch", "square"),
    ]


def test_a_happening_is_plain_data() -> None:
    assert Happening(1.0, "kill pi") == Happening(1.0, "kill pi", None)

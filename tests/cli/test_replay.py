"""``shoal replay``: what it prints, and with which code it ends."""

import json
import time
from pathlib import Path

import msgspec
import pytest
from tests.core.toys import one, plan, playbook

from shoal.cli.entry import run
from shoal.core.actions import Send
from shoal.core.events import Adopt, Appeared, Arrived, NodeEvent, Submitted
from shoal.core.log import Step
from shoal.core.messages import DeviceInfo, Hello, Installed
from shoal.core.node import make_core
from shoal.core.policy import find_policy
from shoal.core.settings import GatewaySettings, Origin
from shoal.runtime.recording import RecordingWriter

ORIGIN = Origin(DeviceInfo("g", "g1"), gateway=GatewaySettings())


def steps(policy: str = "preferred") -> list[Step]:
    """A gateway asks the worker ``a``."""
    book = playbook(plan("alone", one(0, 12, "a")), policy=policy)
    policies = find_policy if policy == "preferred" else lambda name: find_policy("preferred")
    core, found = make_core(ORIGIN, policies, lambda body: ()), list[Step]()
    core.log.tap = found.append
    events: list[NodeEvent] = [
        Appeared("g", "g1"),
        Appeared("a", "a1"),
        Arrived("a", Hello(DeviceInfo("a", "a1"))),
        Adopt(book),
        Arrived("a", Installed(book.id, ("0-12",))),
        Submitted(0, "x", 1000.0),
    ]
    for k, event in enumerate(events):
        core.handle(event, 100.0 + k)
    return found


def record(path: Path, of: list[Step]) -> str:
    writer = RecordingWriter(path)
    writer.start(ORIGIN)
    for step in of:
        writer.take(step)
    writer.close()
    return str(path)


def test_the_same_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(tmp_path / "x", steps())
    assert run(["replay", path]) == 0
    assert capsys.readouterr().out == "6 events of g, the same 3 actions\n"


def test_a_story_of_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(tmp_path / "x", steps())
    assert run(["replay", path, "--story", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "request 0, as g saw it",
        "       0.0 ms  asked: to be answered within 1 s",
        "       0.0 ms  attempt 1 by plan 'alone': a",
    ]
    assert run(["replay", path, "--story", "7", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["story"]["lines"] == []
    assert (told["played"]["events"], told["played"]["difference"]) == (6, None)


def test_the_first_difference_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *before, last = steps()
    (send,) = last.actions
    assert isinstance(send, Send)
    changed = msgspec.structs.replace(last, actions=(msgspec.structs.replace(send, to="b"),))
    path = record(tmp_path / "x", [*before, changed])
    assert run(["replay", path]) == 76
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == "5 events of g, the same 2 actions"
    assert lines[1].startswith("then event 6, after 5.000000 s: Submitted(number=0, ")
    assert lines[2].startswith("  then: Send(to='b', message=Task(gateway='g', ")
    assert lines[3].startswith("  now:  Send(to='a', message=Task(gateway='g', ")
    assert lines[4] == "  differs in: to"
    assert "error 76" in told.err
    assert "event 6 led to something else" in told.err
    assert run(["replay", path, "--json"]) == 76
    assert json.loads(capsys.readouterr().out)["played"]["difference"]["number"] == 6


def test_a_recording_that_breaks_off_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, taken = tmp_path / "x", steps()
    writer = RecordingWriter(path)
    writer.start(ORIGIN)
    for step in taken:
        writer.take(step)
    while writer.steps < len(taken):  # written every tenth of a second
        time.sleep(0.01)
    (tmp_path / "of a killed process").write_bytes(path.read_bytes())
    writer.close()
    assert run(["replay", str(tmp_path / "of a killed process")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "6 events of g, the same 3 actions"
    assert said[1].startswith("the recording breaks off there")


def test_a_recording_in_which_nothing_happened_compares_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(record(tmp_path / "x", []))
    path.write_bytes(path.read_bytes()[:-8])
    assert run(["replay", str(path)]) == 75
    assert "breaks off before the node took its first event" in capsys.readouterr().err


def test_what_cannot_be_played_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "y").write_text("no recording")
    assert run(["replay", str(tmp_path / "y")]) == 75
    assert run(["replay", str(tmp_path / "nowhere")]) == 75
    path = record(tmp_path / "x", steps("of another package"))
    assert run(["replay", path]) == 75
    err = capsys.readouterr().err
    assert err.count("error 75") == 3
    assert "no policy is registered as 'of another package'" in err

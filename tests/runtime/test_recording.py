"""Nodes that are recorded as they run: what is on the disk can be played, whatever happened."""

import errno
import logging
import os
import subprocess
import sys

import pytest
from tests.runtime.test_recovery import Load
from tests.runtime.tiny import SlowEngine, images, pipeline, soon

from shoal.core.actions import Send
from shoal.core.events import Appeared, Tick, Vanished
from shoal.core.log import Step
from shoal.core.messages import DeviceInfo, Task
from shoal.core.recording import End, RecordingHead
from shoal.core.settings import Origin
from shoal.errors import NameTakenError, RecordingError, StoreError
from shoal.runtime.recording import RecordingWriter
from shoal.sim.replay import play, read

ORIGIN = Origin(DeviceInfo("a", "a1"))


def step(k: int) -> Step:
    return Step(float(k), Vanished(f"peer {k * 7919 % 1000}", str(k)), ())


@pytest.fixture
def recorded(crowd, net):
    """A pipeline under load, of which a worker was killed and came back: the files of all lives."""
    crowd.start("a", "b", engine=SlowEngine(0.002), record=True)
    service = crowd.serve(pipeline(net), record=crowd.recording("gateway"))
    load = Load(net, service)
    load.after(20)
    crowd.kill("b")
    load.after(80)
    crowd.start("b", engine=SlowEngine(0.002), record=True)
    load.check()
    soon(lambda: service.infer(images(1)[0]).plan == "both")
    crowd.close()
    files = [crowd.recording(name) for name in ("gateway", "a", "b")]
    return [*files, files[-1].with_name("b.rec.1")]


def test_a_run_in_which_a_worker_was_killed_is_the_same_again(recorded):
    events = 0
    for file in recorded:
        played = play(read(file))
        assert played.difference is None, played.difference
        assert played.ended == ""
        events += played.events
    assert events > 1000
    sends = [
        action.message
        for entry in read(recorded[0])
        if isinstance(entry, Step)
        for action in entry.actions
        if isinstance(action, Send)
    ]
    assert max(message.attempt for message in sends if isinstance(message, Task)) > 1, "it was lost"


@pytest.mark.system
def test_it_is_the_same_in_another_process(recorded):
    """In which names have other hashes, so that sets have another order."""
    for seed in ("1", "2"):
        for file in recorded:
            done = subprocess.run(
                [sys.executable, "-m", "shoal", "replay", str(file)],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "the same" in done.stdout


def test_one_that_was_cut_short_is_played_as_far_as_it_goes(recorded, tmp_path):
    data = recorded[1].read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    played, whole = play(read(tmp_path / "cut")), play(read(recorded[1]))
    assert (played.ended, played.difference) == (None, None)
    assert 0 < played.events < whole.events


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100), b"\x28\xb5\x2f\xfd" + bytes(100)])
def test_what_is_no_recording_is_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(RecordingError, match="no recording"):
        list(read(tmp_path / "x"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecordingError, match="cannot be read"):
        list(read(tmp_path / "nowhere"))


# -- the writer


def test_steps_are_on_the_disk_soon_without_an_end(tmp_path):
    """Should the process be killed, they are there."""
    writer = RecordingWriter(tmp_path / "a.rec")
    writer.start(ORIGIN)
    for k in range(10):
        writer.take(step(k))
    soon(lambda: len(list(read(tmp_path / "a.rec"))) == 11)
    header, *steps = read(tmp_path / "a.rec")
    assert isinstance(header, RecordingHead)
    assert header.origin == ORIGIN
    assert steps == [step(k) for k in range(10)]
    writer.close()
    writer.close()
    assert list(read(tmp_path / "a.rec"))[-1] == End()


def test_a_file_that_is_as_large_as_it_may_be_ends_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="shoal")
    writer = RecordingWriter(tmp_path / "a.rec", max_bytes=1 << 20)
    writer.start(ORIGIN)
    random = iter(os.urandom(64) for _ in range(1 << 20))
    taken = 0
    while not caplog.text:
        writer.take(Step(float(taken), Appeared(next(random).hex(), "1"), ()))
        taken += 1
        if taken % 10_000 == 0:
            soon(lambda: not writer._waiting)
    writer.close()
    *_, last = read(tmp_path / "a.rec")
    assert last == End("it may take 1 MiB")
    assert f"ends after {writer.steps} steps: it may take 1 MiB" in caplog.text
    assert 1 << 20 <= (tmp_path / "a.rec").stat().st_size < 3 << 20
    assert writer.steps < taken


def test_a_disk_that_is_too_slow_holds_nobody_up(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="shoal")
    writer = RecordingWriter(tmp_path / "a.rec", max_waiting=50)
    writer._write = lambda: None  # type: ignore[method-assign]
    writer.start(ORIGIN)
    for k in range(200):
        writer.take(step(k))
    assert len(writer._waiting) <= 50
    writer.close()
    assert "the disk was too slow: 50 steps waited for it" in caplog.text
    assert len(writer._waiting) == 0


def test_in_virtual_time_the_disk_is_waited_for(tmp_path):
    writer = RecordingWriter(tmp_path / "a.rec", max_waiting=50, patient=True)
    writer.start(ORIGIN)
    for k in range(200):
        writer.take(step(k))
    writer.close()
    assert writer.steps == 200
    *_, last = read(tmp_path / "a.rec")
    assert last == End()


def test_a_full_disk_ends_the_recording_and_not_the_node(tmp_path, caplog):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    caplog.set_level(logging.WARNING, logger="shoal")
    writer = RecordingWriter(tmp_path / "a.rec")
    writer.start(ORIGIN)
    writer._packed = Full()
    writer.take(Step(0.0, Tick(), ()))
    soon(lambda: caplog.text)
    assert "ends after 0 steps: No space left on device" in caplog.text
    writer.take(step(1))
    assert len(writer._waiting) == 0
    writer.close()


def test_the_recording_of_the_life_before_is_kept(tmp_path):
    for k in range(3):
        writer = RecordingWriter(tmp_path / "a.rec")
        writer.start(ORIGIN)
        writer.take(step(k))
        writer.close()
    assert [list(read(tmp_path / name))[1] for name in ("a.rec", "a.rec.1")] == [step(2), step(1)]
    assert len(list(tmp_path.iterdir())) == 2


def test_one_that_cannot_be_written_is_told_before_anything_begins(crowd, net, tmp_path):
    with pytest.raises(StoreError, match="no folder"):
        RecordingWriter(tmp_path / "no" / "a.rec")
    with pytest.raises(StoreError, match="cannot write"):
        crowd.serve(pipeline(net), record=tmp_path)
    assert crowd.mesh("gateway").peers() == {}


def test_a_node_that_does_not_begin_leaves_the_recording_before_alone(crowd, net):
    crowd.start("a", "b")
    file = crowd.recording("a")
    file.write_bytes(b"what was there")
    with pytest.raises(NameTakenError):
        crowd.serve(pipeline(net), name="a", record=file)
    assert file.read_bytes() == b"what was there"

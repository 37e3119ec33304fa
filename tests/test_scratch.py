"""Folders for temporary files go with the last who uses them, and nothing else goes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoal import scratch
from shoal.errors import StoreError
from shoal.scratch import LOCK, Scratch, sweep

USER = """
import sys, time
from pathlib import Path
from shoal.scratch import Scratch
used = Scratch.join(Path(sys.argv[1]))
print("in", flush=True)
sys.stdin.readline()
used.leave()
print("out", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def user():
    """Starts another process that uses a folder."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", USER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def leaves(process):
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"out\n"


def fill(path):
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "b" / "file").write_bytes(b"x")
    (path / "file").write_bytes(b"x")


def test_it_is_there_for_a_block(temporary):
    with Scratch.make("test") as made:
        assert made.path.parent == temporary
        assert made.path.stat().st_mode & 0o777 == 0o700
        fill(made.path)
    assert not made.path.exists()
    made.remove()
    made.leave()


def test_where_none_can_be_made_it_is_said(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    with pytest.raises(StoreError, match=r"temporary files: .*TMPDIR"):
        Scratch.make("test")


def test_the_last_one_removes_it(user):
    made = Scratch.make("test")
    fill(made.path)
    others = [user(made.path), user(made.path)]
    leaves(others[0])
    made.leave()
    assert (made.path / "file").exists()
    leaves(others[1])
    assert not made.path.exists()


def test_its_maker_may_remove_it_although_others_use_it(user):
    made = Scratch.make("test")
    other = user(made.path)
    made.remove()
    assert not made.path.exists()
    leaves(other)
    with pytest.raises(FileNotFoundError):
        Scratch.join(made.path)


def test_what_was_killed_is_swept_by_the_next_and_what_is_used_is_not(user, temporary):
    dead, used = Scratch.make("dead"), Scratch.make("used")
    fill(dead.path)
    fill(used.path)
    killed, lives = user(dead.path), user(used.path)
    dead._let_go()  # as if this process had ended
    used._let_go()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with Scratch.make("next") as made:
        assert set(temporary.iterdir()) == {made.path, used.path}
    leaves(lives)
    assert list(temporary.iterdir()) == []


def test_what_is_not_ours_stays(temporary, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere)
    (elsewhere / LOCK).touch()
    other, link = temporary / "shoal-tmp-other", temporary / "shoal-tmp-link"
    fill(other)  # a folder of this name that nobody of us made
    os.utime(other, (0, 0))
    link.symlink_to(elsewhere)
    (temporary / "shoal-tmp-file").touch()
    tricked = temporary / "shoal-tmp-tricked"
    fill(tricked)
    (tricked / LOCK).symlink_to(elsewhere / LOCK)
    (temporary / "user").mkdir()
    before = sorted(path for base in (temporary, elsewhere) for path in base.rglob("*"))
    sweep(temporary)
    assert before == sorted(path for base in (temporary, elsewhere) for path in base.rglob("*"))
    left = Scratch.make("left")
    left._let_go()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    sweep(temporary)
    assert left.path.exists(), "it is another user's"


def test_one_that_was_never_finished_goes_after_a_while(temporary):
    young, old = temporary / "shoal-tmp-young", temporary / "shoal-tmp-old"
    young.mkdir()
    old.mkdir()
    os.utime(old, (time.time() - 2 * scratch._MAKING_S,) * 2)
    sweep(temporary)
    assert young.exists()
    assert not old.exists()


def test_a_sweep_between_a_folder_and_its_lock_is_noticed(temporary, monkeypatch):
    """Whoever makes one then makes another."""
    really_locked, swept = scratch.fcntl.flock, []

    def flock(handle, how):
        if how == scratch.fcntl.LOCK_SH and not swept:
            swept.extend(temporary.iterdir())
            sweep(temporary)
        really_locked(handle, how)

    monkeypatch.setattr(scratch.fcntl, "flock", flock)
    with Scratch.make("test") as made:
        assert [path.exists() for path in swept] == [False]
        assert made.path.exists()
        assert made.path not in swept


def test_a_child_made_by_fork_neither_removes_nor_keeps_it():
    code = """
import os, sys
from shoal.scratch import Scratch, sweep
made = Scratch.make("test")
read, write = os.pipe()
stays, end = os.pipe()
if os.fork() == 0:
    os.close(end)
    with made:
        pass
    made.leave()
    os.write(write, b"x")
    os.read(stays, 1)  # lives as long as its parent
    sys.exit()
os.read(read, 1)
assert made.path.exists()
made._let_go()
sweep(made.path.parent)
assert not made.path.exists()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        timeout=30,
        check=False,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(Path(scratch.tempfile.tempdir))},
    )
    assert done.returncode == 0, done.stderr.decode()

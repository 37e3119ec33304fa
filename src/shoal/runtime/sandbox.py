"""A process of its own for runs that may end it: the worker that has it lives on.

It is started when it is first needed, and ends when nothing came for a while. It takes the parts
from the worker's store, so it needs memory for another copy of the part that it runs. Tensors go to
it as they came: what is damaged in them it meets, not the worker.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import msgspec

from shoal.codec.frame import Frame, FrameHead, unpack
from shoal.codec.slices import Join
from shoal.core.actions import Away, Given, Run
from shoal.core.events import Outcome, Ran, RunFailed
from shoal.core.messages import Why
from shoal.errors import FrameError, ShoalError
from shoal.model.engine import Engine, Session
from shoal.model.store import PartStore
from shoal.plan.plan import Exit
from shoal.runtime.body import Body
from shoal.runtime.runner import run

IDLE_S = 10.0
"""When nothing comes for so long, the process ends."""
MOST_S = 60.0
"""Longest that starting, loading and a run may take together."""
LAST_S = 5.0
"""Longest wait for a process that says no more, before it is ended."""
_READY = b"R"


class _Options(msgspec.Struct, frozen=True):
    root: str
    threads: int
    provider: str
    idle_s: float


class _Given(msgspec.Struct, frozen=True):
    join: Join | None
    heads: dict[str, FrameHead]


class _Task(msgspec.Struct, frozen=True):
    part: str
    outputs: tuple[str, ...]
    exit: Exit | None
    given: tuple[_Given, ...]
    away: Away | None


class _Made(msgspec.Struct, frozen=True):
    size: int
    size_in: int
    confidence: float | None
    head: FrameHead
    exit_head: FrameHead | None


class _Reply(msgspec.Struct, frozen=True):
    run_ms: float = 0.0
    made: tuple[_Made, ...] = ()
    why: Why | None = None
    text: str = ""


class Sandbox:
    """The process, as the worker sees it. ``root`` is the folder of the worker's store."""

    def __init__(self, root: Path, engine: Engine, idle_s: float = IDLE_S) -> None:
        self._options = _Options(str(root), engine.threads, engine.provider, idle_s)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def run(self, action: Run) -> Ran | RunFailed:
        """Run a part there; RunFailed says what became of the process when it ends."""
        while True:
            try:
                process = self._start()
            except OSError as error:
                text = f"no process can be started: {error}"
                return RunFailed(action.jobs, text, Why.NO_SANDBOX)
            late = threading.Timer(MOST_S, process.kill)
            late.start()
            began, ready = time.monotonic(), False
            try:
                _send_task(process.stdin, action)
                ready = _read(process.stdout, 1) == _READY
                reply, outcomes = _receive_reply(process.stdout)
            except (EOFError, OSError):
                code = self._end()
            else:
                if reply.why is not None:
                    return RunFailed(action.jobs, reply.text, reply.why)
                return Ran(action.jobs, outcomes, reply.run_ms, began)
            finally:
                late.cancel()
            if time.monotonic() - began >= MOST_S:
                return RunFailed(action.jobs, f"it took longer than {MOST_S:.0f} s there")
            if code != 0 or ready or self._closed:  # else it was about to end when it was asked
                why = Why.RUN_KILLED if ready and not self._closed else Why.NO_SANDBOX
                return RunFailed(action.jobs, _told(code), why)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._closed = True
        self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise OSError("the node is closed")
            if self._process is None:
                options = msgspec.json.encode(self._options).decode()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "shoal.runtime.sandbox", options],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            return self._process

    def _end(self) -> int:
        """See the process off; how it ended."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return 0
        if self._closed:
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            return process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _told(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        return f"its process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was ended by signal {-code}"


# -- what goes to and fro: a length, a head, and the payloads of its frames


def _read(stream: IO[bytes] | None, size: int) -> bytes:
    data = stream.read(size) if stream is not None else b""
    if len(data) != size:
        raise EOFError
    return data


def _write(stream: IO[bytes] | None, head: msgspec.Struct, frames: Iterable[Frame]) -> None:
    if stream is None:
        raise EOFError
    data = msgspec.msgpack.encode(head)
    stream.write(len(data).to_bytes(8, "little") + data)
    for frame in frames:
        for chunk in frame.payload:
            stream.write(chunk)
    stream.flush()


def _read_head(stream: IO[bytes] | None) -> bytes:
    return _read(stream, int.from_bytes(_read(stream, 8), "little"))


def _read_frame(stream: IO[bytes] | None, head: FrameHead) -> Frame:
    return Frame(head, (_read(stream, head.size),))


def _send_task(stream: IO[bytes] | None, action: Run) -> None:
    frames = [
        {giver: body.as_it_came() for giver, body in given.bodies.items()} for given in action.given
    ]
    given = tuple(
        _Given(one.join, {giver: frame.head for giver, frame in each.items()})
        for one, each in zip(action.given, frames, strict=True)
    )
    task = _Task(action.part, action.outputs, action.exit, given, action.away)
    _write(stream, task, [frame for each in frames for frame in each.values()])


def _receive_task(stream: IO[bytes]) -> Run:
    task = msgspec.msgpack.decode(_read_head(stream), type=_Task)
    given = tuple(
        Given(
            {giver: Body(frame=_read_frame(stream, head)) for giver, head in one.heads.items()},
            one.join,
        )
        for one in task.given
    )
    return Run((), task.part, given, task.outputs, task.exit, away=task.away)


def _send_reply(stream: IO[bytes], outcomes: tuple[Outcome, ...], run_ms: float) -> None:
    made, frames = [], []
    for outcome in outcomes:
        pair = [outcome.body.as_it_came()]
        if outcome.exit_body is not None:
            pair.append(outcome.exit_body.as_it_came())
        exit_head = pair[1].head if len(pair) > 1 else None
        size, size_in, sure = outcome.size, outcome.size_in, outcome.confidence
        made.append(_Made(size, size_in, sure, pair[0].head, exit_head))
        frames += pair
    _write(stream, _Reply(run_ms, tuple(made)), frames)


def _receive_reply(stream: IO[bytes] | None) -> tuple[_Reply, tuple[Outcome, ...]]:
    reply = msgspec.msgpack.decode(_read_head(stream), type=_Reply)
    outcomes = []
    for made in reply.made:
        body = Body(unpack(_read_frame(stream, made.head)))
        early = None
        if made.exit_head is not None:
            early = Body(unpack(_read_frame(stream, made.exit_head)))
        outcomes.append(Outcome(body, made.size, made.confidence, early, made.size_in))
    return reply, tuple(outcomes)


# -- the process itself


def _serve(options: _Options, tasks: IO[bytes], replies: IO[bytes]) -> None:
    waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()

    def take() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                waiting.put(_receive_task(tasks))
        os._exit(0)  # nobody waits for what is under way

    threading.Thread(target=take, daemon=True).start()
    store = PartStore(options.root)
    engine = Engine(options.threads, options.provider)
    loaded: tuple[str, Session] | None = None
    while True:
        try:
            action = waiting.get(timeout=options.idle_s)
        except queue.Empty:
            return
        try:
            if loaded is None or loaded[0] != action.part:
                loaded = None  # not two at a time
                loaded = action.part, engine.load(*store.load_part(action.part))
            replies.write(_READY)
            replies.flush()
            began = time.monotonic()
            outcomes = run(action, loaded[1])
            _send_reply(replies, outcomes, (time.monotonic() - began) * 1e3)
        except FrameError as error:
            _write(replies, _Reply(why=Why.BAD_BODY, text=str(error)), ())
        except (ShoalError, MemoryError) as error:
            if loaded is None:
                replies.write(_READY)
            _write(replies, _Reply(why=Why.RUN_FAILED, text=str(error)), ())


def _main(options: _Options) -> None:
    with contextlib.suppress(OSError):  # of two processes the kernel ends this one for want of room
        Path("/proc/self/oom_score_adj").write_text("1000")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints something does not disturb the replies
    _serve(options, sys.stdin.buffer, replies)
    os._exit(0)  # the other thread reads, and an interpreter that ends would abort for that


if __name__ == "__main__":
    _main(msgspec.json.decode(sys.argv[1], type=_Options))

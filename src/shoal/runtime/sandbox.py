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
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from shoal.codec.frame import Frame, FrameHead, unpack
from shoal.codec.slices import Home
from shoal.core.actions import Given, Run
from shoal.core.events import Ran, RunFailed
from shoal.core.messages import Why
from shoal.errors import FrameError, ShoalError
from shoal.model.engine import Engine, Session
from shoal.model.store import PartStore
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
                _write(process.stdin, _alike(action))
                ready = _read(process.stdout, 1) == _READY
                reply = _decode_reply(_read_whole(process.stdout))
            except (EOFError, OSError):
                code = self._end()
            else:
                if isinstance(reply, RunFailed):
                    return reply
                return msgspec.structs.replace(reply, started_s=began)
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


# -- what goes to and fro: a length, and an action or event of the core in MessagePack


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """A body: the head of its frame, the payload, and what of it stays at home."""

    head: FrameHead
    payload: memoryview
    home: Home | None = None


def _pack(body: object) -> msgspec.msgpack.Ext:
    if not isinstance(body, Body):
        raise NotImplementedError(f"a {type(body).__name__} does not go to another process")
    frame = body.as_it_came()
    return msgspec.msgpack.Ext(0, _encoder.encode(_Packed(frame.head, frame.whole, body.home)))


def _given(data: memoryview) -> Body:
    packed = msgspec.msgpack.decode(data, type=_Packed)
    return Body(frame=Frame(packed.head, (packed.payload,)))


def _made(data: memoryview) -> Body:
    packed = msgspec.msgpack.decode(data, type=_Packed)
    return Body(unpack(Frame(packed.head, (packed.payload,))), home=packed.home)


def _alike(run: Run) -> Run:
    """With what others were sent of bodies that never left this node in their place: the process
    does not tell these apart."""
    each = tuple(
        Given({name: body.alike(given.codec) for name, body in given.bodies.items()}, given.join)
        for given in run.given
    )
    return msgspec.structs.replace(run, given=each)


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)
_decode_run = msgspec.msgpack.Decoder(Run, ext_hook=lambda _, data: _given(data)).decode
_decode_reply: Callable[[bytes], Ran | RunFailed] = msgspec.msgpack.Decoder(
    Ran | RunFailed, ext_hook=lambda _, data: _made(data)
).decode


def _read(stream: IO[bytes] | None, size: int) -> bytes:
    data = stream.read(size) if stream is not None else b""
    if len(data) != size:
        raise EOFError
    return data


def _read_whole(stream: IO[bytes] | None) -> bytes:
    return _read(stream, int.from_bytes(_read(stream, 8), "little"))


def _write(stream: IO[bytes] | None, what: Run | Ran | RunFailed) -> None:
    if stream is None:
        raise EOFError
    data = _encoder.encode(what)
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


# -- the process itself


def _serve(options: _Options, tasks: IO[bytes], replies: IO[bytes]) -> None:
    waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()

    def take() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                waiting.put(_decode_run(_read_whole(tasks)))
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
            _write(replies, Ran(action.jobs, outcomes, (time.monotonic() - began) * 1e3))
        except FrameError as error:
            _write(replies, RunFailed(action.jobs, str(error), Why.BAD_BODY))
        except (ShoalError, MemoryError) as error:
            if loaded is None:
                replies.write(_READY)
            _write(replies, RunFailed(action.jobs, str(error)))


def _main(options: _Options) -> None:
    with contextlib.suppress(OSError):  # of two processes the kernel ends this one for want of room
        Path("/proc/self/oom_score_adj").write_text("1000")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints something does not disturb the replies
    _serve(options, sys.stdin.buffer, replies)
    os._exit(0)  # the other thread reads, and an interpreter that ends would abort for that


if __name__ == "__main__":
    _main(msgspec.json.decode(sys.argv[1], type=_Options))

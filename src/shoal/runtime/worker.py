"""A worker process: joins the mesh, runs what it is given, and drains when told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec

from shoal.errors import ShoalError, UsageError
from shoal.mesh.link import Link
from shoal.mesh.place import Place
from shoal.mesh.zenoh import ZenohLink
from shoal.model.engine import CPU, Engine
from shoal.model.store import PartStore
from shoal.process import end_with, own_process
from shoal.runtime.node import Node
from shoal.scratch import Scratch

LEAVE_S = 2.0
"""How long a worker whose parent is gone waits for the others that use its folder to end."""

log = logging.getLogger("shoal")


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker runs.

    ``listen`` and ``connect`` are addresses like ``tcp/0.0.0.0:7447``; a worker that knows no
    other waits to be found. It takes requests and parts at ``data_port`` (None: the port after that
    of its address, or any free one; 0: any free one); ``known`` has host and data port of others by
    name (port 0: they tell it). ``memory_limit`` bounds its loaded parts and what they run in bytes
    (see :func:`~shoal.runtime.machine.own_info`). ``store`` is the folder of its parts,
    ``store_limit`` its size in bytes (0: none): what was used least recently is dropped beyond it.
    ``drain_s`` bounds how long it finishes what it has when told to stop. ``record`` is a file for
    all that it does (see :mod:`shoal.runtime.recording`).
    """

    name: str
    listen: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    data_port: int | None = None
    known: dict[str, tuple[str, int]] = {}
    threads: int = 1
    provider: str = CPU
    memory_limit: int = 0
    store: str | None = None
    lease_ms: int = 400
    inbox: int = 256
    drain_s: float = 10.0
    store_limit: int = 8 << 30
    record: str | None = None


def run_worker(
    options: WorkerOptions,
    on_ready: Callable[[Link], None] | None = None,
    on_contact: Callable[[list[str]], None] | None = None,
) -> None:
    """Work until SIGTERM or Ctrl-C, then finish what is here. Call it from the main thread.

    ``on_ready`` is called once the worker is on the mesh, ``on_contact`` with the peers that it
    sees then (nobody answers, perhaps), and when the first comes or the last goes. A second signal
    stops at once. Where Ctrl-C was ignored from the start, as shells have it for what a script
    starts in the background, it stays ignored. Raises MeshError when the mesh cannot be joined,
    NameTakenError (also later, when another node took the name while this one was frozen or cut
    off), UsageError for impossible options, StoreError when ``record`` cannot be written.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("run_worker must be called from the main thread of a process")
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # an Event may not be set in a handler

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping:
            os._exit(128 + number)
        stopping.append(number)
        signals.put(number)

    stopping: list[int] = []

    link = ZenohLink(
        options.name,
        listen=list(options.listen),
        connect=list(options.connect),
        lease_ms=options.lease_ms,
        data_port=options.data_port,
        known={name: Place(*at) for name, at in options.known.items()},
    )
    node = Node(
        link,
        PartStore(options.store, limit_bytes=options.store_limit or None),
        Engine(options.threads, options.provider),
        memory_limit=options.memory_limit,
        inbox=options.inbox,
        record=options.record,
    )
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        node.start()
        try:
            if on_ready is not None:
                on_ready(link)
            seen: list[str] | None = None
            while not stopping and not node.drained.is_set():
                with contextlib.suppress(queue.Empty):
                    signals.get(timeout=0.5)
                peers = sorted(link.peers())
                changed = seen is None or bool(peers) != bool(seen)
                if on_contact is not None and changed and not stopping:
                    on_contact(peers)
                seen = peers
            node.drain()
            if not node.drained.wait(options.drain_s):
                log.warning("%s: stopped with work left after %g s", options.name, options.drain_s)
            node.flush(options.drain_s)
        finally:
            node.close()
        if node.name_lost is not None:
            raise node.name_lost
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _main(text: str, parent: str = "", folder: str | None = None) -> None:
    """The body of a worker process: options as JSON, a line with its addresses when ready. It
    ends with the process ``parent`` (its number), which started it and holds the other end of its
    standard input; then the last that uses ``folder`` removes it."""
    scratch = None if folder is None else Scratch.join(Path(folder))

    def end() -> None:
        if scratch is not None:
            scratch.leave(within_s=LEAVE_S)
        os._exit(0)  # nobody waits for what is here

    end_with(int(parent) if parent else os.getppid(), end)
    own_process()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    options = msgspec.json.decode(text, type=WorkerOptions)

    def ready(link: Link) -> None:
        addresses = link.addresses if isinstance(link, ZenohLink) else []
        print(msgspec.json.encode({"addresses": addresses}).decode(), flush=True)

    try:
        run_worker(options, ready)
    except ShoalError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main(*sys.argv[1:])

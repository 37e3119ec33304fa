"""The client's process: connects to a rival, asks as it is told, reports what became of it.

    python -m shoal_benchmarks.rivals.driver RIVAL JOB

It is told by lines of JSON on its standard input and answers each with a line. When the input
ends before its work does, the bench is gone, and it takes all processes of the run with it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import numpy as np

from shoal_benchmarks.rivals import family
from shoal_benchmarks.rivals.asking import Asking, Record, right
from shoal_benchmarks.rivals.job import Job, load
from shoal_benchmarks.rivals.rival import Client, find

if TYPE_CHECKING:
    from concurrent.futures import Future

CASES = "cases.npz"
RETRY_S = 0.05


class Order(msgspec.Struct, frozen=True):
    """What to do: ``load`` (ask until the end), ``first`` (when came the first right answer to a
    request asked after ``after_s``), ``finish`` (all records, then leave)."""

    do: str
    after_s: float = 0.0


class Reply(msgspec.Struct, frozen=True):
    """``at_s``: when it was ready, or when the first answer came (None: not yet)."""

    at_s: float | None = None
    records: tuple[Record, ...] = ()


def main(name: str, path: str) -> None:
    """Serve the bench until it has what it wants."""
    job = load(path)
    # What libraries print must not come between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with np.load(Path(job.folder) / CASES) as cases:
        images, expected = list(cases["images"]), list(cases["expected"])
    orders = _Orders()
    client = first_answer(name, job, images[0], expected[0])
    asking = Asking(client, images, expected, job.window, job.deadline_s)
    _say(replies, Reply(at_s=time.monotonic()))
    for order in orders:
        if order.do == "load":
            asking.start()
            _say(replies, Reply())
        elif order.do == "first":
            _say(replies, Reply(at_s=asking.first_good_s(order.after_s)))
        else:
            _say(replies, Reply(records=tuple(asking.finish())))
            orders.done = True
            client.close()
            return


def first_answer(
    name: str, job: Job, image: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]
) -> Client:
    """The rival's client once it has given a right answer. It is asked again and again: the bench
    decides when that takes too long."""
    client = find(name).connect(job)
    while True:
        try:
            future: Future[np.ndarray[Any, Any]] = client.submit(image)
            if right(future.result(job.deadline_s), expected):
                return client
            print("the first answer is wrong", file=sys.stderr, flush=True)
        except Exception as error:
            print(f"no answer yet: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(RETRY_S)


class _Orders:
    """Lines from the bench. Read on a thread of its own, to notice at any time that they end."""

    def __init__(self) -> None:
        import queue

        self.done = False
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def __iter__(self) -> _Orders:
        return self

    def __next__(self) -> Order:
        return msgspec.json.decode(self._lines.get(), type=Order)

    def _read(self) -> None:
        held = b""
        while data := os.read(0, 65536):  # no buffer, whose lock this thread would hold at the end
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                self._lines.put(line)
        if not self.done:
            family.end(os.environ.get(family.MARK, ""))
            os._exit(1)


def _say(replies: IO[bytes], reply: Reply) -> None:
    replies.write(msgspec.json.encode(reply) + b"\n")
    replies.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

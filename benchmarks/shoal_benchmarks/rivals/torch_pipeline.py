"""Rival: ``torch.distributed.pipelining`` on gloo, the network as a PyTorch module."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from shoal.errors import FrameError
from shoal_benchmarks.rivals.stage import dial
from shoal_benchmarks.rivals.tensors import receive, send

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job, Seat

BACKEND = "seated_gloo"
GATHER_S = 0.02
"""How long a batch that is not full waits for the next image before it is filled up."""
REDIAL_S = 0.05
DIAL_S = 15.0

Asked: TypeAlias = tuple[np.ndarray[Any, Any], Future[np.ndarray[Any, Any]]]


def batch_of(job: Job) -> int:
    """Images in a step of the schedule: half the window, so that two steps are under way."""
    return max(1, job.window // 2)


class TorchPipeline:
    """A rank a stage, each started again when it ends."""

    title = "PyTorch pipelining"
    needs = ("torch",)

    def stages(self, job: Job) -> int:
        return len(job.pieces)

    def start(self, ground: Ground, job: Job) -> None:
        env = {name: str(job.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        for stage, seat in enumerate(job.seats):
            command = ["-m", "shoal_benchmarks.rivals.torch_rank", str(job.path), str(stage)]
            ground.spawn(seat, command, keep=True, env=env)

    def connect(self, job: Job) -> TorchClient:
        return TorchClient(job)


class TorchClient:
    """Gathers requests into batches for the first rank; the last rank's answers come in order."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._batch = batch_of(job)
        self._asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="ranks", daemon=True)
        self._thread.start()

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        """Ask with the next batch."""
        future: Future[np.ndarray[Any, Any]] = Future()
        self._asked.put((image, future))
        return future

    def close(self) -> None:
        """Hang up."""
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        first, last = self._job.seats[0], self._job.seats[-1]
        while not self._over.is_set():
            into = self._dial(first, DIAL_S)
            if into is None:
                continue
            out = into if first == last else self._dial(last, DIAL_S)
            if out is None:
                into.close()
                continue
            _Group(into, out, self._job, self._asked, self._over).serve()

    def _dial(self, seat: Seat, patience_s: float) -> socket.socket | None:
        """Try until it works: hanging up on one rank because the other is not there yet would
        bring both down."""
        end_s = time.monotonic() + patience_s
        while not self._over.is_set() and time.monotonic() < end_s:
            try:
                return dial(seat.address, seat.ports[0])
            except OSError:
                time.sleep(REDIAL_S)
        return None


class _Group:
    """The connections to one life of the ranks."""

    def __init__(
        self,
        into: socket.socket,
        out: socket.socket,
        job: Job,
        asked: queue.SimpleQueue[Asked],
        over: threading.Event,
    ) -> None:
        self._into, self._out = into, out
        self._given, self._wanted = job.input.name, job.output.name
        self._batch = batch_of(job)
        self._asked = asked
        self._over = over
        self._sent: deque[list[Asked]] = deque()
        self._broken = threading.Event()

    def serve(self) -> None:
        """Until a rank is gone; then what is under way is lost."""
        taker = threading.Thread(target=self._take, name="taker", daemon=True)
        taker.start()
        with contextlib.suppress(OSError):
            while not (self._over.is_set() or self._broken.is_set()):
                batch = self._gather()
                if batch:
                    self._sent.append(batch)
                    images = [image for image, _ in batch]
                    images += images[-1:] * (self._batch - len(images))
                    send(self._into, {self._given: np.concatenate(images)})
        for sock in {self._into, self._out}:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        taker.join()
        while self._sent:
            for _, future in self._sent.popleft():
                future.set_exception(ConnectionError("a rank is gone"))

    def _gather(self) -> list[Asked]:
        batch: list[Asked] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._batch:
                batch.append(self._asked.get(timeout=GATHER_S))
        return batch

    def _take(self) -> None:
        with contextlib.suppress(OSError, FrameError):
            while (arrays := receive(self._out)) is not None:
                outputs = arrays[self._wanted]
                for row, (_, future) in enumerate(self._sent.popleft()):
                    future.set_result(outputs[row : row + 1])
        self._broken.set()


RIVAL = TorchPipeline()

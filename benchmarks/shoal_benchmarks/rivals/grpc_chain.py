"""Rival: ONNX Runtime and gRPC, as a good engineer would chain them in a day."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_benchmarks.rivals.tensors import pack, unpack

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.grpc_call import Asker
    from shoal_benchmarks.rivals.job import Job


class GrpcChain:
    """A process a stage, each started again when it ends."""

    title = "gRPC chain"
    needs = ("grpc",)

    def stages(self, job: Job) -> int:
        return len(job.pieces)

    def start(self, ground: Ground, job: Job) -> None:
        for stage, seat in enumerate(job.seats):
            command = ["-m", "shoal_benchmarks.rivals.grpc_stage", str(job.path), str(stage)]
            ground.spawn(seat, command, keep=True)

    def connect(self, job: Job) -> GrpcClient:
        from shoal_benchmarks.rivals.grpc_call import Asker, Next

        seat = job.seats[0]
        first = Next(seat.address, seat.ports[0])
        return GrpcClient(job, Asker(first, job.window, job.deadline_s))


class GrpcClient:
    """Packs requests and unpacks answers on the threads of the calls."""

    def __init__(self, job: Job, asker: Asker) -> None:
        self._asker = asker
        self._given = job.input.name
        self._wanted = job.output.name

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        """Ask the first stage."""
        made: Future[np.ndarray[Any, Any]] = Future()

        def take(done: Future[bytes]) -> None:
            try:
                made.set_result(unpack(done.result())[self._wanted])
            except BaseException as error:
                made.set_exception(error)

        self._asker.ask(pack({self._given: image})).add_done_callback(take)
        return made

    def close(self) -> None:
        """Hang up."""
        self._asker.close()


RIVAL = GrpcChain()

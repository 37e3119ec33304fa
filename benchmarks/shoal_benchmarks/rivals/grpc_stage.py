"""A stage of the gRPC chain: runs its piece, asks the next stage, and gives back its answer.

    python -m shoal_benchmarks.rivals.grpc_stage JOB STAGE

Unary calls on as many threads as requests may be under way, one of which computes at a time; the
caller's deadline goes along.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc

from shoal_benchmarks.rivals import stage as process
from shoal_benchmarks.rivals.grpc_call import METHOD, OPTIONS, SERVICE, Next
from shoal_benchmarks.rivals.tensors import pack, unpack

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.job import Job


class Stage:
    """The service of a stage."""

    def __init__(self, job: Job, stage: int) -> None:
        self._session = process.Session(job.pieces[stage], job.threads)
        self._one = threading.Lock()
        self._next: Next | None = None
        if stage + 1 < len(job.pieces):
            seat = job.seats[stage + 1]
            self._next = Next(seat.address, seat.ports[0])

    def run(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """The answer to a request."""
        arrays = unpack(request)
        with self._one:
            if not context.is_active():
                context.abort(grpc.StatusCode.CANCELLED, "nobody waits for it any more")
            made = self._session.run(arrays)
        if self._next is None:
            return pack(made)
        try:
            return self._next.ask(pack(made), context.time_remaining())
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
            raise


def main(path: str, number: str) -> None:
    """Serve until the bench ends."""
    job = process.enter(path)
    stage = Stage(job, int(number))
    seat = job.seats[int(number)]
    server = grpc.server(ThreadPoolExecutor(job.window), options=OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(stage.run)
    generic = grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})
    server.add_generic_rpc_handlers((generic,))
    server.add_insecure_port(f"{seat.address}:{seat.ports[0]}")
    server.start()
    job.put_pid(int(number), os.getpid())
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])

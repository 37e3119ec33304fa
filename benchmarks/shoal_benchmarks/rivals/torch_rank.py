"""A rank of the PyTorch pipeline.

    python -m shoal_benchmarks.rivals.torch_rank JOB RANK

The first rank takes batches of ``batch_of(job)`` images from the client, the last gives it the
outputs; in between, ``torch.distributed.pipelining`` (GPipe's schedule, forward only) sends one
image at a time over gloo. Several batches are under way, so that the pipeline does not run empty
between them. When the client or a neighbour is gone the rank ends, and the group forms anew.
"""

from __future__ import annotations

import os
import socket
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

from shoal_benchmarks.rivals import stage as process
from shoal_benchmarks.rivals.job import Job
from shoal_benchmarks.rivals.tensors import receive, send
from shoal_benchmarks.rivals.torch_piece import TorchPiece
from shoal_benchmarks.rivals.torch_pipeline import BACKEND, batch_of

PATIENCE = timedelta(seconds=60)
"""How long a rank waits for the others to appear. A restarted group must outlast slow imports."""
ACCEPT_S = 20.0
"""How long a rank of a formed group waits for the client before it begins anew."""


def main(path: str, number: str) -> None:
    """Serve one group: until the bench ends, or the client or a neighbour is gone."""
    job, rank = process.enter(path), int(number)
    torch.set_num_threads(job.threads)
    seat, first = job.seats[rank], job.seats[0]
    count = len(job.pieces)
    module = TorchPiece(job.pieces[rank]).eval()
    server = None
    if rank in (0, count - 1):  # before the group forms, so that the client finds both ends
        server = process.listen(seat.address, seat.ports[0])
    with torch.inference_mode():
        _join(seat.address, f"tcp://{first.address}:{first.ports[1]}", rank, count)
        schedule = ScheduleGPipe(_stage(job, module, rank), batch_of(job))
        job.put_pid(rank, os.getpid())
        if server is not None:
            _serve(server, job, rank, schedule)
        while True:
            schedule.eval()


def _serve(server: socket.socket, job: Job, rank: int, schedule: ScheduleGPipe) -> None:
    last = rank == len(job.pieces) - 1
    server.settimeout(ACCEPT_S)
    with server:
        sock, _ = server.accept()
    process.quick(sock)
    while True:
        given = () if rank else (_images(sock, job),)
        made = schedule.eval(*given)
        if last:
            send(sock, {job.output.name: made.numpy()})


def _images(sock: Any, job: Job) -> torch.Tensor:
    arrays = receive(sock)
    if arrays is None:
        print("the client is gone", file=sys.stderr, flush=True)
        os._exit(1)
    return torch.from_numpy(arrays[job.input.name])


def _stage(job: Job, module: TorchPiece, rank: int) -> PipelineStage:
    piece = job.pieces[rank]
    one = [torch.zeros([d or 1 for d in s.shape], dtype=_dtype(s.dtype)) for s in piece.inputs]
    made = module(*one)
    return PipelineStage(
        module,
        rank,
        len(job.pieces),
        torch.device("cpu"),
        input_args=tuple(one),
        output_args=made,
    )


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found


def _join(address: str, master: str, rank: int, count: int) -> None:
    """Gloo takes its own address from the host's name, which names no interface in a lab."""
    options = dist.ProcessGroupGloo._Options()
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = PATIENCE

    def make(store: Any, rank: int, size: int, timeout: timedelta) -> Any:
        return dist.ProcessGroupGloo(store, rank, size, options)

    dist.Backend.register_backend(BACKEND, make, devices=["cpu"])
    dist.init_process_group(
        BACKEND, init_method=master, rank=rank, world_size=count, timeout=PATIENCE
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

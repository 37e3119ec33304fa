"""Rival: a chain of Ray actors, each an ONNX Runtime session of its stage.

On one machine there is one Ray node, and tensors pass through its shared memory; on hosts of
their own each has a node, and they pass over the network. Actors are restarted for ever and their
calls made again, as Ray offers.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_benchmarks.rivals.stage import Session

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job, Seat

STORE_BYTES = 200 << 20
"""Shared memory of each node: much more than the window of requests fills."""
ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Stage:
    """The actor."""

    def __init__(self, job: Job, stage: int) -> None:
        seat = job.seats[stage]
        if seat.cores and hasattr(os, "sched_setaffinity"):
            for thread in Path("/proc/self/task").iterdir():
                os.sched_setaffinity(int(thread.name), seat.cores)
        self._session = Session(job.pieces[stage], job.threads)
        job.put_pid(stage, os.getpid())

    def run(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """The outputs of the stage."""
        return self._session.run(arrays)


class RayChain:
    """A Ray cluster, and an actor a stage."""

    title = "Ray actors"
    needs = ("ray",)

    def stages(self, job: Job) -> int:
        return len(job.pieces)

    def start(self, ground: Ground, job: Job) -> None:
        seats = {seat.name: seat for seat in job.seats}
        if job.shared:
            _node(ground, job, job.client, list(seats), head=True)
            return
        _node(ground, job, job.client, [], head=True)
        for seat in job.seats:
            _node(ground, job, seat, [seat.name], head=False)

    def connect(self, job: Job) -> RayClient:
        return RayClient(job)


class RayClient:
    """Makes the actors and chains their calls."""

    def __init__(self, job: Job) -> None:
        os.environ.update(ENV)
        import ray

        self._ray = ray
        self._given, self._wanted = job.input.name, job.output.name
        self._session = _connected(ray, job)
        actor = ray.remote(Stage)
        self._actors = [
            actor.options(
                num_cpus=0, resources={seat.name: 1}, max_restarts=-1, max_task_retries=-1
            ).remote(job, stage)
            for stage, seat in enumerate(job.seats)
        ]

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        """Ask the first actor, and each next one with what comes of it."""
        reference: Any = {self._given: image}
        for actor in self._actors:
            reference = actor.run.remote(reference)
        made: Future[np.ndarray[Any, Any]] = Future()

        def take(done: Future[dict[str, Any]]) -> None:
            try:
                made.set_result(done.result()[self._wanted])
            except BaseException as error:
                made.set_exception(error)

        reference.future().add_done_callback(take)
        return made

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def _connected(ray: Any, job: Job) -> Any:
    """The nodes need some seconds to appear: the driver asks until they do."""
    import time

    address = f"{job.client.address}:{job.client.ports[0]}"
    while True:
        try:
            return ray.init(
                address=address,
                _node_ip_address=job.client.address,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, RuntimeError, OSError, ValueError):
            ray.shutdown()
            time.sleep(0.2)


def _node(ground: Ground, job: Job, seat: Seat, resources: list[str], *, head: bool) -> None:
    """``ray start`` on a seat, in the foreground, so that it ends with the run."""
    port = job.client.ports[0]
    where = ["--head", f"--port={port}"] if head else [f"--address={job.client.address}:{port}"]
    folder = Path(temp_of(job))
    folder.mkdir(exist_ok=True)
    own: list[str] = []
    if head:
        where += [f"--temp-dir={folder}", "--include-dashboard=false"]
    else:
        own = ["-m", "shoal_benchmarks.rivals.own_folder", str(folder)]
    ground.spawn(
        seat,
        [
            *own,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            *where,
            f"--node-ip-address={seat.address}",
            f"--num-cpus={max(1, len(seat.cores))}",
            f"--object-store-memory={STORE_BYTES}",
            f"--resources={json.dumps(dict.fromkeys(resources, 1))}",
            "--disable-usage-stats",
        ],
        env=ENV,
        keep=not head,  # a node that does not find the head at once gives up
    )


def temp_of(job: Job) -> str:
    """Ray's folder for this job. Sockets lie there, whose paths must be short."""
    return f"{tempfile.gettempdir()}/{Path(job.folder).name}-ray"


def clean(job: Job) -> None:
    """Remove Ray's folder."""
    shutil.rmtree(temp_of(job), ignore_errors=True)


RIVAL = RayChain()

"""Shoal's own entries: the pipeline playbook whose cuts all rivals use, and Shoal's replicas."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from shoal.plan.cluster import Cluster
    from shoal.plan.plan import Playbook
    from shoal.runtime.answer import Answer
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job


class Shoal:
    """A worker a seat. Nobody starts a killed one again: the others take over."""

    needs = ()

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self.title = f"Shoal {strategy}"

    def stages(self, job: Job) -> int:
        return len(job.seats)

    def start(self, ground: Ground, job: Job) -> None:
        pids = start_workers(ground, job)
        for stage, name in enumerate(_in_order(job, self.strategy)):
            job.put_pid(stage, pids[name])

    def connect(self, job: Job) -> ShoalClient:
        return ShoalClient(job, self.strategy)


class ShoalClient:
    """A service in this process."""

    def __init__(self, job: Job, strategy: str) -> None:
        import shoal

        self._wanted = job.output.name
        self._service = shoal.deploy(
            playbook_of(job, strategy),
            cluster_of(job),
            store=shoal.PartStore(store_of(job, "client")),
            wait_s=60.0,
            deadline_ms=job.deadline_s * 1e3,
        )

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        """Ask the service."""
        made: Future[np.ndarray[Any, Any]] = Future()

        def take(done: Future[Answer]) -> None:
            try:
                made.set_result(done.result().outputs[self._wanted])
            except BaseException as error:
                made.set_exception(error)

        self._service.submit(image).add_done_callback(take)
        return made

    def close(self) -> None:
        """Leave the mesh."""
        self._service.close()


def start_workers(ground: Ground, job: Job) -> dict[str, int]:
    """A worker on each seat, with the parts on its disk that earlier runs left there; their
    process numbers."""
    from shoal.runtime.worker import WorkerOptions

    pids = {}
    for seat in job.seats:
        options = WorkerOptions(
            name=seat.name,
            listen=(f"tcp/{seat.address}:{seat.ports[0]}",),
            threads=job.threads,
            store=str(store_of(job, seat.name)),
        )
        text = msgspec.json.encode(options).decode()
        pids[seat.name] = ground.spawn(seat, ["-m", "shoal.runtime.worker", text]).pid
    return pids


def cluster_of(job: Job) -> Cluster:
    """The seats as a cluster: of one machine, or of hosts of their own."""
    from shoal.plan.cluster import Cluster, Device, Gateway, Host

    host = "here" if job.shared else None
    cores = {core for seat in job.seats for core in seat.cores}
    return Cluster(
        devices=tuple(
            Device(
                name=seat.name,
                address=f"tcp/{seat.address}:{seat.ports[0]}",
                threads=job.threads,
                host=host,
            )
            for seat in job.seats
        ),
        gateway=Gateway(host=host),
        hosts={"here": Host(float(len(cores) or 1))} if job.shared else {},
    )


def store_of(job: Job, name: str) -> Path:
    """The disk of a seat, as far as Shoal's parts go."""
    return Path(job.folder) / f"store-{name}"


def playbook_path(job: Job, strategy: str) -> Path:
    """Where the playbook of a strategy lies."""
    return Path(job.folder) / f"{strategy}.json"


def playbook_of(job: Job, strategy: str) -> Playbook:
    """The playbook of a strategy, as it was planned for this job."""
    from shoal.plan.playbook import load

    return load(playbook_path(job, strategy))


def _in_order(job: Job, strategy: str) -> list[str]:
    """Devices in the order of the stages that they run when all are alive."""
    stages = playbook_of(job, strategy).plans[0].stages
    named = list(dict.fromkeys(device for stage in stages for device in stage.parts))
    return named + [seat.name for seat in job.seats if seat.name not in named]


RIVAL = Shoal("pipeline")

"""Rival: the whole network once on each seat, requests dealt round robin by a plain client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal_benchmarks.rivals.round_robin import RoundRobin

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job


class Replicas:
    """One process a seat, ``threads`` each, started again when it ends."""

    title = "plain replicas"
    needs = ()

    def stages(self, job: Job) -> int:
        return len(job.seats)

    def start(self, ground: Ground, job: Job) -> None:
        for stage, seat in enumerate(job.seats):
            command = ["-m", "shoal_benchmarks.rivals.replica_server", str(job.path)]
            ground.spawn(seat, [*command, str(stage), str(job.threads)], keep=True)

    def connect(self, job: Job) -> RoundRobin:
        return RoundRobin(
            [(seat.address, seat.ports[0]) for seat in job.seats],
            job.input.name,
            job.output.name,
            job.deadline_s,
        )


RIVAL = Replicas()

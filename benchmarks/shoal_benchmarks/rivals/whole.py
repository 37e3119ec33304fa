"""Rival: the whole network in one process with all cores that the stages have together.

On hosts of their own there are no such cores: it has the first host, with its threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shoal_benchmarks.rivals.round_robin import RoundRobin

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job


class Whole:
    """One process, started again when it ends."""

    title = "one process"
    needs = ()

    def stages(self, job: Job) -> int:
        return 1

    def start(self, ground: Ground, job: Job) -> None:
        seat, threads = job.seats[0], job.threads
        if job.shared:
            cores = tuple(sorted({core for seat in job.seats for core in seat.cores}))
            seat = msgspec.structs.replace(seat, cores=cores)
            threads = max(1, len(cores))
        command = ["-m", "shoal_benchmarks.rivals.replica_server", str(job.path)]
        ground.spawn(seat, [*command, "0", str(threads)], keep=True)

    def connect(self, job: Job) -> RoundRobin:
        seat = job.seats[0]
        address = (seat.address, seat.ports[0])
        return RoundRobin([address], job.input.name, job.output.name, job.deadline_s)


RIVAL = Whole()

"""What a rival is: processes on the seats of a job, and a client that asks them."""

from __future__ import annotations

from concurrent.futures import Future
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job

RIVALS = {
    "whole": "whole",
    "replicas": "replicas",
    "torch": "torch_pipeline",
    "ray": "ray_chain",
    "grpc": "grpc_chain",
    "shoal-pipeline": "shoal_pipeline",
    "shoal-replicas": "shoal_replicas",
}
"""Name, and the module in this package that holds ``RIVAL``. The order is that of the table."""


class Client(Protocol):
    """Asks from the client's seat."""

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        """Ask, and go on. The future gets the network's output, or an error when the request is
        lost. It may wait for room, but never for an answer."""

    def close(self) -> None:
        """Let go of connections and threads."""


class Rival(Protocol):
    """A way to answer. ``title`` is that of the table; ``needs`` are packages beyond Shoal's."""

    @property
    def title(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...

    def stages(self, job: Job) -> int:
        """How many processes answer, and may be killed."""

    def start(self, ground: Ground, job: Job) -> None:
        """Start the processes, without waiting. Each notes its number (:meth:`Job.put_pid`)."""

    def connect(self, job: Job) -> Client:
        """In a process on the client's seat: what asks."""


def find(name: str) -> Rival:
    """The rival called ``name``. It is imported, the packages that it needs are not."""
    return cast(Rival, import_module(f"{__package__}.{RIVALS[name]}").RIVAL)


def lacks(rival: Rival) -> str | None:
    """The first package that the rival needs and that is not installed."""
    return next((package for package in rival.needs if find_spec(package) is None), None)

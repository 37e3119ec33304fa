"""Workers that are mortal, and one that starts them again."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from shoal.runtime.local import LocalCluster

FRAGILE = Path(__file__).parent / "fragile"


@contextlib.contextmanager
def fragile(**deadly: str) -> Iterator[None]:
    """Processes that are started in this block die of what is said (see ``fragile``):
    ``SHOAL_DEADLY_VALUE``, ``SHOAL_DEADLY_PART``."""
    path = os.pathsep.join(filter(None, (str(FRAGILE), os.environ.get("PYTHONPATH"))))
    with _environment({"PYTHONPATH": path, **deadly}):
        yield


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Supervisor:
    """Starts the workers of a cluster again ``pause_s`` after they died, as a service manager does,
    while its ``with`` block lasts. ``deaths`` counts."""

    def __init__(self, cluster: LocalCluster, pause_s: float = 1.0) -> None:
        self.deaths = 0
        self._cluster, self._pause_s = cluster, pause_s
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(name,), name=f"supervisor-{name}")
            for name in cluster.processes
        ]
        self._lock = threading.Lock()

    def _watch(self, name: str) -> None:
        process = self._cluster.processes[name]
        while not self._over.wait(0.01):
            if not process.running:
                with self._lock:
                    self.deaths += 1
                self._over.wait(self._pause_s)
                process.restart()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

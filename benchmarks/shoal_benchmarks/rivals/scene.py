"""A scene: a network, the ground on which rivals meet, and how many rounds they go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shoal.errors import MeshError
from shoal.model.network import Network
from shoal.scratch import Scratch
from shoal_benchmarks.rivals.ground import Ground
from shoal_benchmarks.rivals.job import Job, load, write_piece

WINDOW_PER_STAGE = 4
"""Requests under way for each stage: as many as Shoal's own default."""
DEADLINE_S = 5.0
PREPARE_S = 600.0


class Scene(msgspec.Struct, frozen=True):
    """``make`` gives a fresh ground each time, whose processes log into the folder it gets."""

    title: str
    network: Network
    make: Callable[[Path], Ground]
    threads: int = 1


@contextmanager
def prepared(scene: Scene) -> Iterator[Job]:
    """The scene's job, with everything on disk that the rivals need; all of it goes with the
    block. MeshError when the planning fails."""
    from shoal_benchmarks.rivals import ray_chain

    scratch = Scratch.make("rivals")
    folder = scratch.path
    job: Job | None = None
    try:
        (whole,) = scene.network.split([])
        piece = write_piece(whole, folder / "whole.onnx")
        with scene.make(folder) as ground:
            job = Job(
                folder=str(folder),
                network=scene.network.name,
                whole=piece,
                pieces=(),
                seats=ground.seats,
                client=ground.client,
                shared=ground.shared,
                threads=scene.threads,
                window=WINDOW_PER_STAGE * len(ground.seats),
                deadline_s=DEADLINE_S,
            )
            job.save()
            _plan(ground, job)
        yield load(job.path)
    finally:
        if job is not None:
            ray_chain.clean(job)
        scratch.remove()


def seated(job: Job, ground: Ground) -> Job:
    """The job on the seats of a fresh ground, written to its file."""
    job = msgspec.structs.replace(job, seats=ground.seats, client=ground.client)
    job.save()
    return job


def _plan(ground: Ground, job: Job) -> None:
    from shoal_benchmarks.rivals.shoal_pipeline import start_workers

    start_workers(ground, job)
    planner = ground.spawn(
        ground.client, ["-m", "shoal_benchmarks.rivals.preparing", str(job.path), job.whole.file]
    )
    end_s = time.monotonic() + PREPARE_S
    while planner.poll() is None:
        if time.monotonic() > end_s:
            raise MeshError(f"planning took longer than {PREPARE_S:g} s")
        time.sleep(0.05)
    if planner.returncode != 0:
        raise MeshError(f"planning failed: {ground.log(ground.client)}")

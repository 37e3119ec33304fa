"""What the command ``shoal train failout`` does, from its options to its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shoal.errors import UnsupportedModelError, UsageError
from shoal.model import preprocessing
from shoal.model.bundle import Bundle
from shoal.model.network import Network
from shoal.model.network import load as load_network
from shoal.model.store import check_file, write_file
from shoal.plan.cluster import Cluster, Device
from shoal.strategies.shards.prepare import ShardOptions
from shoal_train.failout.pictures import Pictures, load
from shoal_train.failout.risk import Risk
from shoal_train.failout.train import FILLS, JUDGED, measure, tune
from shoal_train.folder import fed
from shoal_train.graph import onnx_bytes
from shoal_train.loop import Settings, Watcher
from shoal_train.tuning import batch_for, check_rate, module_of

MOST_SETS = 500
"""Of devices that may be lost together: each is measured, and has a row at each layer."""


@dataclass(frozen=True)
class Job:
    """The options."""

    network: Network
    out: Path
    data: str
    survive: int
    rho: float
    deal: str
    epochs: int
    learning_rate: float
    seed: int
    threads: int | None


@dataclass(frozen=True)
class Ready:
    """What is trained, and on what."""

    risk: Risk
    pictures: Pictures


def checked(job: Job, cluster: Path | None, devices: int | None) -> Ready:
    """The network, the devices and the images of a job. UsageError, PlanError, DataError and others
    for what does not go together, before anything is trained."""
    if (cluster is None) == (devices is None):
        raise UsageError("say who shares the network: --cluster FILE, or --devices N")
    if job.deal not in ("all", "inner"):
        raise UsageError(f"--deal {job.deal!r}: use all, or inner")
    check_rate(job.learning_rate)
    options = ShardOptions(rho=job.rho, deal=job.deal)
    if cluster is not None:
        stated = Cluster.load(cluster)
    else:
        stated = Cluster(devices=tuple(Device(name=f"device-{k + 1}") for k in range(devices or 0)))
    if job.survive >= len(stated.computing):
        raise UsageError(
            f"--survive {job.survive}: there are {len(stated.computing)} devices, and one must be "
            "left to answer"
        )
    sets = sum(math.comb(len(stated.computing), lost) for lost in range(1, job.survive + 1))
    if sets > MOST_SETS:
        raise UsageError(
            f"--survive {job.survive}: there are {sets} sets of devices that may be lost, and at "
            f"most {MOST_SETS} are trained for; ask for fewer"
        )
    check_file(job.out)
    network = job.network
    if isinstance(network, Bundle):
        raise UnsupportedModelError(
            f"{network.name!r} holds several networks; give one, as an ONNX file"
        )
    pictures = load(job.data, network, job.seed)
    judged = fed(pictures.data.train.images[:JUDGED], network.inputs[0])
    module_of(network)
    return Ready(Risk.of(network, stated, job.survive, options, judged), pictures)


def run(
    job: Job, ready: Ready, watcher: Watcher, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Train, write the network, and tell what it keeps before and after."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    risk, data = ready.risk, ready.pictures.data
    measured = f"measuring what is right {{}}, on {len(data.test):,} images"
    say(measured.format("before"))
    before = measure(risk, risk.network, data.test)
    settings = Settings(
        job.epochs,
        job.seed,
        batch=batch_for(risk.network),
        learning_rate=job.learning_rate,
        weight_decay=0.0,
    )
    tuned = tune(risk, data, settings, watcher)
    content = onnx_bytes(tuned.network.graph)
    say(measured.format("after"))
    after = measure(risk, written(content, risk.network), data.test)
    write_file(job.out, content)
    preprocessing.tell(Path(job.out), job.network.preprocessing)
    say(f"wrote {job.out}")
    return {
        "network": risk.network.name,
        "out": str(job.out),
        "devices": len(risk.shares),
        "survive": risk.survive,
        "rho": risk.rho,
        "deal": job.deal,
        "counted": "answers as before" if ready.pictures.own else "accuracy",
        "images": len(data.test),
        "before": before,
        "after": after,
        "best_epoch": tuned.fitted.best_epoch,
        "epochs": tuned.fitted.rows,
    }


def written(content: bytes, network: Network) -> Network:
    """The network that a file holds, as ``shoal plan`` will load it."""
    return load_network(content, name=network.name)


def table_rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """By how many devices are lost, what stands in for the missing, and over the sets: the share of
    images answered right before and after."""
    states = (found["before"], found["after"])
    yield ("none", *(f"{state['alive']:.4f}" for state in states))
    for fill in FILLS:
        for which in ("mean", "worst"):
            name = f"{found['survive']}, {fill}: {which}"
            yield (name, *(f"{state[fill][which]:.4f}" for state in states))

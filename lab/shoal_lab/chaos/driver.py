"""The program on the gateway's host: plans, deploys, asks, and reports every second.

    python -m shoal_lab.chaos.driver JOB

Says in lines of JSON what it does until the load begins, then a :class:`Tick` each second. When
its standard input ends it waits for the last answers, writes the account, and leaves.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

import shoal
from shoal import zoo
from shoal.errors import ShoalError
from shoal.mesh.address import dial, parse_address
from shoal.observe.load_generator import Arrays, LoadGenerator, answers_of
from shoal.plan.cluster import Cluster, Device, Gateway
from shoal.process import own_process
from shoal_lab.chaos.job import Account, Doing, Job, Said, Tick

if TYPE_CHECKING:
    from shoal.model.network import Network

TICK_S = 1.0
WAIT_S = 60.0
"""How long slow devices may take to fetch and load their parts."""
DRAWN = 16
"""Random images for a network that no real ones come with."""


def main(text: str) -> None:
    """See the module."""
    own_process()
    job = msgspec.json.decode(text, type=Job)
    over = threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), name="end", daemon=True).start()
    _do("computing the answers of the whole network")
    network = shoal.load(_file(job.model), name=job.model)
    cases = cases_of(job.model, network)
    expected = answers_of(network, cases)
    cluster = cluster_of(job)
    _do("waiting for the devices to start")
    wait_for(job.devices.values())
    playbook = shoal.plan(network, cluster, job.strategy, progress=_do, **job.options)
    _do("bringing the parts to the devices")
    with shoal.deploy(playbook, cluster, wait_s=WAIT_S, deadline_ms=job.deadline_ms) as service:
        with LoadGenerator(service, cases, expected, job.window) as load:
            seconds = Seconds(load)
            while True:
                states = {name: one.state for name, one in service.stats().devices.items()}
                _say(seconds.next(states))
                if over.wait(TICK_S):
                    break
        account = Account(
            asked=load.asked,
            twice=load.twice,
            records=tuple(load.records),
            failures=tuple(load.failures),
        )
    Path(job.account).write_bytes(msgspec.msgpack.encode(account))


def cluster_of(job: Job) -> Cluster:
    """The devices of a job, each a host of its own."""
    return Cluster(
        devices=tuple(Device(name=name, address=address) for name, address in job.devices.items()),
        gateway=Gateway(name=job.gate),
    )


def wait_for(addresses: Iterable[str]) -> None:
    """Wait until somebody listens at all of them: slow devices take seconds to start. Who does not
    come in time is named by the deployment."""
    end_s = time.monotonic() + WAIT_S
    for address in addresses:
        while dial(parse_address(address)) and time.monotonic() < end_s:
            time.sleep(0.1)


def cases_of(model: str, network: Network) -> list[Arrays]:
    """The sample images that come with a network; random ones for a network without."""
    if model in zoo.names() and "samples.npz" in zoo.card(model).files:
        return list(zoo.samples(model).feeds())
    draw = np.random.default_rng(0)
    return [
        {
            spec.name: draw.random([1 if side is None else side for side in spec.shape]).astype(
                spec.dtype
            )
            for spec in network.inputs
        }
        for _ in range(DRAWN)
    ]


class Seconds:
    """Counts a load second by second, looking at each record once."""

    def __init__(self, load: LoadGenerator) -> None:
        self._load = load
        self._seen = self._wrong = self._degraded = 0

    def next(self, states: dict[str, str]) -> Tick:
        """The time since the last one; ``states`` are those of the devices now."""
        load, now_s = self._load, time.monotonic()
        new = load.records[self._seen :]
        self._seen += len(new)
        self._wrong += sum(record.wrong for record in new)
        self._degraded += sum(record.degraded for record in new)
        times = sorted(record.latency_ms for record in new)
        return Tick(
            at_s=now_s,
            answered=len(new),
            p50_ms=times[len(times) // 2] if times else 0.0,
            slowest_ms=times[-1] if times else 0.0,
            lost=len(load.failures),
            twice=load.twice,
            wrong=self._wrong,
            degraded=self._degraded,
            pending=load.asked - self._seen - len(load.failures),
            plans=dict(Counter(record.plan for record in new)),
            states=states,
        )


def _do(text: str) -> None:
    _say(Doing(text))


def _say(said: Said) -> None:
    print(msgspec.json.encode(said).decode(), flush=True)


def _file(model: str) -> Path:
    return zoo.path(model) if model in zoo.names() else Path(model)


def _wait_for_end(over: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    over.set()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ShoalError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

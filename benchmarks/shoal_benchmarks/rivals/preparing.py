"""Planning on the seats where the rivals will run: Shoal's playbooks, whose cuts all get.

    python -m shoal_benchmarks.rivals.preparing JOB NETWORK

Runs on the client's seat while workers run on the others. Leaves in the job's folder the
playbooks, the pieces as ONNX files, inputs with their right answers, and on each worker's disk
the parts, so that nobody's start is the time that weights need on the way.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from shoal.errors import UsageError
from shoal_benchmarks.rivals.driver import CASES
from shoal_benchmarks.rivals.job import write_piece
from shoal_benchmarks.rivals.shoal_pipeline import cluster_of, playbook_path, store_of
from shoal_benchmarks.rivals.stage import enter

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.plan.plan import Playbook

IMAGES = 4


def main(path: str, file: str) -> None:
    """Prepare the job at ``path`` for the network in ``file``."""
    import shoal
    from shoal.plan.playbook import save
    from shoal.runtime.survey import survey

    job = enter(path)
    network = shoal.load(file, name=job.network)
    store = shoal.PartStore(store_of(job, "client"))
    seen = survey(network, cluster_of(job), store=store)
    cuts: list[int] = []
    wanted: dict[str, dict[str, Any]] = {"pipeline": {"stages": len(job.seats)}, "replicas": {}}
    for strategy, options in wanted.items():
        playbook = shoal.plan(
            network, seen.cluster, strategy, profiles=seen.profiles, store=store, **options
        )
        save(playbook, playbook_path(job, strategy))
        with shoal.deploy(playbook, cluster_of(job), store=store, wait_s=300.0) as service:
            service.infer(network.probe(), deadline_ms=60_000.0)
        if strategy == "pipeline":
            cuts = cuts_of(playbook, network)
    folder = Path(job.folder)
    cases = [network.probe(seed) for seed in range(IMAGES)]
    np.savez(
        folder / CASES,
        images=np.stack([case[job.input.name] for case in cases]),
        expected=np.stack([network.run(case)[job.output.name] for case in cases]),
    )
    pieces = tuple(
        write_piece(part, folder / f"piece-{number}.onnx")
        for number, part in enumerate(network.split(cuts))
    )
    msgspec.structs.replace(job, pieces=pieces).save()


def cuts_of(playbook: Playbook, network: Network) -> list[int]:
    """Where the first plan of a pipeline cuts the network."""
    stages = playbook.plans[0].stages
    cuts: list[int] = []
    for stage in stages[:-1]:
        (wanted,) = set(stage.parts.values())
        for cut in network.cuts:
            if cut.names == stage.outputs and cut.at > max(cuts, default=0):
                part = network.split([*cuts, cut.at], prove=False)[len(cuts)]
                if part.hash == wanted:
                    cuts.append(cut.at)
                    break
        else:
            raise UsageError(
                f"{network.name!r} has no cut where plan {playbook.plans[0].name!r} is"
            )
    return cuts


if __name__ == "__main__":
    main(*sys.argv[1:])

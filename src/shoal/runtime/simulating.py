"""What would be: a playbook under a load in virtual time, and how that goes with more devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import xxhash

from shoal.cache import cache_folder
from shoal.errors import PlanError, StoreError
from shoal.model.engine import Engine, Session
from shoal.model.network import Network
from shoal.model.store import PartStore, write_whole
from shoal.plan.cluster import Cluster
from shoal.plan.fleet import fleet
from shoal.plan.network import Feeds
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.runtime.survey import Survey
from shoal.sim.crossings import (
    Crossing,
    Crossings,
    Made,
    Runnable,
    measured,
    missing,
    noise,
    stated,
)
from shoal.sim.forecasted import Forecasted, Sureness
from shoal.sim.outcome import Demand, Simulated
from shoal.sim.serving import Tap
from shoal.sim.simulation import Simulation
from shoal.strategies.making import Candidate, build, judge, prepare


@dataclass(frozen=True)
class StoredPart:
    """A part of a store, run on this machine."""

    loaded: Session

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that it needs."""
        return self.loaded.inputs

    def session(self) -> Session:
        """What runs it."""
        return self.loaded

    def run_on(self, session: Session, feeds: Feeds, /) -> Feeds:
        """The tensors that it makes."""
        return session.run(feeds)


def crossings_of(
    playbook: Playbook, parts: Mapping[str, Runnable] | None, example: Feeds | None = None
) -> tuple[Crossings, str]:
    """What the tensors of a playbook weigh, and what is to be known of that: as it states them,
    where it does; else its ``parts`` (None: those in the store) are run on ``example`` (None:
    noise), once for all. StoreError where that cannot be."""
    found = stated(playbook)
    unknown = missing(playbook, found)
    if not unknown:
        return found, ""
    feeds = example or noise(playbook)
    found = {**_measured_once(playbook, unknown, parts, feeds), **found}
    packed = any(codec != "raw" for _, codec in found)
    if example is None and packed:
        return found, "what packed tensors weigh is that of noise: give an image with --input"
    return found, ""


def _measured_once(
    playbook: Playbook, unknown: set[str], parts: Mapping[str, Runnable] | None, feeds: Feeds
) -> Crossings:
    """What was measured before, if it is all that is ``unknown``: it takes another time each
    time."""
    digest = xxhash.xxh3_128(playbook.id.encode())
    for name in sorted(feeds):
        digest.update(f"{name} {feeds[name].dtype} {feeds[name].shape} ".encode())
        digest.update(feeds[name].tobytes())
    path = cache_folder() / "crossings" / f"{digest.hexdigest()}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        kind = list[tuple[tuple[Made, str], Crossing]]
        before = dict(msgspec.json.decode(path.read_bytes(), type=kind))
        if not missing(playbook, {**before, **stated(playbook)}):
            return before
    found = measured(playbook, _stored(playbook, unknown) if parts is None else parts, feeds)
    with contextlib.suppress(StoreError):
        write_whole(path, msgspec.json.encode(list(found.items())))
    return found


def _stored(playbook: Playbook, unknown: set[str]) -> dict[str, Runnable]:
    store, engine = PartStore(), Engine()
    if any(store.missing(part) for part in playbook.parts):
        raise StoreError(
            f"what {', '.join(sorted(unknown))} weigh does not stand in the playbook, and its "
            f"parts are not in {store.root} (SHOAL_CACHE): run shoal plan again on this machine"
        )
    return {part: StoredPart(engine.load(*store.load_part(part))) for part in playbook.parts}


def prepared(
    playbook: Playbook,
    cluster: Cluster,
    crossings: Crossings,
    seed: int = 0,
    *,
    batch_ratio: Mapping[int, float] | None = None,
    tap: Tap | None = None,
) -> tuple[Simulation, list[str]]:
    """The playbook in place on the cluster, in virtual time; and what is to be known of it."""
    nodes = (*cluster.devices, cluster.gateway)
    sureness, notes = Sureness(playbook, seed), []
    if sureness.exits and not sureness.calibrated:
        notes.append(
            "the playbook has no calibration: each exit is as sure as a number drawn evenly from 0 "
            "to 1"
        )
    if batch_ratio is None and any(s.batch > 1 for p in playbook.plans for s in p.stages):
        notes.append(
            "the playbook does not say what running images together saves: nothing is saved here"
        )
    speeds = {node.name: node.speed for node in nodes}
    engine = Forecasted(playbook, crossings, speeds, sureness, batch_ratio=batch_ratio)
    return Simulation(playbook, cluster, engine, tap=tap), notes


@dataclass(frozen=True)
class Fleet:
    """So many devices: by which strategy, the forecast of the first plan, and what came of the
    load; or why that cannot be (``refused``)."""

    devices: int
    strategy: str = ""
    forecast_images_per_s: float = 0.0
    simulated: Simulated | None = None
    notes: tuple[str, ...] = ()
    refused: str = ""


def curve(
    counts: range,
    offered: list[Candidate],
    network: Network,
    seen: Survey,
    wish: Objective,
    load: Callable[[Playbook], Demand],
    seed: int = 0,
    example: Callable[[Playbook], Feeds | None] = lambda playbook: None,
) -> Iterator[Fleet]:
    """Plan anew for each number of devices of a surveyed cluster (copies of its last one where
    there are fewer), and ask what ``load`` says. ``example`` is as for :func:`crossings_of`. The
    plans are not proved: they only tell times."""
    for count in counts:
        cluster, same = fleet(seen.cluster, count)
        profiles = seen.profiles.over(cluster, same)
        try:
            ready = prepare(offered, network, cluster, wish)
            tried = build(ready, network, cluster, profiles, wish)
            chosen = judge(tried, cluster.gateway.name, wish).strategy
            (made,) = (each.built for each in tried if each.strategy.name == chosen)
            assert made is not None
            playbook = made.playbook
            crossings, note = crossings_of(playbook, made.parts, example(playbook))
            ratio = profiles.device(cluster.names[0]).batch_ratio
            simulation, notes = prepared(playbook, cluster, crossings, seed, batch_ratio=ratio)
        except PlanError as error:
            yield Fleet(count, refused=str(error))
            continue
        forecast = playbook.plans[0].forecast.images_per_s
        told = tuple(filter(None, (note, *notes)))
        yield Fleet(count, chosen, forecast, simulation.run(load(playbook)), told)

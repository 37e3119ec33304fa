"""The ways to use a weak device and a server that are compared, each as a playbook."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from shoal.codec.frame import pack, unpack
from shoal.plan.cluster import Cluster
from shoal.plan.network import Feeds, Network, RangeProfile
from shoal.plan.objective import Aim, Objective
from shoal.plan.plan import Playbook, PolicySpec
from shoal.plan.playbook import make_playbook
from shoal.plan.profiles import Profiles
from shoal.strategies.split.assemble import Assembly, importance
from shoal.strategies.split.calibration import Calibration
from shoal.strategies.split.choice import Wish, allowed, best
from shoal.strategies.split.codings import LOSSLESS, is_photo
from shoal.strategies.split.cuts import places
from shoal.strategies.split.options import FRAME_BYTES, Ground, Option, options, useful
from shoal.strategies.split.table import costs
from shoal.strategies.split.wish import wish
from shoal_benchmarks.split.baselines import LEVELS, WIDE, install

DEVICE_ONLY = "device only"
CLOUD_JPEG, CLOUD_PNG, CLOUD_RAW = "cloud only, JPEG 90", "cloud only, PNG", "cloud only, raw"
NEUROSURGEON = "Neurosurgeon (best cut, fp32, re-chosen)"
NEUROSURGEON_BYTES = "Neurosurgeon, the image as bytes"
NEUROSURGEON_ZLIB = "Neurosurgeon with zlib"
NEUROSURGEON_ZSTD = "Neurosurgeon with Zstandard"
FIXED = "8 bits and LZ4 at the best cut"
SPLIT = "split"
SPLIT_LOOSE = "split, less kept"
SPLITS = (SPLIT, SPLIT_LOOSE)
ORACLE = "fixed plan"
FIXED_CODEC = "quant:8,bytes,lz4"
CONFIDENCE = 0.95


class System(msgspec.Struct, frozen=True):
    """A playbook to be measured, its parts by hash."""

    playbook: Playbook
    parts: Mapping[str, Any]


class Bench:
    """Makes all systems for one network between one device and one server. ``loose`` is a lower
    accuracy for a second split beside the one with ``min_accuracy``."""

    def __init__(
        self,
        network: Network,
        profile: RangeProfile,
        found: Calibration,
        images: Sequence[Feeds],
        min_accuracy: float,
        aims: tuple[Aim, ...] = (Aim.THROUGHPUT, Aim.LATENCY),
        loose: float | None = None,
    ) -> None:
        self.network = network
        self._loose = loose
        self.objective = Objective(aims=aims, min_accuracy=min_accuracy)
        self.weighed: Wish = wish(self.objective, "", powers_known=False)
        self._profile = profile
        self.found = found
        self._images = images[:4]
        install()
        self._packed: list[Option] = []
        self._deflated: list[Option] = []
        self._wide = packed("image, float32", 0, WIDE, self._images, LOSSLESS)
        self._pack()

    def systems(self, cluster: Cluster, tried: int) -> dict[str, System]:
        """All systems on ``cluster``, and the ``tried`` plans of split that look best, each fixed:
        the best of these is the oracle."""
        profiles = Profiles.scaled(cluster, self._profile)
        whole_ms = self.found.whole_ms
        ground = Ground(self.network, cluster, profiles, cluster.names, whole_ms)
        least = self.objective.min_accuracy or 0.0
        every, kept = self._options(ground, self.objective, least)
        alone, raw = every[0], every[1]
        exact = [option for option in every[2:] if option.exact and option.at]
        zstd = [option for option in exact if "zstd" in option.codec]
        fixed_cut = self._best(ground, [alone, *self._packed])
        made = {
            DEVICE_ONLY: self._fixed(ground, alone),
            CLOUD_RAW: self._fixed(ground, raw),
            NEUROSURGEON: self._chosen(ground, [alone, self._wide, *as_they_are(self.network)]),
            NEUROSURGEON_BYTES: self._chosen(ground, [alone, raw, *as_they_are(self.network)]),
            NEUROSURGEON_ZLIB: self._chosen(ground, [alone, raw, *self._deflated]),
            NEUROSURGEON_ZSTD: self._chosen(ground, [alone, raw, *zstd]),
            FIXED: self._fixed(ground, fixed_cut),
            SPLIT: self._chosen(ground, [alone, raw, *kept]),
        }
        photos = is_photo(next(iter(self._images[0].values())))
        for name, codec in ((CLOUD_JPEG, "jpeg:90"), (CLOUD_PNG, "png")) if photos else ():
            made[name] = self._fixed(ground, packed(name, 0, codec, self._images))
        candidates = [alone, raw, *kept]
        for option in ranked(ground, candidates, self.weighed)[:tried]:
            made[f"{ORACLE}: {option.name}"] = self._fixed(ground, option)
        if self._loose is not None:
            objective = msgspec.structs.replace(self.objective, min_accuracy=self._loose)
            loose = self._options(ground, objective, self._loose)[1]
            made[SPLIT_LOOSE] = chosen(ground, [alone, raw, *loose], objective)
        return made

    def _options(
        self, ground: Ground, objective: Objective, least: float
    ) -> tuple[list[Option], list[Option]]:
        """All plans that may be made, and those that split takes (beside the two first ones)."""
        every = options(ground.device, places(self.network), self.found, CONFIDENCE, least)
        counts = useful(ground, every, wish(objective, "", powers_known=False))
        return every, [every[index] for index in importance(counts, every) if index > 1]

    def _best(self, ground: Ground, candidates: Sequence[Option]) -> Option:
        """The cut with the best forecast; the device alone is no cut."""
        order = ranked(ground, candidates, self.weighed)
        return next(option for option in order if option.at is not None)

    def _chosen(self, ground: Ground, made: Sequence[Option]) -> System:
        return chosen(ground, made, self.objective)

    def _fixed(self, ground: Ground, option: Option) -> System:
        return fixed(ground, option, self.objective)

    def _pack(self) -> None:
        """Every cut at 8 bits with LZ4, and exactly with zlib at each of its levels: the bytes and
        the time that this takes."""
        for place in places(self.network):
            tensors = list(self._images)
            if place.at:
                prefix = self.network.split([place.at], prove=False)[0]
                session = prefix.session()
                tensors = [prefix.run_on(session, feeds) for feeds in tensors]
                name = f"cut {place.at}, 8 bits LZ4"
                self._packed.append(packed(name, place.at, FIXED_CODEC, tensors))
            for level in LEVELS:
                name = f"cut {place.at}, zlib {level}"
                option = packed(name, place.at, f"zlib:{level}", tensors, LOSSLESS)
                self._deflated.append(option)


def ranked(ground: Ground, candidates: Sequence[Option], weighed: Wish) -> list[Option]:
    """Best first by forecast."""
    found = costs(ground.table(candidates), ground.facts())
    plans = allowed(found, weighed).plans.copy()
    order = []
    while plans.any():
        row = best(found, weighed, plans)
        order.append(candidates[row])
        plans[row] = False
    return order


def chosen(ground: Ground, made: Sequence[Option], objective: Objective) -> System:
    """A playbook among whose plans the policy chooses."""
    assembly = Assembly(ground, objective, 1, 0.0)
    for option in made:
        assembly.take(option)
    weighed = wish(objective, "", powers_known=False)
    return System(assembly.playbook(weighed, objective), assembly.ledger.parts)


def fixed(ground: Ground, option: Option, objective: Objective) -> System:
    """A playbook of one plan."""
    system = chosen(ground, [option], objective)
    (plan, *_) = system.playbook.plans
    playbook = make_playbook(
        network=system.playbook.network,
        strategy=option.name,
        policy=PolicySpec("preferred"),
        plans=[plan],
        parts=system.playbook.parts,
        inputs=system.playbook.inputs,
        outputs=system.playbook.outputs,
        stacks=system.playbook.stacks,
    )
    return System(playbook, {name: system.parts[name] for name in playbook.parts})


def as_they_are(network: Network) -> list[Option]:
    """Every cut with its tensors as they are: what Neurosurgeon chooses from."""
    return [
        Option(f"cut {place.at}, raw", place.at, bytes=place.raw_bytes + FRAME_BYTES)
        for place in places(network)[1:]
    ]


def packed(name: str, at: int, codec: str, tensors: Sequence[Feeds], bits: int = 8) -> Option:
    """A way to send ``tensors``, with what it costs on this machine."""
    frames = [pack(feeds, codec) for feeds in tensors]
    return Option(
        name,
        at,
        codec,
        exact=bits == LOSSLESS,
        bytes=float(np.mean([f.size for f in frames])) + FRAME_BYTES,
        pack_ms=cpu_ms(lambda: [pack(feeds, codec) for feeds in tensors]) / len(tensors),
        unpack_ms=cpu_ms(lambda: [unpack(frame) for frame in frames]) / len(tensors),
    )


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of this thread for some work."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e3

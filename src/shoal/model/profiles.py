"""How long any range of a network takes on this device, from one profiled network.

The engine reports the time of each of its own nodes while it runs the whole network. These are
counted to the network's nodes, scaled so that they add up to the time of an unprofiled run, and
checked against real parts: ``NetworkProfile.error`` says how far the sums are off.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import json
import platform
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shoal.cache import cache_folder
from shoal.model.dtypes import Array
from shoal.model.engine import CPU, Engine, Session, engine_version
from shoal.model.network import Network, Node
from shoal.model.part import part_memory
from shoal.model.store import write_whole
from shoal.scratch import Scratch

QUIET = 0.25
"""Most noise of a machine that does nothing else."""
MAX_AGE_S = 30 * 24 * 3600.0
"""How long a profile is used: boards get other coolers, kernels, power supplies."""
MAX_AGE_NOISY_S = 600.0
"""How long one of a machine that was not quiet is used."""


class RangeError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Relative error of predicted times of ``ranges`` real parts: median and 90th percentile.
    The parts are others than those that the prediction was fitted to."""

    median: float
    p90: float
    ranges: int


class NetworkProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """What a network costs on a device. Times in ms for one image, sizes in bytes.

    ``network`` is the network's hash; ``device`` names processor, threads, provider and engine.
    ``measured_at`` is when that was (seconds since 1970), ``noise`` what else the machine did
    meanwhile: how far apart the middle half of the times of the whole network lay, or how much
    longer than their processor time they were, whichever is more, relative to the median.

    ``node_ms`` has a time for each node, ``overhead_ms`` what each run costs besides, and
    ``cut_ms_per_byte`` what a byte costs that enters or leaves a part at a cut (other layout,
    lost fusions). ``node_memory_bytes``, ``node_peak_bytes`` and ``crossing_bytes`` are those of
    the network. ``batch_ratio`` is the time of an image when so many are run at once, relative to
    one alone; empty where images do not stack.
    """

    network: str
    device: str
    threads: int
    provider: str
    measured_at: float
    noise: float
    node_ms: tuple[float, ...]
    overhead_ms: float
    cut_ms_per_byte: float
    node_memory_bytes: tuple[int, ...]
    node_peak_bytes: tuple[int, ...]
    crossing_bytes: tuple[int, ...]
    error: RangeError
    batch_ratio: dict[int, float] = {}

    def usable(self, now: float) -> bool:
        """Whether it may still be used at ``now``: for long if the machine was quiet, else for
        as long as whoever measures again at once would get no better one."""
        age_s = now - self.measured_at
        return 0 <= age_s <= (MAX_AGE_S if self.noise <= QUIET else MAX_AGE_NOISY_S)

    @property
    def nodes(self) -> int:
        """Number of the network's nodes."""
        return len(self.node_ms)

    @property
    def whole_ms(self) -> float:
        """Time of the whole network."""
        return self.range_ms(0, self.nodes)

    def range_ms(self, start: int, end: int) -> float:
        """Time of the part with nodes ``start`` up to ``end``."""
        time_ms = self._time_before[end] - self._time_before[start]
        crossing = _cut_bytes(self.crossing_bytes, start, end)
        return time_ms + self.overhead_ms + self.cut_ms_per_byte * crossing

    def range_memory(self, start: int, end: int) -> int:
        """Resident bytes expected of the part with nodes ``start`` up to ``end``."""
        nodes = self._memory_before[end] - self._memory_before[start]
        level = (end - start).bit_length() - 1
        peaks = self._peaks[level]
        return part_memory(nodes, max(peaks[start], peaks[end - (1 << level)]))

    @cached_property
    def _time_before(self) -> list[float]:
        return [0.0, *itertools.accumulate(self.node_ms)]

    @cached_property
    def _memory_before(self) -> list[int]:
        return [0, *itertools.accumulate(self.node_memory_bytes)]

    @cached_property
    def _peaks(self) -> list[tuple[int, ...]]:
        """The largest peaks of all ranges of 1, 2, 4, 8, ... nodes, by their first node: a search
        asks for each pair of cuts."""
        levels = [self.node_peak_bytes]
        while len(levels[-1]) > (half := 1 << len(levels) - 1):
            levels.append(tuple(map(max, levels[-1], levels[-1][half:])))
        return levels


def _cut_bytes(crossing: Sequence[int], start: int, end: int) -> int:
    """The bytes that enter and leave a part at cuts: the ends of the network are none."""
    return (crossing[start] if start else 0) + (crossing[end] if end < len(crossing) - 1 else 0)


def profile(
    network: Network,
    *,
    threads: int = 1,
    provider: str = CPU,
    cache: Path | None = None,
    refresh: bool = False,
) -> NetworkProfile:
    """The profile of ``network`` on this device: from ``cache`` (a folder; ``profiles`` in
    Shoal's own if None), or measured and cached. ``refresh`` measures anyway; so does a profile
    that is old, or was measured while the machine was not quiet."""
    engine = Engine(threads, provider)
    device = device_key(engine)
    folder = cache if cache is not None else cache_folder() / "profiles"
    named = hashlib.sha256(device.encode()).hexdigest()[:16]
    path = folder / f"{network.hash[:32]}-{named}.json"
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        known = msgspec.json.decode(path.read_bytes(), type=NetworkProfile)
        same = (known.network, known.device) == (network.hash, device)
        if same and known.usable(time.time()) and not refresh:
            return known
    measured = measure(network, engine)
    write_whole(path, msgspec.json.encode(measured))
    return measured


def measure(
    network: Network, engine: Engine, *, rounds: int = 15, budget_s: float = 4.0
) -> NetworkProfile:
    """The profile of ``network``, measured now: one profiled session for the times of nodes, and
    four splits into up to four real parts, two to fit what a cut costs, two to check the result.
    Each is run ``rounds`` times, or as often as ``budget_s`` allows for all (but three times).
    """
    feeds = network.probe()
    (part,) = network.split([])
    whole = _Run(engine, part.session(engine), feeds)
    whole.run()
    runs = rounds + 2 * _SPLITS * rounds
    rounds = max(3, min(rounds, int(rounds * 1e3 * budget_s / (runs * max(whole.wall_ms)))))
    shares = _node_shares(network, engine, feeds, rounds)
    random = np.random.default_rng(0)
    found = [_measure_parts(network, engine, whole, shares, random, rounds) for _ in range(_SPLITS)]
    whole_ms = statistics.median(whole.busy_ms)
    overhead, per_byte = _fit([part for parts in found[::2] for part in parts])
    draft = NetworkProfile(
        network=network.hash,
        device=device_key(engine),
        threads=engine.threads,
        provider=engine.provider,
        measured_at=time.time(),
        noise=_noise(whole),
        node_ms=tuple(share * whole_ms * (1 - overhead) for share in shares),
        overhead_ms=overhead * whole_ms,
        cut_ms_per_byte=per_byte * whole_ms,
        node_memory_bytes=network.node_memory_bytes,
        node_peak_bytes=network.node_peak_bytes,
        crossing_bytes=network.crossing_bytes,
        error=RangeError(0.0, 0.0, 0),
        batch_ratio=_batch_ratio(network, engine, part.session(engine), budget_s / 4),
    )
    errors = [
        abs(draft.range_ms(*part.range) / whole_ms - part.relative) / part.relative
        for parts in found[1::2]
        for part in parts
    ]
    error = RangeError(float(np.median(errors)), float(np.quantile(errors, 0.9)), len(errors))
    return msgspec.structs.replace(draft, error=error)


_SPLITS = 4
BATCHES = (4, 8)
"""Images that are run at once to see whether that pays."""
NO_GAIN = 0.02
"""Share of an image's time that is no saving, but chance."""
_BATCH_ROUNDS = 5


def _batch_ratio(
    network: Network, engine: Engine, session: Session, budget_s: float
) -> dict[int, float]:
    """Times of an image in larger runs, relative to one alone in the same moments; of still larger
    ones only while that pays. For each size ``budget_s``, and at least one run."""
    if not network.stacks:
        return {}
    alone = _Run(engine, session, network.probe())
    found: dict[int, float] = {}
    for count in BATCHES:
        many = _Run(engine, session, network.probe(batch=count))
        found[count] = _ratio(alone, many, count, budget_s)
        if not worth_more(found[count]):
            break
    return found


def worth_more(ratio: float) -> bool:
    """Whether runs of still more images may pay, where an image takes so much of its time alone."""
    return ratio < 1 - NO_GAIN


def _ratio(alone: _Run, many: _Run, count: int, budget_s: float) -> float:
    """The time of an image among ``count`` over that of one alone, round by round."""
    first = len(alone.busy_ms)
    end_s = time.perf_counter() + budget_s
    for turn in range(_BATCH_ROUNDS * count):
        if turn % count == 0:
            many.run()
        alone.run()
        if time.perf_counter() > end_s:
            break
    return _mean(many.busy_ms) / count / _mean(alone.busy_ms[first:])


def device_key(engine: Engine) -> str:
    """Names what a measurement depends on: processor, threads, provider, engine version."""
    return f"{_processor()} x{engine.threads} {engine.provider} {engine_version()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware", "cpu part")):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    return f"{platform.machine()} {platform.processor()}".strip()


class _Run:
    """A session with inputs, to be run and timed. ``busy_ms`` is processor time where the engine
    runs in the calling thread, which what else this machine does disturbs less; otherwise, as
    ``wall_ms`` always, the time that passes."""

    def __init__(self, engine: Engine, session: Session, feeds: Mapping[str, Array]) -> None:
        self._session = session
        self._feeds = feeds
        alone = engine.threads == 1 and engine.provider == CPU
        self._clock = time.thread_time if alone else time.perf_counter
        self.wall_ms: list[float] = []
        self.busy_ms: list[float] = []
        session.run(feeds)

    def run(self) -> None:
        """Run once more."""
        wall, busy = time.perf_counter(), self._clock()
        self._session.run(self._feeds)
        self.busy_ms.append(1e3 * (self._clock() - busy))
        self.wall_ms.append(1e3 * (time.perf_counter() - wall))


class _Part(msgspec.Struct, frozen=True):
    """A measured part: its nodes, its share of the nodes' time, the bytes at its cuts, and its
    time relative to the whole network's."""

    range: tuple[int, int]
    share: float
    cut_bytes: int
    relative: float


def _node_shares(
    network: Network, engine: Engine, feeds: Mapping[str, Array], rounds: int
) -> list[float]:
    numbered = network.numbered()
    with Scratch.make("profile") as folder:
        session = engine.load(numbered.graph, numbered.blobs, profile_to=str(folder.path / "p"))
        renamed = {f"x{index}": feeds[name] for index, name in enumerate(numbered.inputs)}
        for _ in range(rounds + 1):
            session.run(renamed)
        events = json.loads(Path(session.end_profile()).read_text())
    spent = count_events(events, network.nodes, skip=1)
    total = sum(spent)
    if not total:  # the engine of this provider reports no nodes
        return [1 / len(spent)] * len(spent)
    return [node / total for node in spent]


def _measure_parts(
    network: Network,
    engine: Engine,
    whole: _Run,
    shares: Sequence[float],
    random: np.random.Generator,
    rounds: int,
) -> list[_Part]:
    """Run the parts of a split at random moments of the network, and the whole in between: this
    machine may become slower and faster meanwhile, so parts are compared with wholes of the same
    moments."""
    before = [0.0, *itertools.accumulate(shares)]
    cuts = {
        min(network.cuts, key=lambda cut: abs(before[cut.at] - moment)).at
        for moment in random.random(3)
        if network.cuts
    }
    parts = network.split(sorted(cuts), prove=False)
    tensors: Mapping[str, Array] = network.probe()
    runs = []
    for part in parts:
        session = part.session(engine)
        runs.append(_Run(engine, session, {name: tensors[name] for name in part.inputs}))
        tensors = part.run_on(session, tensors)
    first = len(whole.busy_ms)
    for _ in range(rounds):
        whole.run()
        for run in runs:
            run.run()
    measured = []
    whole_ms = _mean(whole.busy_ms[first:])
    for part, run in zip(parts, runs, strict=True):
        start, end = part.range
        cut_bytes = _cut_bytes(network.crossing_bytes, start, end)
        share = before[end] - before[start]
        measured.append(_Part(part.range, share, cut_bytes, _mean(run.busy_ms) / whole_ms))
    return measured


def _noise(whole: _Run) -> float:
    low, middle, high = np.quantile(whole.wall_ms, [0.25, 0.5, 0.75])
    busy = max(statistics.median(whole.busy_ms), 1e-6)
    return float(max((high - low) / max(middle, 1e-6), middle / busy - 1))


def _mean(times: Sequence[float]) -> float:
    """The mean without the slowest fifth."""
    kept = sorted(times)[: max(1, len(times) * 4 // 5)]
    return max(statistics.fmean(kept), 1e-6)


def _fit(parts: Sequence[_Part]) -> tuple[float, float]:
    """Overhead of a run, and cost of a byte at a cut, relative to the whole network's time: those
    that predict ``parts`` best (least squares of relative errors), and that are not negative."""
    times = np.array([part.relative for part in parts])
    shares = np.array([part.share for part in parts])
    # A part's time: share * (1 - overhead) + overhead + per_byte * cut_bytes.
    terms = np.array([[1 - part.share, part.cut_bytes] for part in parts])
    best, least = (0.0, 0.0), float("inf")
    for used in ([], [0], [1], [0, 1]):
        values = np.zeros(2)
        if used:
            values[used] = np.linalg.lstsq(
                terms[:, used] / times[:, None], (times - shares) / times, rcond=None
            )[0]
        wrong = float((((shares + terms @ values) / times - 1) ** 2).sum())
        if (values >= 0).all() and values[0] < 1 and wrong < least:
            best, least = (float(values[0]), float(values[1])), wrong
    return best


def count_events(
    events: Sequence[Mapping[str, Any]], nodes: Sequence[Node], skip: int
) -> list[float]:
    """Times of the engine's nodes counted to ``nodes``, medians over runs but ``skip``, in ms.

    ``events`` are those of a run of :meth:`Network.numbered`. The engine calls a fused node
    after the first of its nodes, or after the tensor that the last of them makes. Its nodes that
    only change the layout count to the node that ran before.
    """
    owner = _Owners(nodes)
    runs: list[list[float]] = []
    seen: Counter[str] = Counter()
    at = 0
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith("_kernel_time"):
            continue
        run, seen[name] = seen[name], seen[name] + 1
        while len(runs) <= run:
            runs.append([0.0] * len(nodes))
        at = owner.of(name, str(event["args"].get("op_name", "")), at)
        runs[run][at] += float(event["dur"]) / 1e3
    counted = runs[skip:] or runs
    if not counted:
        return [0.0] * len(nodes)
    return [statistics.median(run[index] for run in counted) for index in range(len(nodes))]


_FUSED = 64
"""No fusion of the engine joins so many nodes: how many are looked at for the first of them."""


class _Owners:
    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._kinds = {node.op for node in nodes}
        self._makers = {name: index for index, node in enumerate(nodes) for name in node.makes}

    def of(self, name: str, op: str, before: int) -> int:
        """The number of the node behind ``name``; ``before`` if the name does not tell."""
        head = name.split("_", 1)[0]
        if head[:1] not in ("n", "t") or not head[1:].isdigit():
            return before
        number = int(head[1:])
        if number >= len(self._nodes):
            return before
        return number if head[0] == "n" else self._first(number, op)

    def _first(self, last: int, op: str) -> int:
        """The node of kind ``op`` at the start of a fused chain that ends with node ``last``;
        ``last`` where there is none, as where the engine has a word of its own for the kind."""
        if op not in self._kinds:
            return last
        seen, waiting = {last}, [-last]  # the nearest first
        for _ in range(_FUSED):
            if not waiting:
                break
            number = -heapq.heappop(waiting)
            if self._nodes[number].op == op:
                return number
            for name in self._nodes[number].reads:
                maker = self._makers.get(name)
                if maker is not None and maker not in seen:
                    seen.add(maker)
                    heapq.heappush(waiting, -maker)
        return last

"""How long any range of a network takes on this device, from one profiled network.

The engine reports the time of each of its own nodes while it runs the whole network. These are
counted to the network's nodes, scaled so that they add up to the time of an unprofiled run, and
checked against real parts: ``NetworkProfile.error`` says how far the sums are off.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import onnx

from shoal.model.engine import Engine, engine_version
from shoal.model.network import Network, Node
from shoal.model.part import part_memory
from shoal.model.store import default_root, write_whole

Array: TypeAlias = np.ndarray[Any, Any]


class RangeError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Relative error of predicted times of ``ranges`` real parts: median and 90th percentile."""

    median: float
    p90: float
    ranges: int


class NetworkProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a network costs on a device. Times in ms for one image, sizes in bytes.

    ``network`` is the network's hash; ``device`` names processor, threads, provider and engine.
    ``node_ms`` has a time for each node, ``overhead_ms`` what each run costs besides.
    ``weight_bytes`` are by node; ``crossing_bytes`` by position 0..n (what a cut there sends).
    """

    network: str
    device: str
    threads: int
    provider: str
    node_ms: tuple[float, ...]
    overhead_ms: float
    weight_bytes: tuple[int, ...]
    crossing_bytes: tuple[int, ...]
    error: RangeError

    @property
    def nodes(self) -> int:
        """Number of the network's nodes."""
        return len(self.node_ms)

    @property
    def whole_ms(self) -> float:
        """Time of the whole network."""
        return self.range_ms(0, len(self.node_ms))

    def range_ms(self, start: int, end: int) -> float:
        """Time of the part with nodes ``start`` up to ``end``."""
        return sum(self.node_ms[start:end]) + self.overhead_ms

    def range_memory(self, start: int, end: int) -> int:
        """Resident bytes expected of the part with nodes ``start`` up to ``end``."""
        return part_memory(
            sum(self.weight_bytes[start:end]), max(self.crossing_bytes[start : end + 1])
        )


def profile(
    network: Network,
    *,
    threads: int = 1,
    provider: str = "CPUExecutionProvider",
    runs: int = 15,
    splits: int = 3,
    cache: Path | None = None,
    refresh: bool = False,
) -> NetworkProfile:
    """The profile of ``network`` on this device: from ``cache`` (a folder; ``profiles`` in
    Shoal's own if None), or measured with ``runs`` runs, checked on the parts of ``splits``
    splits, and cached. ``refresh`` measures anyway."""
    engine = Engine(threads, provider)
    device = device_key(engine)
    folder = cache if cache is not None else default_root() / "profiles"
    path = folder / f"{network.hash[:32]}-{_slug(device)}.json"
    if not refresh:
        known = _read(path)
        if known is not None and (known.network, known.device) == (network.hash, device):
            return known
    measured = measure(network, engine, runs=runs, splits=splits)
    write_whole(path, msgspec.json.encode(measured))
    return measured


def measure(network: Network, engine: Engine, *, runs: int, splits: int) -> NetworkProfile:
    """The profile of ``network``, measured now."""
    feeds = network.probe()
    shares = _node_times(network, engine, feeds, runs)
    whole_ms, floor_ms = _time_whole(network, engine, feeds, runs)
    scale = max(whole_ms - floor_ms, 1e-6) / max(sum(shares), 1e-9)
    draft = NetworkProfile(
        network=network.hash,
        device=device_key(engine),
        threads=engine.threads,
        provider=engine.provider,
        node_ms=tuple(share * scale for share in shares),
        overhead_ms=floor_ms,
        weight_bytes=network.node_weight_bytes,
        crossing_bytes=network.crossing_bytes,
        error=RangeError(0.0, 0.0, 0),
    )
    return msgspec.structs.replace(draft, error=_check(network, engine, draft, runs, splits))


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


def _slug(device: str) -> str:
    kept = "".join(char if char.isalnum() else "-" for char in device)
    return kept[:100]


def _read(path: Path) -> NetworkProfile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=NetworkProfile)
    except (OSError, msgspec.MsgspecError):
        return None


def time_ms(run: Callable[[], object], runs: int) -> float:
    """Median time of ``runs`` runs, after two that do not count."""
    times = []
    for index in range(runs + 2):
        start = time.perf_counter()
        run()
        if index >= 2:
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def _time_whole(
    network: Network, engine: Engine, feeds: Mapping[str, Array], runs: int
) -> tuple[float, float]:
    """Time of the whole network, and of a network that does nothing."""
    (whole,) = network.split([])
    session = whole.session(engine)
    whole_ms = time_ms(lambda: session.run(feeds), runs)
    idle = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "idle",
        [onnx.helper.make_tensor_value_info("x", 1, [1])],
        [onnx.helper.make_tensor_value_info("y", 1, [1])],
    )
    model = onnx.helper.make_model(
        idle, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 13)]
    )
    nothing = engine.load(model.SerializeToString(), {})
    one = {"x": np.zeros(1, np.float32)}
    return whole_ms, time_ms(lambda: nothing.run(one), 50)


def _node_times(
    network: Network, engine: Engine, feeds: Mapping[str, Array], runs: int
) -> list[float]:
    """Median time of each node, as the engine reports it, in ms."""
    whole = network.numbered()
    with tempfile.TemporaryDirectory(prefix="shoal-profile-") as folder:
        session = engine.load(whole.graph, whole.blobs, profile_to=str(Path(folder) / "p"))
        renamed = {f"x{index}": feeds[name] for index, name in enumerate(whole.inputs)}
        for _ in range(runs + 2):
            session.run(renamed)
        events = json.loads(Path(session.end_profile()).read_text())
    return count_events(events, network.nodes, skip=2)


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
        return [1.0] * len(nodes)
    return [statistics.median(run[index] for run in counted) for index in range(len(nodes))]


class _Owners:
    """Finds the node that a node of the engine stands for."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
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
        """The node of kind ``op`` at the start of a fused chain that ends with node ``last``."""
        waiting = [last]
        while waiting:
            number = waiting.pop(waiting.index(max(waiting)))
            if self._nodes[number].op == op:
                return number
            waiting += [
                self._makers[name] for name in self._nodes[number].reads if name in self._makers
            ]
        return last


def _check(
    network: Network, engine: Engine, draft: NetworkProfile, runs: int, splits: int
) -> RangeError:
    """How far predictions are from real parts, those of some splits into up to four."""
    random = np.random.default_rng(0)
    errors = []
    for _ in range(splits):
        count = min(3, len(network.cuts))
        chosen = sorted(int(i) for i in random.choice(len(network.cuts), count, replace=False))
        tensors = network.probe()
        for part in network.split([network.cuts[index] for index in chosen], prove=False):
            session = part.session(engine)
            feeds = {name: tensors[name] for name in part.inputs}
            found = time_ms(partial(session.run, feeds), runs)
            errors.append(abs(draft.range_ms(*part.range) - found) / found)
            tensors = part.run_on(session, feeds)
    return RangeError(float(np.median(errors)), float(np.quantile(errors, 0.9)), len(errors))

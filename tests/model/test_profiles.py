"""Profiles: what ranges cost, from the engine's own report and a few real parts."""

import itertools
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.model import profiles
from shoal.model.engine import Engine
from shoal.model.network import Node
from shoal.model.profiles import (
    BATCHES,
    NetworkProfile,
    RangeError,
    count_events,
    measure,
    worth_more,
)
from shoal.model.store import PartStore


@pytest.fixture(scope="module")
def network():
    return model.load(nets.residual(batch=1))


def event(name, ms, op=""):
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 1000 * ms, "args": {"op_name": op}}


NODES = [
    Node("c", "Conv", ("x",), ("a",)),
    Node("r", "Relu", ("a",), ("b",)),
    Node("d", "Conv", ("b",), ("e",)),
    Node("s", "Add", ("b", "e"), ("f",)),
    Node("p", "MaxPool", ("f",), ("y",)),
]


def test_nodes_that_the_engine_keeps_count_for_themselves():
    events = [event(f"n{k}_", k + 1) for k in range(5)]
    assert count_events(events, NODES, skip=0) == [1, 2, 3, 4, 5]


def test_fused_nodes_count_for_the_layer_that_does_the_work():
    """The engine calls a fused chain by the tensor at its end."""
    events = [event("t1_0_nchwc", 5, "Conv"), event("t3_0_nchwc", 7, "Conv"), event("n4_", 1)]
    assert count_events(events, NODES, skip=0) == [5, 0, 7, 0, 1]


def test_changes_of_layout_count_to_the_node_before():
    events = [event("n0_", 5), event("ReorderOutput_token_3", 2), event("n4_", 1)]
    assert count_events(events, NODES, skip=0) == [7, 0, 0, 0, 1]


def test_runs_are_told_apart_and_the_first_is_left_out():
    events = [event("n0_", ms) for ms in (100, 1, 2, 9)]
    assert count_events(events, NODES, skip=1)[0] == 2


@given(st.lists(st.text(max_size=12)))
def test_names_of_any_kind_are_counted_somewhere(names):
    events = [event(name, 1) for name in names]
    counted = count_events(events, NODES, skip=0)
    assert len(counted) == 5
    assert all(ms >= 0 for ms in counted)


def made(node_ms, overhead=1.0, per_byte=0.0, crossing=None, noise=0.0):
    count = len(node_ms)
    return NetworkProfile(
        network="n",
        device="d",
        threads=1,
        provider="p",
        measured_at=1e9,
        noise=noise,
        node_ms=tuple(node_ms),
        overhead_ms=overhead,
        cut_ms_per_byte=per_byte,
        node_memory_bytes=(10,) * count,
        node_peak_bytes=tuple(range(count)),
        crossing_bytes=tuple(crossing or (0,) * (count + 1)),
        error=RangeError(0.0, 0.0, 0),
    )


def test_a_range_takes_its_nodes_a_run_and_what_crosses_at_its_cuts():
    profile = made([1.0, 2.0, 4.0], per_byte=0.5, crossing=(100, 2, 4, 100))
    assert profile.whole_ms == profile.range_ms(0, 3) == 8.0
    assert profile.range_ms(0, 1) == 1.0 + 1.0 + 0.5 * 2
    assert profile.range_ms(1, 2) == 2.0 + 1.0 + 0.5 * (2 + 4)
    assert profile.nodes == 3


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.data())
def test_ranges_add_up(node_ms, data):
    profile = made(node_ms)
    at = data.draw(st.integers(0, len(node_ms)))
    both = profile.range_ms(0, at) + profile.range_ms(at, len(node_ms))
    assert both == pytest.approx(profile.whole_ms + 1.0)


def test_more_nodes_need_more_memory():
    profile = made([1.0] * 6)
    sizes = [profile.range_memory(0, end) for end in range(1, 7)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_overhead_and_cost_of_cuts_are_found_from_parts():
    random = np.random.default_rng(0)
    parts = []
    for _ in range(8):
        share, size = random.random(), int(random.integers(0, 10**6))
        relative = share * (1 - 0.02) + 0.02 + 3e-8 * size
        parts.append(profiles._Part((0, 1), share, size, relative))
    assert profiles._fit(parts) == pytest.approx((0.02, 3e-8), rel=1e-6)


def test_costs_are_never_negative():
    parts = [profiles._Part((0, 1), 0.5, 1000, 0.4), profiles._Part((0, 1), 0.2, 10, 0.1)]
    assert min(profiles._fit(parts)) >= 0


def test_a_network_is_measured(network):
    found = measure(network, Engine(), rounds=3, budget_s=1.0)
    assert found.network == network.hash
    assert found.nodes == len(network.nodes)
    assert all(ms >= 0 for ms in found.node_ms)
    assert found.whole_ms > 0
    assert found.error.ranges >= 4
    assert found.crossing_bytes == network.crossing_bytes
    assert bool(found.batch_ratio) is network.stacks
    for smaller, larger in itertools.pairwise(BATCHES):
        paid = smaller in found.batch_ratio and worth_more(found.batch_ratio[smaller])
        assert (larger in found.batch_ratio) is paid
    assert all(ratio > 0 for ratio in found.batch_ratio.values())


def test_a_network_of_one_node_is_measured():
    one = model.load(nets.model([node("Relu", "x", "y")], [tensor("x", [1, 9])], ["y"]))
    assert one.cuts == ()
    assert measure(one, Engine(), rounds=3).whole_ms > 0


def test_a_profile_is_kept_by_content_and_device(network, tmp_path, monkeypatch):
    first = profiles.profile(network, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(profiles, "measure", lambda *_: pytest.fail("measured again"))
    assert profiles.profile(network, cache=tmp_path) == first
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        profiles.profile(network, cache=tmp_path, refresh=True)
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        profiles.profile(network, cache=tmp_path, threads=2)
    other = msgspec.structs.replace(first, network="0" * 64)
    path.write_bytes(msgspec.json.encode(other))
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        profiles.profile(network, cache=tmp_path)
    path.write_bytes(b"{damaged")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        profiles.profile(network, cache=tmp_path)


def test_a_profile_is_used_for_long_if_the_machine_was_quiet():
    day = 24 * 3600
    quiet, noisy = made([1.0], noise=0.05), made([1.0], noise=0.5)
    assert quiet.usable(1e9)
    assert noisy.usable(1e9)
    assert quiet.usable(1e9 + 20 * day)
    assert not noisy.usable(1e9 + day)
    assert not quiet.usable(1e9 + 40 * day)
    assert not quiet.usable(1e9 - day)  # the clock was set back


@pytest.mark.parametrize(
    ("noise", "age_s", "again"),
    [(0.01, 3600, False), (0.9, 3600, True), (0.9, 60, False), (0.01, 1e8, True)],
)
def test_a_bad_or_old_profile_is_measured_again(
    network, tmp_path, monkeypatch, noise, age_s, again
):
    first = profiles.profile(network, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    stored = msgspec.structs.replace(
        first, noise=noise, measured_at=first.measured_at - age_s, overhead_ms=123.0
    )
    path.write_bytes(msgspec.json.encode(stored))
    better = msgspec.structs.replace(first, overhead_ms=456.0)
    monkeypatch.setattr(profiles, "measure", lambda *_: better)
    assert profiles.profile(network, cache=tmp_path) == (better if again else stored)
    if again:
        assert msgspec.json.decode(path.read_bytes(), type=NetworkProfile) == better


def test_when_and_how_undisturbed_it_was_measured_is_told(network):
    found = measure(network, Engine(), rounds=3, budget_s=1.0)
    assert found.noise >= 0
    assert abs(time.time() - found.measured_at) < 3600


class Timed:
    def __init__(self, wall_ms, busy_ms):
        self.wall_ms, self.busy_ms = wall_ms, busy_ms


@pytest.mark.parametrize(
    ("wall_ms", "busy_ms", "noise"),
    [
        ([10.0] * 5, [10.0] * 5, 0.0),
        ([10.0, 10.0, 10.0, 10.0, 90.0], [10.0] * 5, 0.0),  # once in a while is no matter
        ([10.0, 10.0, 10.0, 15.0, 15.0], [10.0] * 5, 0.5),
        ([20.0] * 5, [10.0] * 5, 1.0),  # another process has half of the core all the time
    ],
)
def test_noise_is_what_else_the_machine_does(wall_ms, busy_ms, noise):
    assert profiles._noise(Timed(wall_ms, busy_ms)) == pytest.approx(noise)


def test_the_device_is_named_by_what_matters():
    key = profiles.device_key(Engine(threads=2))
    assert "x2 CPUExecutionProvider onnxruntime-" in key
    assert key != profiles.device_key(Engine())


RESIDENT = """
import sys
import numpy as np, psutil
from shoal.model.engine import Engine
from shoal.model.store import PartStore

engine, store, process = Engine(), PartStore(sys.argv[1]), psutil.Process()
engine.load(*store.load_part(sys.argv[2])).run({"x": np.zeros((1, 8, 8, 8), np.float32)})
before = process.memory_full_info().uss
session = engine.load(*store.load_part(sys.argv[3]))
for _ in range(3):
    session.run({"x": np.zeros((1, 256, 28, 28), np.float32)})
print(process.memory_full_info().uss - before)
"""


def convolutions(count, channels, side):
    nodes = [node("Conv", f"t{k} w{k}", f"t{k + 1}", pads=[1] * 4) for k in range(count)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    weights = {f"w{k}": random(channels, channels, 3, 3, seed=k) / 50 for k in range(count)}
    x = tensor("x", [1, channels, side, side])
    return model.load(nets.model(nodes, [x], ["y"], weights)).split([])[0]


def test_a_loaded_part_takes_no_more_memory_than_stated(tmp_path):
    store = PartStore(tmp_path)
    small, large = convolutions(1, 8, 8), convolutions(10, 256, 28)
    for part in (small, large):
        store.add_part(part)
    command = [sys.executable, "-c", RESIDENT, str(tmp_path), small.hash, large.hash]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert 0.5 * large.info.memory < int(result.stdout) < large.info.memory

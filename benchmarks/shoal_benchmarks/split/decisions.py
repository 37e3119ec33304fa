"""How long the policy takes to choose among 400 plans while everything around it changes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from shoal.core.messages import Load
from shoal.core.policy import DeviceView, LinkView, View, find_policy
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec, Stage
from shoal.strategies.split.decide import HOLD_S
from shoal_benchmarks.measure import Samples, quiet_collector, samples
from shoal_benchmarks.row import Row, row

PLANS = 400
DECISIONS, QUICK_DECISIONS = 20_000, 4_000
GOAL = "<= 200"


def rows(quick: bool) -> Iterator[Row]:
    """The time of one decision, with one server and with four."""
    count = QUICK_DECISIONS if quick else DECISIONS
    for servers in (1, 4):
        times = _times(servers, count)
        plural = "s" if servers > 1 else ""
        yield row(f"decision among {PLANS} plans, {servers} server{plural}", times, "us", GOAL)


def _times(servers: int, count: int) -> Samples:
    policy = find_policy("split")
    chance = random.Random(0)
    names = [f"server-{k}" for k in range(servers)]
    playbook = random_playbook(chance, names, PLANS)
    memory, now, times = None, 0.0, []
    with quiet_collector():
        for _ in range(count):
            now += 2 * HOLD_S  # a choice that holds is none
            devices = {name: _device(chance) for name in ("device", *names)}
            links = {name: LinkView(chance.uniform(1e5, 1e7), 4.0, now) for name in names}
            view = View(now, devices, links)
            start = time.thread_time()
            _, memory = policy.choose(playbook, view, ("image",), memory)
            times.append((time.thread_time() - start) * 1e6)
    return samples(times[10:])


def _device(chance: random.Random) -> DeviceView:
    return DeviceView(
        outstanding=chance.randrange(4),
        work_ms=chance.uniform(0, 50),
        slowdown=chance.uniform(0.8, 1.5),
        load=Load(waiting=chance.randrange(3), run_ms=5.0),
    )


def random_playbook(chance: random.Random, servers: list[str], count: int) -> Playbook:
    """A playbook of ``count`` plans with random costs: one alone, the others cut somewhere."""
    alone = Stage({"device": "whole"}, ("image",), ("logits",))
    plans = [Plan("alone", (alone,), Forecast(1, 1, stage_ms=(200.0,)))]
    settings = {}
    for index in range(count - 1):
        share = chance.random()
        tensor = f"cut-{index % 50}"
        stages = (
            Stage({"device": f"a{index}"}, ("image",), (tensor,)),
            Stage(dict.fromkeys(servers, f"b{index}"), (tensor,), ("logits",)),
        )
        forecast = Forecast(
            1, 1, chance.uniform(0.9, 1.0), stage_ms=(200 * share, 10 * (1 - share))
        )
        plans.append(Plan(f"plan-{index}", stages, forecast))
        settings[f"plan-{index}"] = {"bytes": chance.uniform(500, 150_000), "pack_ms": 1.0}
    link = {"up": 1e6, "down": 1e6, "rtt_ms": 4.0, "hop_ms": 0.4}
    policy = {
        "device": "device",
        "servers": servers,
        "links": dict.fromkeys(servers, link),
        "plans": settings,
        "aims": ["latency", "bytes"],
        "limits": [["accuracy", 0.05], ["latency", 150.0]],
        "answer_bytes": 4000.0,
    }
    return Playbook(
        id="bench",
        network="random",
        strategy="split",
        policy=PolicySpec("split", policy),
        plans=tuple(plans),
        parts={},
        inputs=(TensorSpec("image", "float32", (None, 3, 224, 224)),),
        outputs=(TensorSpec("logits", "float32", (None, 1000)),),
    )

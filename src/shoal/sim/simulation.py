"""A service in virtual time: what a playbook on a cluster makes of a load."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile

import numpy as np

from shoal.core.actions import Deliver, Reject
from shoal.core.shortfall import shortfall
from shoal.plan.cluster import Cluster
from shoal.plan.plan import Playbook
from shoal.sim.faults import Fault, Freeze
from shoal.sim.forecasted import Forecasted, Image
from shoal.sim.handling import MEASURED
from shoal.sim.mishaps import Mishaps
from shoal.sim.outcome import END, Demand, DeviceUse, Moment, Simulated
from shoal.sim.serving import READY_S, Cores, Tap, WireOf, check_devices, serve, stated_wires
from shoal.sim.world import Reply, Ticket

AGAIN_S = 0.1
"""Who keeps a window full asks again so long after a request failed, if nobody said when."""
MOMENTS = 200
"""Stretches of a run of which it is told what happened in each."""
REJECTED = {"deadline": "late", "overloaded": "refused"}
"""What became of a request that was rejected so; any other is lost."""


class Simulation:
    """A playbook in place on a cluster, in virtual time; one load is asked of it (:meth:`run`).

    ClusterError for a playbook of another cluster, PlanError where it cannot be put in place.
    """

    def __init__(
        self,
        playbook: Playbook,
        cluster: Cluster,
        engine: Forecasted,
        wires: WireOf | None = None,
        tap: Tap | None = None,
    ) -> None:
        check_devices(playbook, cluster)
        self._playbook, self._engine = playbook, engine
        self._cluster, self._gate = cluster, cluster.gateway.name
        self._world = serve(
            playbook,
            engine,
            self._gate,
            wires or stated_wires(cluster),
            # What is quick may be so by a GPU, which does nothing for messages.
            lambda name: MEASURED.at(min(1.0, cluster.node(name).speed)),
            others=cluster.names,
            memory={device.name: int(device.memory) for device in cluster.devices},
            lease_s=cluster.lease_ms / 1e3,
            tap=tap,
        )
        engine.shared = Cores(self._world, cluster).shared
        self._world.told = self._told
        self._exits = {
            (plan.name, number): (stage.exit.tensor, stage.exit.threshold)
            for plan in playbook.plans
            for number, stage in enumerate(plan.stages)
            if stage.exit is not None
        }
        self._asked: dict[Ticket, float] = {}
        self._latencies_ms = array("d")
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._plans: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._thresholds: dict[str, float] = dict(self._exits.values())
        self._moment = Moment(0.0)
        self._open = False
        self._window = False
        self._load = Demand(0.0)

    def run(
        self,
        load: Demand,
        faults: Sequence[Fault] = (),
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> Simulated:
        """Ask what ``load`` says while ``faults`` happen, and wait for the last answers.
        ``progress`` is told the virtual seconds that have passed."""
        world, began_s = self._world, self._world.now
        busy_s = {name: node.busy_s for name, node in world.nodes.items()}
        Mishaps(world, self._cluster, faults)
        self._load, self._open, self._window = load, True, load.times is None
        if load.times is None:
            for _ in range(load.window):
                world.clock.after(0.0, self._ask)
        else:
            times = takewhile(lambda at: at < load.seconds, load.times)
            self._arrive(began_s, iter(times))
        moments: list[Moment] = []
        for number in range(1, MOMENTS + 1):
            moments.append(self._stretch(began_s, load.seconds * number / MOMENTS))
            progress(moments[-1].at_s)
        within = self._counts["answered"]
        used = {n: (node.busy_s - busy_s[n]) / load.seconds for n, node in world.nodes.items()}
        self._open = False
        # A gateway that is frozen ends nothing before it goes on.
        frozen_s = max((f.at_s + f.for_s for f in faults if isinstance(f, Freeze)), default=0.0)
        rest_s = max(0.0, frozen_s - load.seconds) + 2 * load.deadline_ms / 1e3 + READY_S
        over = world.run_until(lambda: not self._asked, rest_s)
        if not over:
            raise AssertionError(f"{len(self._asked)} requests never ended")
        return self._told_of(load, within, used, moments)

    def _stretch(self, began_s: float, until_s: float) -> Moment:
        """Let time pass until ``until_s`` after the beginning."""
        world = self._world
        moment = self._moment = Moment(until_s)
        world.clock.run(began_s + until_s)
        gateway = world.gateway(self._gate)
        moment.pending = len(gateway.requests)
        for request in gateway.requests.values():
            if (plan := request.plan) is not None:
                for stage, threshold in request.values.thresholds:
                    self._thresholds[self._exits[plan.name, stage][0]] = threshold
        moment.thresholds = dict(self._thresholds)
        for name in sorted(self._playbook.devices):
            node = world.nodes[name]
            moment.alive += not node.silent
            load = node.worker.load
            moment.queues[name] = load.waiting + load.running if node.alive else 0
        return moment

    def _told_of(
        self, load: Demand, within: int, used: Mapping[str, float], moments: list[Moment]
    ) -> Simulated:
        counts, gateway = self._counts, self._world.gateway(self._gate)
        times = np.array(self._latencies_ms) if self._latencies_ms else np.zeros(1)
        known = counts["right"] + counts["wrong"]
        devices = {}
        for name in sorted(self._playbook.devices):
            peer = gateway.members.get(name)
            state = "gone" if peer is None else str(peer.state)
            answered = gateway.devices[name].answered
            devices[name] = DeviceUse(state, answered, min(1.0, used[name]))
        return Simulated(
            seconds=load.seconds,
            asked=counts["asked"],
            answered=counts["answered"],
            late=counts["late"],
            refused=counts["refused"],
            lost=counts["lost"],
            reasons=dict(self._reasons),
            said=self._said,
            retried=counts["retried"],
            degraded=counts["degraded"],
            images_per_s=within / load.seconds,
            p50_ms=float(np.percentile(times, 50)),
            p99_ms=float(np.percentile(times, 99)),
            max_ms=float(times.max()),
            plans=dict(self._plans),
            exits=self._places(),
            accuracy=counts["right"] / known if known else None,
            devices=devices,
            decided=self._world.decided,
            moments=moments,
        )

    # -- what is asked, and what comes of it

    def _arrive(self, began_s: float, times: Iterable[float]) -> None:
        """Ask when the next one comes, and then the one after it."""
        at = next(iter(times), math.inf)
        if at < math.inf:
            self._world.clock.at(began_s + at, self._arrived, began_s, times)

    def _arrived(self, began_s: float, times: Iterable[float]) -> None:
        self._ask()
        self._arrive(began_s, times)

    def _ask(self) -> None:
        if not self._open:
            return
        world, number = self._world, self._counts["asked"]
        self._counts["asked"] += 1
        self._moment.asked += 1
        # It may be refused at once.
        ticket = Ticket(self._gate, world.nodes[self._gate].life, number)
        self._asked[ticket] = world.now
        world.submit(self._gate, Image(number, self._engine.asked), self._load.deadline_ms)

    def _told(self, ticket: Ticket, reply: Reply) -> None:
        took_ms = (reply.at - self._asked.pop(ticket)) * 1e3
        again_s = 0.0
        if isinstance(reply.what, Deliver):
            self._answered(ticket.number, reply.what, took_ms)
        else:
            self._rejected(reply.what)
            again_s = reply.what.retry_after_s or AGAIN_S
        if self._window:
            self._world.clock.after(again_s, self._ask)

    def _answered(self, number: int, answer: Deliver, took_ms: float) -> None:
        counts = self._counts
        counts["answered"] += 1
        self._moment.answered += 1
        counts["retried"] += answer.attempts > 1
        counts["degraded"] += bool(shortfall(answer))
        self._latencies_ms.append(took_ms)
        self._plans[answer.plan] += 1
        if not self._exits:
            return
        stage = max((step.stage for step in answer.trace), default=0)
        tensor = self._exits[answer.plan, stage][0] if answer.left_early else None
        place = tensor or END
        self._left[place] += 1
        self._moment.exits[place] = self._moment.exits.get(place, 0) + 1
        right = self._engine.sureness.right(number, tensor)
        if right is not None:
            counts["right" if right else "wrong"] += 1

    def _places(self) -> dict[str, int]:
        """How many left at each exit, in their order, and at the end."""
        if not self._exits:
            return {}
        return {place: self._left[place] for place in (*self._engine.sureness.exits, END)}

    def _rejected(self, reject: Reject) -> None:
        what = REJECTED.get(reject.kind, "lost")
        self._counts[what] += 1
        setattr(self._moment, what, getattr(self._moment, what) + 1)
        self._reasons[reject.kind] += 1
        self._said.setdefault(reject.kind, reject.text)

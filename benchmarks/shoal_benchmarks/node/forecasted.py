"""An engine for the simulator that takes as long as a playbook forecasts, and whose tensors weigh
what those of the network do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from shoal.codec.frame import pack, unpack
from shoal.codec.join import join
from shoal.core.actions import LoadPart, Run
from shoal.core.events import Body, Outcome, RunFailed
from shoal.plan.network import Feeds, Part
from shoal.plan.plan import Plan, Playbook, Stage

ROUNDS = 5
"""Of packing, of which the quickest counts."""
LOAD_S = 0.02
Array: TypeAlias = np.ndarray[Any, Any]


class Made(NamedTuple):
    """A body: the tensors ``names`` as ``part`` made them; as they are asked with where that is
    empty."""

    part: str
    names: tuple[str, ...]


class Carried(NamedTuple):
    """A body as it travels: its bytes, and how long this machine packs and unpacks it."""

    size: int
    pack_ms: float = 0.0
    unpack_ms: float = 0.0


Weights: TypeAlias = dict[tuple[Made, str], Carried]
"""By body and codec."""


class Forecasted:
    """Runs take what the plans of ``playbook`` forecast for devices of the speed ``planned``, which
    have the speed ``speed``; of several requests that are run at once each takes ``batch_ratio`` of
    that. What tensors weigh, and how long this machine packs them, is in ``weights``."""

    def __init__(
        self,
        playbook: Playbook,
        weights: Weights,
        planned: float,
        speed: float,
        batch_ratio: Mapping[int, float] | None = None,
    ) -> None:
        self.asked = Made("", tuple(spec.name for spec in playbook.inputs))
        self._weights = weights
        self._speed = speed
        self._ratio = {1: 1.0, **(batch_ratio or {})}
        self._run_s = {
            (part, device): plan.run_ms(number, device) * planned / speed / 1e3
            for plan in playbook.plans
            for number, stage in enumerate(plan.stages)
            for device, part in stage.parts.items()
        }

    def size(self, body: Body, codec: str) -> int:
        return self._weights[body, codec].size

    def pack_s(self, device: str, body: Body, codec: str) -> float:
        return self._weights[body, codec].pack_ms / self._speed / 1e3

    def unpack_s(self, device: str, body: Body, codec: str) -> float:
        return self._weights[body, codec].unpack_ms / self._speed / 1e3

    def run(self, device: str, run: Run) -> tuple[Outcome, ...] | RunFailed:
        body = Made(run.part, run.outputs)
        return (Outcome(body, 0),) * len(run.jobs)

    def run_s(self, device: str, run: Run) -> float:
        count = len(run.jobs)
        ratio = self._ratio[max(size for size in self._ratio if size <= count)]
        return count * ratio * self._run_s[run.part, device]

    def load(self, device: str, load: LoadPart) -> tuple[float, str | None]:
        return LOAD_S, None

    def kills(self, device: str, what: Run | LoadPart) -> bool:
        return False


def weights(playbook: Playbook, parts: Mapping[str, Part], feeds: Feeds) -> Weights:
    """What travels when ``feeds`` are asked: every plan is run here, once."""
    found: Weights = {}
    asked = Made("", tuple(feeds))
    for plan in playbook.plans:
        _weigh(found, asked, feeds, plan.codec)
        at_hand: Feeds = dict(feeds)
        for stage in plan.stages:
            at_hand = _run(found, plan, stage, parts, at_hand)
    return found


def _run(
    found: Weights, plan: Plan, stage: Stage, parts: Mapping[str, Part], at_hand: Feeds
) -> Feeds:
    """What a stage gives to the next, after each holder's body was weighed."""
    given: dict[str, Feeds] = {}
    outputs: dict[str, Feeds] = {}
    for device, name in stage.parts.items():
        if name not in outputs:
            part = parts[name]
            made = part.run_on(part.session(), {key: at_hand[key] for key in part.inputs})
            every = {**at_hand, **made}
            outputs[name] = {key: every[key] for key in stage.outputs}
            _weigh(found, Made(name, stage.outputs), outputs[name], stage.codec)
        given[device] = outputs[name]
    together = dict(next(iter(given.values())))
    if stage.join is not None:
        tensor = stage.join.tensor.name
        slices = {device: tensors[tensor] for device, tensors in given.items()}
        together[tensor] = join(slices, stage.join)
    return together


def _weigh(found: Weights, body: Made, tensors: Feeds, codec: str) -> None:
    if (body, codec) in found:
        return
    frame = pack(tensors, codec)
    if codec == "raw":  # what that takes is in what each byte costs
        found[body, codec] = Carried(frame.size)
        return
    pack_ms = _quickest_ms(lambda: pack(tensors, codec))
    found[body, codec] = Carried(frame.size, pack_ms, _quickest_ms(lambda: unpack(frame)))


def _quickest_ms(work: Callable[[], object]) -> float:
    """Processor time of this thread."""
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        times.append((time.thread_time() - began) * 1e3)
    return min(times)

"""Plans and playbooks: what may be done with a request. Data only, never code.

A *stage* is one step: a part run by one of its holders, or shard parts run by all of their
holders together. A *plan* is a short list of stages. A *playbook* is a set of plans whose parts
are all in place, and the name of the policy that picks one for each request.

``Join``, ``Slice`` and ``PartInfo``, of plans too, come from the packages below.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

import msgspec

from shoal.codec.named import exact
from shoal.codec.slices import Home as Home
from shoal.codec.slices import Join as Join
from shoal.codec.slices import Slice as Slice
from shoal.model.info import PartInfo as PartInfo
from shoal.model.preprocessing import Preprocessing
from shoal.model.spec import TensorSpec


class Spread(StrEnum):
    """Who runs a stage."""

    ONE = "one"
    """One of the holders; they all hold the same part."""
    ALL = "all"
    """All holders, each its own shard; their slices are joined where they are used."""


class Exit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An early exit after a stage: leave when the confidence of ``tensor`` reaches ``threshold``
    (above 1: never).

    ``tensor`` names the output of the stage's part that holds the logits, shape (batch, classes);
    it is answered as the network's output ``output``. ``criterion``
    is ``"softmax"`` (largest softmax value of ``logits / temperature``), ``"margin"`` (difference
    of the two largest), ``"entropy"`` (1 - entropy / log(classes)) or ``"agreement"`` (e to the
    largest of ``logits / temperature``); each lies in [0, 1]. A batch leaves by its least confident
    row.
    """

    tensor: str
    output: str
    threshold: float
    criterion: str = "softmax"
    temperature: float = 1.0


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a plan.

    ``parts`` maps a device to the hash of the part that it runs here. ``inputs`` are the tensors
    that enter, ``outputs`` those that go on to the next stage (or are the answer); names in both
    are carried through unchanged. ``codec`` packs the outputs on their way. ``batch`` is the
    largest number of images of waiting requests that are run at once (1: batching does not pay), if
    the part's ``stacks`` allows it; ``batch_wait_ms`` is how long a request may wait for others to
    be run with it.
    """

    parts: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    spread: Spread = Spread.ONE
    join: Join | None = None
    exit: Exit | None = None
    codec: str = "raw"
    batch: int = 1
    batch_wait_ms: float = 0.0


class Missing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of the whole network's accuracy that is kept while these devices are missing."""

    devices: tuple[str, ...]
    accuracy: float


class Forecast(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan is expected to do. Times in ms, sizes in bytes, energy in joules.

    ``latency_ms`` is that of a request that meets no queue. ``images_per_s`` is the rate of the
    slowest device or link. ``accuracy`` is the guaranteed share of the whole network's accuracy
    (1.0: equal). ``bytes_per_image`` crosses links; ``memory`` is resident bytes by device.
    ``stage_ms`` is the time each stage computes, ``holder_ms`` the same by holder where the
    holders differ (see :meth:`Plan.run_ms`). ``slowest`` names the device, link or host that
    bounds ``images_per_s``. ``server_ms`` is the time that one image takes on devices other than
    the gateway (what a server is paid for). ``missing`` says what is kept without the slices of
    some devices.
    """

    latency_ms: float
    images_per_s: float
    accuracy: float = 1.0
    bytes_per_image: float = 0.0
    memory: dict[str, int] = {}
    stage_ms: tuple[float, ...] = ()
    holder_ms: tuple[dict[str, float], ...] = ()
    energy_j: float | None = None
    slowest: str = ""
    server_ms: float = 0.0
    missing: tuple[Missing, ...] = ()

    def accuracy_without(self, absent: Collection[str]) -> float | None:
        """The accuracy while these devices are missing, at some stages or at all: what is known of
        just them, or the best of what is known of more; None if nothing is."""
        if not absent:
            return self.accuracy
        away = set(absent)
        known = {frozenset(each.devices): each.accuracy for each in self.missing}
        exact = known.get(frozenset(away))
        larger = [accuracy for names, accuracy in known.items() if away <= names]
        return exact if exact is not None else max(larger, default=None)


class Reserve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a plan that is not in place is to be: as soon as the devices that it does ``without``
    have been away for ``after_s`` seconds, until they are at work again. ``instead``: where there
    is no memory for its parts beside those in place, these make room when all are there."""

    without: tuple[str, ...]
    after_s: float
    instead: bool = False


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to answer a request: stages in order, and what is expected of it.

    ``codec`` packs the network's inputs on their way from the gateway to the first stage.
    ``spare`` marks a plan held ready for the time when a device is gone; the parts of one in
    ``reserve`` are not brought to their devices before that time. ``tolerance`` is the
    largest difference to the whole network (relative to its largest output) that the proof
    allowed; ``None`` where the plan is an approximation that ``forecast.accuracy`` describes.
    """

    name: str
    stages: tuple[Stage, ...]
    forecast: Forecast
    spare: bool = False
    tolerance: float | None = 1e-4
    codec: str = "raw"
    reserve: Reserve | None = None

    @property
    def devices(self) -> frozenset[str]:
        """All devices that some stage names."""
        return frozenset(device for stage in self.stages for device in stage.parts)

    @property
    def slack_ms(self) -> float:
        """How much longer a request may take where a device is silent and the others go on without
        it: the longest deadline of a slice that need not come."""
        joins = (stage.join for stage in self.stages)
        spare = (j.deadline_ms for j in joins if j is not None and j.least < len(j.slices))
        return max(spare, default=0.0)

    def run_ms(self, stage: int, device: str) -> float:
        """How long ``device`` is expected to compute at ``stage``; 0 where nothing is known."""
        if stage < len(self.forecast.holder_ms) and device in self.forecast.holder_ms[stage]:
            return self.forecast.holder_ms[stage][device]
        return self.forecast.stage_ms[stage] if stage < len(self.forecast.stage_ms) else 0.0

    def stays(self, stage: int, device: str) -> int:
        """How many entries of the output of ``device`` at ``stage`` are for itself alone (see
        :class:`~shoal.codec.slices.Slice`). The gateway is sent all: it holds nothing itself."""
        join = self.stages[stage].join
        if join is None or stage == len(self.stages) - 1:
            return 0
        return join.slices[device].stays

    def home(self, stage: int, device: str) -> Home | None:
        """What of its output at ``stage`` the others are not sent."""
        join, stays = self.stages[stage].join, self.stays(stage, device)
        return Home(join.tensor.name, join.axis, stays) if join is not None and stays else None

    def alike(self, stage: int) -> str:
        """The codec whose losses all have that take tensors to ``stage`` (the number of stages:
        to the gateway), also who made them: ``"raw"`` where only one takes what only one gives,
        and where nothing is lost. Else devices that run one stage together would each go on from
        tensors of its own."""
        before = self.stages[stage - 1] if stage else None
        given = before is not None and before.spread is Spread.ALL
        taken = stage < len(self.stages) and self.stages[stage].spread is Spread.ALL
        codec = self.codec if before is None else before.codec
        return codec if (given or taken) and not exact(codec) else "raw"


class PolicySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The policy of a playbook: its registered name, and its settings (plain data)."""

    name: str
    settings: dict[str, Any] = {}


class Playbook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of plans whose parts can all be in place (but for those in reserve), and the policy
    that picks among them.

    Plans are in order of preference when everybody is alive. ``inputs`` and ``outputs`` are those
    of the network. ``stacks`` says that several images in a request are answered as each alone;
    :attr:`together` tells whether that is to be relied on. ``preprocessing`` is how a photo becomes
    an input (None: nobody said). ``id`` names the content (see
    :func:`playbook_id`).
    """

    id: str
    network: str
    strategy: str
    policy: PolicySpec
    plans: tuple[Plan, ...]
    parts: dict[str, PartInfo]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stacks: bool = False
    preprocessing: Preprocessing | None = None

    @property
    def together(self) -> bool:
        """Whether several images may be put into one request. Playbooks whose parts do not say
        what was reasoned of them are older than that: what they say was only tried."""
        return self.stacks and all(info.stacks is not None for info in self.parts.values())

    def plan(self, name: str) -> Plan:
        """The plan called ``name``; KeyError if there is none."""
        for plan in self.plans:
            if plan.name == name:
                return plan
        raise KeyError(name)

    @property
    def devices(self) -> frozenset[str]:
        """All devices that some plan names."""
        return frozenset().union(*(plan.devices for plan in self.plans))

    @property
    def in_place(self) -> tuple[Plan, ...]:
        """The plans that are not in reserve."""
        return tuple(plan for plan in self.plans if plan.reserve is None)

    def parts_of(self, device: str) -> tuple[str, ...]:
        """Hashes of the parts that ``device`` must hold, in order of first use."""
        seen: dict[str, None] = {}
        for plan in self.in_place:
            for stage in plan.stages:
                if device in stage.parts:
                    seen[stage.parts[device]] = None
        return tuple(seen)

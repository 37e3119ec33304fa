"""What a gateway knows of the devices it gives work to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

from shoal.core.gateway.limits import Limits
from shoal.core.gateway.silences import Silences
from shoal.core.messages import Load, Route, StageTrace
from shoal.core.policy import DeviceView
from shoal.core.shared.routes import LinkName, devices_at, links
from shoal.plan.plan import Plan

_SMOOTHING = 0.1
_SLOWEST = 100.0
_OUTLIER = 4.0

Given: TypeAlias = dict[str, tuple[int, float]]
"""What one request was given to: stages and their forecast run time in ms, by device."""


@dataclass(slots=True)
class DeviceState:
    """One device. ``ready`` are the parts loaded there by playbook, ``refused`` the reasons for
    those that are not, ``brought`` those of them that lack memory only. ``outstanding`` and
    ``work_ms`` count what was given and not answered; ``heard`` is when something was last heard of
    its work, in seconds."""

    ready: dict[str, frozenset[str]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    brought: dict[str, frozenset[str]] = field(default_factory=dict)
    draining: bool = False
    outstanding: int = 0
    work_ms: float = 0.0
    slowdown: float = 1.0
    load: Load = field(default_factory=Load)
    answered: int = 0
    heard: float = -math.inf

    def view(self, usable: bool) -> DeviceView:
        """A snapshot for a policy."""
        return DeviceView(usable, self.outstanding, self.work_ms, self.slowdown, self.load)


class Devices:
    """All devices by name; made when first asked for. ``limits`` says which of them, and which
    links, take less than they are given, ``silences`` who is not asked just now. ``version``
    changes with what they have loaded and
    whether they take new work."""

    def __init__(self, gateway: str = "") -> None:
        self.limits = Limits(gateway)
        self.silences = Silences()
        self._gateway = gateway
        self.version = 0
        self._devices: dict[str, DeviceState] = {}

    def __getitem__(self, name: str) -> DeviceState:
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = DeviceState()
        return device

    def get(self, name: str) -> DeviceState | None:
        """A device, if it is known."""
        return self._devices.get(name)

    def known(self) -> dict[str, DeviceState]:
        """A copy of the map."""
        return dict(self._devices)

    def forget(self, name: str) -> None:
        """A device that no playbook names is gone."""
        self._devices.pop(name, None)
        self.limits.forget(name)
        self.silences.forget(name)

    def full(self, now: float, given: Given) -> list[str]:
        """The devices that should not be given more now. What the request in question was ``given``
        already does not stand in its own way: another attempt takes its place."""

        def others(name: str) -> int:
            return self[name].outstanding - given.get(name, (0, 0.0))[0]

        limits = self.limits
        return [name for name in limits.devices() if limits.full(name, others(name), now)]

    # -- what they can be given

    def draining(self, name: str, whether: bool = True) -> None:
        """A device takes nothing new, or does again."""
        self.version += 1
        self[name].draining = whether

    def installed(
        self,
        name: str,
        playbook: str,
        ready: Iterable[str],
        refused: dict[str, str],
        brought: Iterable[str] = (),
    ) -> None:
        """A device has loaded these parts of a playbook, and not those, for the reasons given; it
        lacks memory only for what was ``brought``."""
        self.version += 1
        device = self[name]
        device.ready[playbook] = frozenset(ready)
        device.refused[playbook] = refused
        device.brought[playbook] = frozenset(brought)

    def here(self, name: str, playbook: str) -> frozenset[str]:
        """The parts of a playbook that a device has loaded, or would have with more memory."""
        device, none = self[name], frozenset[str]()
        return device.ready.get(playbook, none) | device.brought.get(playbook, none)

    def uninstalled(self, names: Iterable[str], playbook: str) -> None:
        """Devices are not asked to have a playbook any more."""
        self.version += 1
        for name in names:
            self[name].ready.pop(playbook, None)
            self[name].refused.pop(playbook, None)
            self[name].brought.pop(playbook, None)

    def lacks(self, name: str, playbook: str) -> bool:
        """A device turned out to lack a playbook; False when that is known."""
        self.version += 1
        return self[name].ready.pop(playbook, None) is not None

    def doubt(self, name: str) -> None:
        """A device was out of touch: it may have unloaded everything."""
        self.version += 1
        self[name].ready.clear()

    def restarted(self, name: str) -> None:
        """A new incarnation has nothing loaded; what it was given is recovered by the caller."""
        self.version += 1
        self.limits.forget(name)
        self.silences.forget(name)
        device = self._devices.get(name)
        if device is None:
            return
        device.ready, device.refused, device.brought, device.draining = {}, {}, {}, False
        device.slowdown, device.load = 1.0, Load()

    # -- what they were given

    def give(self, given: Given, plan: Plan, route: Route, stages: range, images: int = 1) -> None:
        """Count the work of ``stages`` for those who run them, and note it in ``given``."""
        for stage in stages:
            for name in devices_at(route, stage):
                ms = images * plan.run_ms(stage, name)
                count, sum_ms = given.get(name, (0, 0.0))
                given[name] = count + 1, sum_ms + ms
                device = self[name]
                device.outstanding += 1
                device.work_ms += ms

    def take_back(self, given: Given, name: str) -> None:
        """Discount what ``name`` was given."""
        count, ms = given.pop(name, (0, 0.0))
        if count:
            device = self[name]
            device.outstanding -= count
            device.work_ms = device.work_ms - ms if device.outstanding else 0.0

    def take_back_all(self, given: Given) -> None:
        """Discount all of ``given``."""
        for name in list(given):
            self.take_back(given, name)

    def heard_since(self, name: str, since: float) -> bool:
        """Whether something was heard of a device's work since then."""
        device = self._devices.get(name)
        return device is not None and device.heard > since

    def overloaded(self, name: str, now: float) -> None:
        """A device refused one of those that are outstanding, for want of room."""
        self.limits.refused(name, self[name].outstanding - 1, now)

    def failed(self, name: str) -> None:
        """A device failed to run a part: let it seem slower, so that policies turn to others
        first, until it answers as it should."""
        device = self._devices.get(name)
        if device is not None:
            device.slowdown = min(_SLOWEST, 2 * device.slowdown)

    def observe(self, plan: Plan | None, trace: tuple[StageTrace, ...], now: float) -> None:
        """Learn from the times of an answer how slow each device is against its forecast (None:
        the steps are not all of one plan, and are only counted)."""
        if self.limits:
            for link in _taken(self._gateway, trace):
                self.limits.answered(link)
        for step in trace:
            device = self._devices.get(step.device)
            if device is None:
                continue
            device.answered += 1
            device.heard = now
            self.limits.answered(step.device)
            expected_ms = plan.run_ms(step.stage, step.device) if plan else 0.0
            if expected_ms > 0 and step.batch > 0:
                # One run that stood still for a moment says little of the next.
                ratio = min(step.run_ms / step.batch / expected_ms, _OUTLIER * device.slowdown)
                device.slowdown += _SMOOTHING * (ratio - device.slowdown)


def _taken(gateway: str, trace: tuple[StageTrace, ...]) -> set[LinkName]:
    """The links that were taken to come to these steps. Those of a stage that several ran stand in
    the order in which their slices came, and all of them gave to all of the next."""
    steps = sorted(trace, key=lambda step: step.stage)
    route = [tuple(step.device for step in of) for _, of in groupby(steps, lambda step: step.stage)]
    return links(tuple(route), 0, gateway)

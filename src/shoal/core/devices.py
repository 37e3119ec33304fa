"""What a gateway knows of the devices it gives work to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from shoal.core.messages import Load, Route, StageTrace
from shoal.core.policy import DeviceView
from shoal.core.routes import runs
from shoal.plan.plan import Plan

_SMOOTHING = 0.1
_SLOWEST = 100.0

Given: TypeAlias = dict[str, tuple[int, float]]
"""What one request was given to: stages and their forecast run time in ms, by device."""


@dataclass(slots=True)
class Device:
    """One device. ``ready`` are the parts loaded there by playbook, ``refused`` the reasons for
    those that are not. ``outstanding`` and ``work_ms`` count what was given and not answered."""

    ready: dict[str, frozenset[str]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    draining: bool = False
    outstanding: int = 0
    work_ms: float = 0.0
    slowdown: float = 1.0
    load: Load = field(default_factory=Load)
    answered: int = 0

    def view(self, usable: bool) -> DeviceView:
        """A snapshot for a policy."""
        return DeviceView(usable, self.outstanding, self.work_ms, self.slowdown, self.load)


class Devices:
    """All devices by name; made when first asked for."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}

    def __getitem__(self, name: str) -> Device:
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = Device()
        return device

    def get(self, name: str) -> Device | None:
        """A device, if it is known."""
        return self._devices.get(name)

    def known(self) -> dict[str, Device]:
        """A copy of the map."""
        return dict(self._devices)

    def forget(self, name: str) -> None:
        """A device that no playbook names is gone."""
        self._devices.pop(name, None)

    def restarted(self, name: str) -> None:
        """A new incarnation has nothing loaded; what it was given is recovered by the caller."""
        device = self._devices.get(name)
        if device is None:
            return
        device.ready, device.refused, device.draining = {}, {}, False
        device.slowdown, device.load = 1.0, Load()

    def give(self, given: Given, plan: Plan, route: Route, stages: range) -> None:
        """Count the work of ``stages`` for those who run them, and note it in ``given``."""
        for stage in stages:
            for name in runs(route, stage):
                ms = plan.run_ms(stage, name)
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

    def failed(self, name: str) -> None:
        """A device failed to run a part: let it seem slower, so that policies turn to others
        first, until it answers as it should."""
        device = self._devices.get(name)
        if device is not None:
            device.slowdown = min(_SLOWEST, 2 * device.slowdown)

    def observe(self, plan: Plan, trace: tuple[StageTrace, ...]) -> None:
        """Learn from the times of an answer how slow each device is against its forecast."""
        for step in trace:
            device = self._devices.get(step.device)
            if device is None:
                continue
            device.answered += 1
            expected_ms = plan.run_ms(step.stage, step.device)
            if expected_ms > 0 and step.batch > 0:
                ratio = step.run_ms / step.batch / expected_ms
                device.slowdown += _SMOOTHING * (ratio - device.slowdown)

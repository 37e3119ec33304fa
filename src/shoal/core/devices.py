"""What a gateway knows of the devices it gives work to."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.core.messages import Load, StageTrace
from shoal.core.policy import DeviceView
from shoal.plan.plan import Plan

_SMOOTHING = 0.1


@dataclass(slots=True)
class Device:
    """One device. ``ready`` are the parts loaded there by playbook, ``refused`` the reasons for
    those that are not. ``outstanding`` and ``work_ms`` count what was given and not answered."""

    ready: dict[str, frozenset[str]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    incarnation: str = ""
    draining: bool = False
    outstanding: int = 0
    work_ms: float = 0.0
    slowdown: float = 1.0
    load: Load = field(default_factory=Load)
    answered: int = 0


class Devices:
    """All devices by name; made when first heard of."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}

    def __getitem__(self, name: str) -> Device:
        return self._devices.setdefault(name, Device())

    def known(self) -> dict[str, Device]:
        """A copy of the map."""
        return dict(self._devices)

    def restarted(self, name: str, incarnation: str) -> None:
        """A new incarnation has nothing loaded; what it was given is recovered by the caller."""
        device = self[name]
        if device.incarnation != incarnation:
            device.incarnation = incarnation
            device.ready, device.refused, device.draining = {}, {}, False
            device.slowdown, device.load = 1.0, Load()

    def view(self, usable: dict[str, bool]) -> dict[str, DeviceView]:
        """Snapshots of the devices named in ``usable``."""
        views = {}
        for name, ok in usable.items():
            d = self[name]
            views[name] = DeviceView(ok, d.outstanding, d.work_ms, d.slowdown, d.load)
        return views

    def give(self, plan: Plan, route: tuple[tuple[str, ...], ...], sign: int) -> None:
        """Count (``sign`` 1) or discount (-1) the work of a request on its route."""
        for index, names in enumerate(route):
            for name in names:
                device = self[name]
                device.outstanding += sign
                device.work_ms += sign * plan.run_ms(index, name)

    def observe(self, plan: Plan, trace: tuple[StageTrace, ...]) -> None:
        """Learn from the times of an answer how slow each device is against its forecast."""
        for step in trace:
            device = self[step.device]
            device.answered += 1
            expected = plan.run_ms(step.stage, step.device)
            if expected > 0:
                ratio = step.run_ms / step.batch / expected
                device.slowdown += _SMOOTHING * (ratio - device.slowdown)

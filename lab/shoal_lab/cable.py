"""A wire that can be changed while it is in use: its rates, delay and loss, cut or not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.errors import LabError
from shoal_lab.network import Wire
from shoal_lab.relaying import Relay
from shoal_lab.shape import Shape, tc_line
from shoal_lab.spec import LinkSpec
from shoal_lab.trace import Sample


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on a wire beyond its spec: a trace's sample, and faults."""

    sample: Sample | None = None
    mbit: float | None = None
    loss: float | None = None
    cut: bool = False


def shapes(link: LinkSpec, load: Load) -> tuple[Shape, Shape]:
    """What both directions do (up, down): the spec or a trace's sample, narrowed and made lossy."""
    up_mbit, down_mbit = link.rates_mbit
    delay_ms = link.delay_ms
    if load.sample is not None:
        up_mbit, down_mbit = load.sample.up_mbit, load.sample.down_mbit
        delay_ms = load.sample.rtt_ms / 2
    loss = link.loss if load.loss is None else load.loss
    up, down = (
        Shape(mbit=_narrower(mbit, load.mbit), delay_ms=delay_ms, loss=loss, cut=load.cut)
        for mbit in (up_mbit, down_mbit)
    )
    return up, down


def _narrower(mbit: float | None, limit: float | None) -> float | None:
    return min((one for one in (mbit, limit) if one is not None), default=None)


def needs_delay(link: LinkSpec, lossy: bool) -> bool:
    """Whether a rate alone is not enough: a delay, a loss or a trace now, or ``lossy`` later."""
    return link.delay_ms > 0 or link.loss > 0 or link.trace is not None or lossy


class Cable:
    """One wire of a lab. ``way`` says what makes it: ``veth`` (rates by tbf), ``netem`` or
    ``relay``."""

    def __init__(
        self, wire: Wire, way: str, relay: Relay | None, tc: Callable[[str, str], None]
    ) -> None:
        self.wire = wire
        self.way = way
        self.load = Load()
        self.on_change: Callable[[], object] = lambda: None
        self._relay = relay
        self._tc = tc
        self._shapes = shapes(wire.link, self.load)
        self._lock = threading.Lock()

    def change(self, **what: Any) -> None:
        """Change what lies on the wire: fields of :class:`Load`; those not named stay.

        LabError if it was made without a way to delay or lose packets and would have to.
        """
        with self._lock:  # a trace and a fault may come at the same time
            self._put(msgspec.structs.replace(self.load, **what))
        self.on_change()

    def _put(self, load: Load) -> None:
        new = shapes(self.wire.link, load)
        if new[0].delays_or_loses and self.way == "veth":
            raise LabError(
                f"link {self.wire.name} was made for rates alone and cannot begin to lose or "
                "delay packets; give it a delay or loss in the lab file, or name a fault 'lossy' "
                "for it there"
            )
        old, self._shapes, self.load = self._shapes, new, load
        for node, before, after in zip(self.wire.ends, old, new, strict=True):
            # A direction is shaped where it begins.
            line = tc_line(self.wire.device, after, self.way == "netem")
            if line != tc_line(self.wire.device, before, self.way == "netem"):
                self._tc(node, line)
        if self._relay is not None and (new[0].delay_ms, new[0].loss) != (
            old[0].delay_ms,
            old[0].loss,
        ):
            self._relay.set(self.wire.device, new[0].delay_ms, new[0].loss)

    @property
    def shapes(self) -> tuple[Shape, Shape]:
        """What both directions do now (up, down)."""
        return self._shapes

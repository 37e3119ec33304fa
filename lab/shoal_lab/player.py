"""Makes traces and faults happen while a lab is up: one thread, one list of what is due when."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import LabError
from shoal_lab.cable import Cable
from shoal_lab.faults import (
    ClockJump,
    Cut,
    DiskFull,
    Fault,
    Freeze,
    Kill,
    LinkFault,
    Lossy,
    Narrow,
    Restart,
    Slow,
)
from shoal_lab.trace import Trace, load_trace

if TYPE_CHECKING:
    from shoal_lab.lab import Lab


class Happening(msgspec.Struct, frozen=True):
    """Something that was done to the lab, ``at_s`` seconds after the player began. ``error`` says
    why it could not be done. ``fault`` is what it belongs to, ``ends`` whether that passed."""

    at_s: float
    text: str
    error: str | None = None
    fault: Fault | None = None
    ends: bool = False


class Step(msgspec.Struct, frozen=True):
    """One thing to do. Not told: with an empty ``text``, or when ``do`` returns False because there
    was nothing to do."""

    at_s: float
    text: str
    do: Callable[[], object]
    fault: Fault | None = None
    ends: bool = False


def steps(fault: Fault, lab: Lab) -> list[Step]:
    """What a fault does to ``lab``, and when it passes."""

    def between(begin: Callable[[], object], end: Callable[[], object], what: str) -> list[Step]:
        for_s = getattr(fault, "for_s", None)
        done = [Step(fault.at_s, what, begin, fault)]
        if for_s is not None:
            done.append(Step(fault.at_s + for_s, f"end of {what}", end, fault, ends=True))
        return done

    def load(fault: LinkFault, field: str, value: object, usual: object, what: str) -> list[Step]:
        a, b = fault.link
        return between(
            lambda: lab.cable(a, b).change(**{field: value}),
            lambda: lab.cable(a, b).change(**{field: usual}),
            what.format(lab.network.wire(a, b).name),
        )

    match fault:
        case Kill(host=name):
            return [Step(fault.at_s, f"kill {name}", lab.host(name).kill, fault)]
        case Restart(host=name, for_s=for_s):
            host = lab.host(name)
            return [
                # After a kill it only comes back: a second fault is not what happens then.
                Step(fault.at_s, f"restart {name}", host.kill, fault),
                Step(fault.at_s + for_s, f"{name} is back", host.restart, fault, ends=True),
            ]
        case Freeze(host=name):
            host = lab.host(name)
            return between(host.freeze, host.thaw, f"freeze {name}")
        case Slow(host=name, factor=factor):
            host = lab.host(name)
            return between(
                lambda: host.slow(factor), lambda: host.slow(1.0), f"slow {name} to {factor:g}"
            )
        case DiskFull(host=name):
            host = lab.host(name)
            return between(host.fill_disk, host.free_disk, f"disk full on {name}")
        case ClockJump(host=name, by_s=by_s):
            host = lab.host(name)
            what = f"clock of {name} by {by_s:+g} s"
            return [Step(fault.at_s, what, lambda: host.jump_clock(by_s), fault)]
        case Cut():
            return load(fault, "cut", True, False, "cut {}")
        case Narrow(mbit=mbit):
            return load(fault, "mbit", mbit, None, f"narrow {{}} to {mbit:g} Mbit/s")
        case Lossy(loss=loss):
            return load(fault, "loss", loss, None, f"lossy {{}} at {100 * loss:g} %")


class Player:
    """Plays faults and traces from the moment of :meth:`start`. ``say`` hears each happening, in
    the player's thread."""

    def __init__(
        self,
        lab: Lab,
        faults: Sequence[Fault] = (),
        traces: Sequence[tuple[Cable, Trace]] = (),
        say: Callable[[Happening], object] | None = None,
    ) -> None:
        self.happenings: list[Happening] = []
        self._say = say
        self._count = 0
        self._due: list[tuple[float, int, Step]] = []
        for fault in faults:
            for step in steps(fault, lab):
                self._put(step)
        for cable, trace in traces:
            self._put(self._follow(cable, trace, 0.0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shoal-lab-player", daemon=True)
        self._began = 0.0

    def start(self) -> Player:
        """Begin; now is 0 s."""
        self._began = time.monotonic()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Let nothing more happen. What is done stays done."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything has happened; False after ``timeout_s``. Traces never end."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def _put(self, step: Step) -> None:
        self._count += 1
        heapq.heappush(self._due, (step.at_s, self._count, step))

    def _run(self) -> None:
        while self._due:
            at_s, _, step = self._due[0]
            if self._stop.wait(max(at_s - self.now_s, 0.0)):
                return
            heapq.heappop(self._due)
            error, done = None, True
            try:
                done = step.do() is not False
            except LabError as failed:
                error = str(failed)
            if (step.text and done) or error:
                happening = Happening(self.now_s, step.text, error, step.fault, step.ends)
                self.happenings.append(happening)
                if self._say is not None:
                    self._say(happening)

    def _follow(self, cable: Cable, trace: Trace, at_s: float) -> Step:
        """A step that sets a cable to its trace, and plans the next."""

        def do() -> None:
            sample = trace.at(at_s)
            self._put(self._follow(cable, trace, at_s + trace.step_s))
            if sample != cable.load.sample:
                cable.change(sample=sample)

        return Step(at_s, "", do)


def traces_of(lab: Lab, folder: Path) -> list[tuple[Cable, Trace]]:
    """The cables of ``lab`` that follow a trace, with it."""
    return [
        (cable, load_trace(cable.wire.link.trace, folder))
        for cable in lab.cables
        if cable.wire.link.trace is not None
    ]

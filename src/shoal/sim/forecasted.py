"""An engine that takes as long as a playbook forecasts, and whose tensors weigh what those of the
network do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from random import Random
from typing import NamedTuple

import msgspec

from shoal.core.actions import LoadPart, Run
from shoal.core.events import Body, Outcome, RunFailed
from shoal.errors import PlanError
from shoal.model.exits import CALIBRATION
from shoal.plan.plan import Playbook
from shoal.sim.crossings import Crossings, Made

LOAD_S = 0.02


class Image(NamedTuple):
    """A body: what was made of the image of the ``number``-th request."""

    number: int
    made: Made


def digests(body: Image) -> tuple[str, ...]:
    """What is in the body of a request: each asks for another image."""
    return (str(body.number),)


class Sureness:
    """How sure each exit is of each image, and whether it is right; the same for the same ``seed``.

    Where the playbook's policy has the setting ``calibration`` it is the table of
    :class:`shoal.model.exits.Exits`: for each exit, and at last for the end, how sure that was of
    each of the same images, in permille, negative where it was wrong. Each request is of one of
    these images, drawn evenly. Else each exit is as sure as a number that is drawn evenly from 0 to
    1. PlanError for a table that does not fit the exits.
    """

    def __init__(self, playbook: Playbook, seed: int) -> None:
        found = [[s.exit.tensor for s in p.stages if s.exit is not None] for p in playbook.plans]
        found.sort(key=len, reverse=True)
        ordered = chain.from_iterable(found)
        self.exits = tuple(dict.fromkeys(ordered))
        """The exits by the tensors that they look at, in the order of the plan with the most."""
        self._seed = seed
        self._table: list[list[int]] = []
        table = playbook.policy.settings.get(CALIBRATION)
        if self.exits and table:
            self._table = _checked(table, len(self.exits) + 1)

    @property
    def calibrated(self) -> bool:
        """Whether it is that of a calibration."""
        return bool(self._table)

    def of(self, number: int, tensor: str) -> float:
        """How sure an exit is of the image of a request, from 0 to 1."""
        exit = self.exits.index(tensor)
        if not self._table:
            return Random(f"{self._seed} {number} {exit}").random()
        return abs(self._table[exit][self._image(number)]) / 1e3

    def right(self, number: int, tensor: str | None) -> bool | None:
        """Whether the answer of an exit (None: of the end) is right; None where nobody knows."""
        if not self._table:
            return None
        place = len(self.exits) if tensor is None else self.exits.index(tensor)
        return self._table[place][self._image(number)] > 0

    def _image(self, number: int) -> int:
        return Random(f"{self._seed} {number}").randrange(len(self._table[0]))


def _checked(setting: object, height: int) -> list[list[int]]:
    try:
        table = msgspec.convert(setting, list[list[int]])
    except msgspec.ValidationError as error:
        raise PlanError(f"the playbook's calibration is none ({error}); plan again") from None
    if len(table) != height or len({len(row) for row in table}) != 1 or not table[0]:
        raise PlanError(
            f"the playbook's calibration must be {height} lists, one for each exit and one for the "
            "end, of a number for each image; plan again"
        )
    if not all(1 <= abs(sure) <= 1000 for row in table for sure in row):
        raise PlanError("the playbook's calibration holds what is no permille; plan again")
    return table


class Forecasted:
    """Runs take what the plans of ``playbook`` forecast, ``pace`` times as long; of several
    requests that are run at once each takes ``batch_ratio`` of that. ``speeds`` are those of the
    devices' processors (1.0: as fast as this machine), which pack and unpack; what tensors weigh
    and how long this machine packs them is in ``crossings``. ``shared`` says by how much a run that
    begins now on a device, and would last so many seconds alone, takes longer as others use the
    same cores."""

    def __init__(
        self,
        playbook: Playbook,
        crossings: Crossings,
        speeds: Mapping[str, float],
        sureness: Sureness | None = None,
        *,
        pace: float = 1.0,
        batch_ratio: Mapping[int, float] | None = None,
    ) -> None:
        self.asked = Made("", tuple(spec.name for spec in playbook.inputs))
        self.sureness = sureness or Sureness(playbook, 0)
        self.shared: Callable[[str, float], float] = lambda device, seconds: 1.0
        self._crossings = crossings
        self._speeds = speeds
        self._ratio = {1: 1.0, **(batch_ratio or {})}
        self._run_s: dict[tuple[str, str], float] = {}
        for plan in playbook.plans:
            for number, stage in enumerate(plan.stages):
                for device, part in stage.parts.items():
                    run_s = plan.run_ms(number, device) * pace / 1e3
                    self._run_s.setdefault((part, device), run_s)

    def size(self, body: Body, codec: str) -> int:
        return self._crossings[body.made, codec].size

    def pack_s(self, device: str, body: Body, codec: str) -> float:
        return self._crossings[body.made, codec].pack_ms / self._speeds[device] / 1e3

    def unpack_s(self, device: str, body: Body, codec: str) -> float:
        return self._crossings[body.made, codec].unpack_ms / self._speeds[device] / 1e3

    def arrived(self, body: Body, codec: str) -> Body:
        return body

    def run(self, device: str, run: Run) -> tuple[Outcome, ...] | RunFailed:
        return tuple([self._outcome(run, next(iter(g.bodies.values())).number) for g in run.given])

    def _outcome(self, run: Run, number: int) -> Outcome:
        body = Image(number, Made(run.part, run.outputs, run.home.stays if run.home else 0))
        if run.exit is None:
            return Outcome(body, 0)
        left = Image(number, Made(run.part, (run.exit.output,)))
        return Outcome(body, 0, self.sureness.of(number, run.exit.tensor), left)

    def run_s(self, device: str, run: Run) -> float:
        count = len(run.jobs)
        ratio = self._ratio[max(size for size in self._ratio if size <= count)]
        alone_s = count * ratio * self._run_s[run.part, device]
        for given in run.given:  # what it sent others it takes as they do
            if given.codec != "raw" and device in given.bodies:
                alone_s += self.unpack_s(device, given.bodies[device], given.codec)
        return alone_s * self.shared(device, alone_s)

    def load(self, device: str, load: LoadPart) -> tuple[float, str | None]:
        return LOAD_S, None

    def kills(self, device: str, what: Run | LoadPart) -> bool:
        return False

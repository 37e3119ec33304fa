"""What parts make of tensors in virtual time, and how long that takes.

Bodies are tokens that tell how they were made, so a run can be checked for right answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from shoal.codec.named import exact
from shoal.core.actions import Given, LoadPart, Run
from shoal.core.events import Body, Outcome, RunFailed


class Engine(Protocol):
    """Stands for what runs parts."""

    def size(self, body: Body, codec: str) -> int:
        """Bytes of a body on the wire, packed with a codec."""

    def pack_s(self, device: str, body: Body, codec: str) -> float:
        """How long a device takes to pack a body, in seconds."""

    def unpack_s(self, device: str, body: Body, codec: str) -> float:
        """How long it takes to unpack it."""

    def arrived(self, body: Body, codec: str) -> Body:
        """What a body is to those who were sent it, packed with a codec."""

    def run(self, device: str, run: Run) -> tuple[Outcome, ...] | RunFailed:
        """The outcome of each job, or how the run fails."""

    def run_s(self, device: str, run: Run) -> float:
        """How long a run takes on a device as fast as its profile says, in seconds."""

    def load(self, device: str, load: LoadPart) -> tuple[float, str | None]:
        """How long loading a part takes in seconds, and the error in which it ends, if any."""

    def kills(self, device: str, what: Run | LoadPart) -> bool:
        """Whether a device dies in the middle of a run, or of loading a part."""


class Token(NamedTuple):
    """A body. ``made`` is the provenance: ``("input", name)``, ``("part", hash, made)``,
    ``("join", frozenset of (giver, made))``, or ``("packed", codec, made)`` for what a codec lost
    something of."""

    made: tuple[Any, ...]
    size: int = 0


def joined(given: Given) -> tuple[Any, ...]:
    """How the inputs of a job were made: whole, or joined from slices."""
    if given.join is None:
        (body,) = given.bodies.values()
        made: tuple[Any, ...] = body.made
        return made
    return ("join", frozenset((giver, body.made) for giver, body in given.bodies.items()))


def digests(body: Body) -> tuple[str, ...]:
    """What is in the body of a request: as it was made."""
    return (repr(body.made),)


class Symbols:
    """An engine that computes provenance.

    ``run_ms`` gives the time of a part on a device for a batch, ``out_bytes`` the size of what a
    part makes, ``confidence`` how sure the exit of a part is of what it was given (only asked
    where a stage has one), ``fails`` the error in which a part's run on its inputs ends (None: it
    goes well). ``load_ms`` is the time to load a part, ``unloadable`` the error in which that ends.
    ``deadly`` says whether a device dies of a part's run on its inputs, ``deadly_part`` of loading
    it.
    """

    def __init__(
        self,
        run_ms: Callable[[str, str, int], float] = lambda device, part, batch: 10.0 * batch,
        out_bytes: Callable[[str], int] = lambda part: 10_000,
        confidence: Callable[[str, tuple[Any, ...]], float] = lambda part, made: 0.0,
        fails: Callable[[str, str, tuple[Any, ...]], str | None] = lambda device, part, made: None,
        load_ms: Callable[[str, str], float] = lambda device, part: 20.0,
        unloadable: Callable[[str, str], str | None] = lambda device, part: None,
        deadly: Callable[[str, str, tuple[Any, ...]], bool] = lambda device, part, made: False,
        deadly_part: Callable[[str, str], bool] = lambda device, part: False,
    ) -> None:
        self.run_ms = run_ms
        self.out_bytes = out_bytes
        self.confidence = confidence
        self.fails = fails
        self.load_ms = load_ms
        self.unloadable = unloadable
        self.deadly = deadly
        self.deadly_part = deadly_part

    def size(self, body: Body, codec: str) -> int:
        size: int = body.size
        return size

    def pack_s(self, device: str, body: Body, codec: str) -> float:
        return 0.0

    def unpack_s(self, device: str, body: Body, codec: str) -> float:
        return 0.0

    def arrived(self, body: Body, codec: str) -> Body:
        if exact(codec):
            return body
        return Token(("packed", codec, body.made), body.size)

    def run(self, device: str, run: Run) -> tuple[Outcome, ...] | RunFailed:
        outcomes = []
        size = self.out_bytes(run.part)
        for given in run.given:
            inputs = joined(self._alike(device, given))
            error = self.fails(device, run.part, inputs)
            if error is not None:
                return RunFailed(run.jobs, error)
            body = Token(("part", run.part, inputs), size)
            if run.exit is None:
                outcomes.append(Outcome(body, size))
                continue
            early = Token(("exit", run.part, inputs), 40)
            sure = self.confidence(run.part, inputs)
            outcomes.append(Outcome(body, size, sure, early))
        return tuple(outcomes)

    def _alike(self, device: str, given: Given) -> Given:
        """With what others were sent of what never left the device in its place."""
        if device not in given.bodies:
            return given
        own = self.arrived(given.bodies[device], given.codec)
        return msgspec.structs.replace(given, bodies={**given.bodies, device: own})

    def run_s(self, device: str, run: Run) -> float:
        return self.run_ms(device, run.part, len(run.jobs)) / 1e3

    def load(self, device: str, load: LoadPart) -> tuple[float, str | None]:
        return self.load_ms(device, load.part) / 1e3, self.unloadable(device, load.part)

    def kills(self, device: str, what: Run | LoadPart) -> bool:
        if isinstance(what, LoadPart):
            return self.deadly_part(device, what.part)
        return any(
            self.deadly(device, what.part, joined(self._alike(device, given)))
            for given in what.given
        )

"""Outputs that a worker keeps after it passed them on, so that a request can go on from there."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from shoal.core.events import Body
from shoal.core.messages import StageTrace
from shoal.core.worker.attempts import RequestKey

MAX_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Output:
    """What ``stage`` of ``plan`` made of one request of ``images``: tensors ``names`` in ``body``,
    ``size`` bytes. ``attempt`` is the one that it was last passed on for, to the devices ``to``, as
    input of the stage ``onward``; nobody needs it after ``expires`` (seconds)."""

    playbook: str
    plan: str
    stage: int
    attempt: int
    names: tuple[str, ...]
    body: Body
    size: int
    codec: str
    absent: tuple[str, ...]
    trace: tuple[StageTrace, ...]
    expires: float
    to: tuple[str, ...] = ()
    onward: int = 0
    images: int = 1


class Kept:
    """The newest output per request, at most ``limit_bytes`` in all; the oldest go first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._outputs: OrderedDict[RequestKey, Output] = OrderedDict()

    def put(self, request: RequestKey, output: Output) -> None:
        """Keep an output if it fits, in the place of an older one of the same request."""
        self.drop(request)
        if output.size > self._limit_bytes:
            return
        self._outputs[request] = output
        self._bytes += output.size
        while self._bytes > self._limit_bytes or len(self._outputs) > MAX_KEPT:
            _, old = self._outputs.popitem(last=False)
            self._bytes -= old.size

    def get(self, request: RequestKey) -> Output | None:
        """The output kept for a request."""
        return self._outputs.get(request)

    def passed_to(self, device: str) -> list[tuple[RequestKey, Output]]:
        """The outputs that were passed on to ``device``."""
        return [(key, output) for key, output in self._outputs.items() if device in output.to]

    def drop(self, request: RequestKey) -> None:
        """Forget a request."""
        output = self._outputs.pop(request, None)
        if output is not None:
            self._bytes -= output.size

    def drop_owner(self, gateway: str, but: str | None = None) -> None:
        """Forget the requests of a gateway, except for those of its incarnation ``but``."""
        for request in [r for r in self._outputs if r[0] == gateway and r[1] != but]:
            self.drop(request)

    def __len__(self) -> int:
        return len(self._outputs)

    @property
    def bytes(self) -> int:
        """The size of all that is kept."""
        return self._bytes

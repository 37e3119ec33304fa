"""Outputs that a worker keeps after it passed them on, so that a request can go on from there."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from shoal.core.events import Body
from shoal.core.messages import StageTrace


@dataclass(frozen=True, slots=True)
class Output:
    """What one stage made of one request: tensors ``names`` in ``body``, ``size`` bytes."""

    attempt: int
    names: tuple[str, ...]
    body: Body
    size: int
    codec: str
    absent: tuple[str, ...]
    trace: tuple[StageTrace, ...]


class Kept:
    """The newest output per request, at most ``limit_bytes`` in all; the oldest go first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._outputs: OrderedDict[tuple[str, int], Output] = OrderedDict()

    def put(self, gateway: str, number: int, output: Output) -> None:
        """Keep an output if it fits, in the place of an older one of the same request."""
        self.drop(gateway, number)
        if output.size > self._limit_bytes:
            return
        self._outputs[gateway, number] = output
        self._bytes += output.size
        while self._bytes > self._limit_bytes or len(self._outputs) > 4096:
            _, old = self._outputs.popitem(last=False)
            self._bytes -= old.size

    def get(self, gateway: str, number: int) -> Output | None:
        """The output kept for a request."""
        return self._outputs.get((gateway, number))

    def drop(self, gateway: str, number: int) -> None:
        """Forget a request."""
        output = self._outputs.pop((gateway, number), None)
        if output is not None:
            self._bytes -= output.size

    def drop_if(self, gateway: str, below: int | None = None) -> None:
        """Forget the requests of a gateway (those numbered below ``below``, or all)."""
        for owner, number in list(self._outputs):
            if owner == gateway and (below is None or number < below):
                self.drop(owner, number)

    def __len__(self) -> int:
        return len(self._outputs)

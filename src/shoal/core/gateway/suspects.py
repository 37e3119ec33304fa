"""Which inputs kill the devices that run them: what is known, by content, and what to make of it.

A device that is lost may have died of what it ran. Of the requests that it may have been running
each is *charged* with that, and from then on run ALONE (``core/worker/trials.py``): should a second
device be lost, it is known what it ran, and this request alone is charged with that. No third one
is lost for it: a request that is charged twice, once so, is run APART, in a process of its own. If
that dies, the request is proved guilty: it fails, and is refused when it comes again. If not, it
was the operator, the power or the line that took two devices away. An answer clears a request of
all, and a charge is dropped when the device is seen again in the same life.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from shoal.core.events import Body
from shoal.core.messages import Care

MAX_CASES = 1024
"""Contents that are remembered; the oldest go first."""
KEEP_S = 600.0
"""How long they are: then a request may be tried again."""
MAX_LATE, LATE_S = 64, 30.0
"""Requests that ended unanswered and may still be running, and for how long they may."""

Digests: TypeAlias = tuple[str, ...]
"""What a request holds: the digest of each input that a client gave (several where they were put
together to one request)."""


class _Late(NamedTuple):
    number: int
    digests: Digests
    lives: dict[str, str]
    going: dict[str, str]
    at: float


@dataclass(slots=True)
class _Case:
    """The losses that a content is charged with: device and life, and whether it alone ran; and
    the ``proof``, in words."""

    charges: dict[tuple[str, str], bool] = field(default_factory=dict)
    proof: str = ""
    at: float = 0.0

    @property
    def care(self) -> Care | None:
        """How it is run; None: not at all."""
        if self.proof:
            return None
        twice = len(self.charges) > 1 and any(self.charges.values())
        return Care.APART if twice else Care.ALONE


class Suspects:
    """The cases of one gateway. ``digest`` gives the digests of a request's body."""

    def __init__(self, digest: Callable[[Body], Digests]) -> None:
        self.digest = digest
        self._cases: OrderedDict[Digests, _Case] = OrderedDict()
        self._late: deque[_Late] = deque(maxlen=MAX_LATE)

    def __len__(self) -> int:
        return len(self._cases)

    def charge(self, digests: Digests, device: str, life: str, alone: bool, now: float) -> None:
        """A device was lost that may have run a request; ``alone``: it ran nothing else."""
        for key in _keys(digests):
            charges = self._case(key, now).charges
            charges[device, life] = alone or charges.get((device, life), False)

    def prove(self, digests: Digests, text: str, now: float) -> None:
        """A process died of a request, and of nothing else (or could not be tried: then two losses
        have to do)."""
        self._case(digests, now).proof = text

    def _case(self, key: Digests, now: float) -> _Case:
        case = self._cases.setdefault(key, _Case())
        self._cases.move_to_end(key)
        case.at = now
        if len(self._cases) > MAX_CASES:
            self._cases.popitem(last=False)
        return case

    def note_late(
        self,
        number: int,
        digests: Digests,
        lives: Mapping[str, str],
        going: Mapping[str, str],
        now: float,
    ) -> None:
        """A request has ended without an answer, while devices (in these lives) may still run it,
        or do so alone (``going``)."""
        self._late.append(_Late(number, digests, dict(lives), dict(going), now))

    def late(self, number: int) -> Digests:
        """The digests of a request that has ended not long ago, without an answer."""
        return next((one.digests for one in self._late if one.number == number), ())

    def lost(self, device: str, life: str, now: float) -> bool:
        """Charge those that had ended, and may have run on a device that was lost; whether one of
        them ran alone there."""
        late = [one for one in self._late if now < one.at + LATE_S]
        alone = [one for one in late if one.going.get(device) == life]
        for one in alone or late:
            if one.lives.get(device) == life:
                self.charge(one.digests, device, life, bool(alone), now)
        return bool(alone)

    def lives(self, device: str, life: str) -> None:
        """A device that was lost is there again, and remembers everything: it had not died."""
        for key, case in list(self._cases.items()):
            if case.charges.pop((device, life), None) is not None and not case.charges:
                del self._cases[key]

    def clear(self, digests: Digests) -> None:
        """A request was answered."""
        for key in _keys(digests):
            self._cases.pop(key, None)

    def expire(self, now: float) -> None:
        """Forget what was long ago."""
        while self._cases:
            key, case = next(iter(self._cases.items()))
            if now < case.at + KEEP_S:
                return
            del self._cases[key]

    def care(self, digests: Digests) -> Care | None:
        """How a request is to be run; None: not at all."""
        care = Care.NONE
        for key in _keys(digests):
            case = self._cases.get(key)
            if case is not None:
                if case.care is None:
                    return None
                care = max(care, case.care)
        return care

    def why(self, digests: Digests) -> str:
        """What a request is charged with, in words."""
        cases = [case for key in _keys(digests) if (case := self._cases.get(key)) is not None]
        names = sorted({device for case in cases for device, _ in case.charges})
        proof = next((case.proof for case in cases if case.proof), "")
        return f"workers died while they ran it ({', '.join(names)}), and apart from them {proof}"


def _keys(digests: Digests) -> list[Digests]:
    """The request as it is, and each input of it."""
    return [digests, *((each,) for each in digests)] if len(digests) > 1 else [digests]

"""The playbooks that a gateway has adopted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shoal.core.gateway.request import RoundTrip
from shoal.core.policy import Admits, Policy
from shoal.errors import PlanError
from shoal.plan.plan import Plan, Playbook


@dataclass(slots=True)
class Adopted:
    """A playbook in use. ``memory`` is its policy's (``hops_memory`` that for next hops), ``users``
    counts the requests that follow it, ``trips`` has the times of attempts by plan and number of
    images (in powers of two). ``admits`` is the policy where it says how much may begin. ``base``
    is the playbook that has this one in reserve, if it is such a one. ``withheld`` are devices that
    have let go of this to make room for another: they are not to install it now."""

    playbook: Playbook
    policy: Policy
    devices: frozenset[str]
    plans: dict[str, Plan]
    inputs: tuple[str, ...]
    largest_batch: int
    admits: Admits | None
    base: str = ""
    withheld: frozenset[str] = frozenset()
    memory: Any = None
    hops_memory: Any = None
    users: int = 0
    trips: dict[tuple[str, int], RoundTrip] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The playbook's."""
        return self.playbook.id


class Playbooks:
    """Those of one gateway, oldest first. ``version`` changes when they do."""

    def __init__(self, policies: Callable[[str], Policy]) -> None:
        self.version = 0
        self._policies = policies
        self._adopted: dict[str, Adopted] = {}

    def __len__(self) -> int:
        return len(self._adopted)

    def get(self, playbook: str) -> Adopted | None:
        """A playbook in use."""
        return self._adopted.get(playbook)

    def all(self) -> list[Adopted]:
        """Oldest first."""
        return list(self._adopted.values())

    def names(self, device: str) -> list[Adopted]:
        """Those that a device is to install."""
        books = self._adopted.values()
        return [book for book in books if device in book.devices - book.withheld]

    def check(self, playbook: Playbook) -> None:
        """PlanError when a playbook cannot be adopted: it is for another network than those in use,
        or names a policy that nobody registered."""
        for book in self._adopted.values():
            if book.playbook.network != playbook.network:
                raise PlanError(
                    f"this gateway answers for the network {book.playbook.network!r}, the playbook "
                    f"is for {playbook.network!r}; open another gateway for it"
                )
        self._policies(playbook.policy.name)

    def add(self, playbook: Playbook, base: str = "") -> Adopted | None:
        """Use a playbook from now on as the newest, one that ``base`` had in reserve where that is
        given; None when it was in use already. Raises what :meth:`check` does."""
        self.version += 1
        known = self._adopted.pop(playbook.id, None)
        if known is not None:
            self._adopted[playbook.id] = known
            return None
        self.check(playbook)
        policy = self._policies(playbook.policy.name)
        book = self._adopted[playbook.id] = Adopted(
            playbook=playbook,
            policy=policy,
            devices=playbook.devices,
            plans={plan.name: plan for plan in playbook.plans},
            inputs=tuple(spec.name for spec in playbook.inputs),
            admits=policy if isinstance(policy, Admits) else None,
            base=base,
            largest_batch=max((s.batch for plan in playbook.plans for s in plan.stages), default=1),
        )
        return book

    def drop(self, playbook: str) -> None:
        """Use a playbook no longer."""
        self.version += 1
        del self._adopted[playbook]

    def follow(self, old: str, new: str) -> None:
        """A request that followed the playbook ``old`` (if it is in use) now follows ``new``."""
        for playbook, change in ((old, -1), (new, 1)):
            book = self._adopted.get(playbook)
            if book is not None:
                book.users += change

    def largest_batch(self) -> int:
        """The most requests that some stage runs at once."""
        return max((book.largest_batch for book in self._adopted.values()), default=1)

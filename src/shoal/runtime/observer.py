"""Who observes a service: what is told of its requests and devices, and to whom.

An observer is told by :class:`~shoal.runtime.service.Service`, on whatever thread brings the news:
that of a client or one that decides for all requests, and several at once. So it is quick, waits
for nobody, asks nothing of the service, and leaves what takes time to a thread of its own. What it
raises is logged and harms no request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from shoal.errors import PluginError
from shoal.plugins import load, of, plugins

if TYPE_CHECKING:
    from shoal.runtime.answer import Answer
    from shoal.runtime.service import Service

log = logging.getLogger("shoal")

GROUP = "shoal.observers"
"""Entry points, each of which names a :data:`Factory`."""


class ObservedRequest(msgspec.Struct, frozen=True):
    """A request that the gateway was given. ``number`` is its own in this service, counting up;
    ``at_s`` when it was given, on the monotonic clock; ``images`` how many are in it."""

    number: int
    at_s: float
    images: int


class Observer:
    """What can be told. A subclass says what it does about it; about the rest it does nothing.

    Of each request ``asked`` is told first, and then one of ``answered``, ``failed``,
    ``cancelled`` and ``divided``, before its client knows. What is refused at once (an InputError,
    a service that is closed) is no request.
    """

    def asked(self, request: ObservedRequest) -> None:
        """The gateway is given a request."""

    def answered(self, request: ObservedRequest, answer: Answer) -> None:
        """It has its answer."""

    def failed(self, request: ObservedRequest, error: BaseException) -> None:
        """It has none: a ShoalError that says why not."""

    def cancelled(self, request: ObservedRequest) -> None:
        """Its client no longer wants the answer."""

    def divided(self, request: ObservedRequest) -> None:
        """Workers died of a request that holds several inputs. Each of these is asked for again, in
        a request of its own: nobody is told that this one failed."""

    def unclaimed(self, number: int) -> None:
        """The gateway ended a request that nobody waits for: an answer too many if the request
        has had one, else one that came while it was cancelled."""

    def peer(self, name: str, there: bool) -> None:
        """A device of the playbook came (``there``), or went."""

    def closed(self) -> None:
        """The service is closed: nothing is told any more."""


Factory: TypeAlias = "Callable[[Service], Observer | None]"
"""Makes the observer of a service, or None where it has none."""


def tell(observers: tuple[Observer, ...], what: Callable[[Observer], None]) -> None:
    """Tell all of them, whatever one of them raises."""
    for observer in observers:
        try:
            what(observer)
        except Exception:
            log.exception("the observer %s failed; requests go on", type(observer).__name__)


def added_observers(service: Service) -> list[Observer]:
    """What other distributions want told of a service (:data:`GROUP`). One that cannot be had is
    logged and missing."""
    made: list[Observer] = []
    try:
        entries = plugins(GROUP)
    except PluginError as error:
        log.warning("%s", error)
        return made
    for entry in entries.values():
        try:
            observer = cast(Factory, load(entry))(service)
        except Exception as error:
            log.warning("without the observer %s: %s", of(entry), error)
        else:
            if observer is not None:
                made.append(observer)
    return made

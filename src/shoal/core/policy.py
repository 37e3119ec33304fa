"""What a policy is: pure functions on a snapshot, named by a playbook, found in a registry.

Gateway and workers know no strategy otherwise. A policy holds no state of its own: what it wants
to remember between two decisions it returns as ``memory`` and is given back the next time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

import msgspec

from shoal.core.messages import Load, Route, Values
from shoal.errors import PlanError, PluginError, PolicyError, ShoalError
from shoal.plan.plan import Plan, Playbook

GROUP = "shoal.policies"
MAX_SAID = 300
"""Letters of what an exception says that are told."""


class DeviceView(msgspec.Struct, frozen=True):
    """A device as the decider sees it. ``usable``: alive, its parts loaded, not draining.

    ``outstanding`` are requests given to it and not yet answered, ``work_ms`` their forecast run
    time, ``slowdown`` the observed over the forecast run time (moving average), ``load`` what it
    last said of itself.
    """

    usable: bool = True
    outstanding: int = 0
    work_ms: float = 0.0
    slowdown: float = 1.0
    load: Load = Load()


class LinkView(msgspec.Struct, frozen=True):
    """A link as the decider sees it; 0 where nothing was measured. ``at`` is when the rate was, in
    seconds on the clock of :class:`View`; ``at_least`` says that too little was sent to tell
    whether it carries more."""

    bytes_per_s: float = 0.0
    rtt_ms: float = 0.0
    at: float = -math.inf
    at_least: bool = False


class View(msgspec.Struct, frozen=True):
    """A snapshot: the time in seconds, the devices, the links from here by peer, the requests that
    wait here, and how many images are in the one that is decided about. ``drawn`` is a number from
    0 to 1 that was drawn for this question, so that a policy can leave something to chance and
    stay a function of what it is shown. ``here`` is the node that decides. ``refused`` is how many
    requests were turned away as overloaded here so far."""

    now: float
    devices: Mapping[str, DeviceView]
    links: Mapping[str, LinkView] = {}
    waiting: int = 0
    images: int = 1
    drawn: float = 0.0
    here: str = ""
    refused: int = 0

    def usable(self, device: str) -> bool:
        """Whether work can be given to ``device``."""
        view = self.devices.get(device)
        return view is not None and view.usable


class Choice(msgspec.Struct, frozen=True):
    """The plan for a request, where it starts in it, and who runs each stage.

    ``start`` is 0 for a new request, or the stage whose inputs are the tensors at hand. An empty
    route leaves each hop to :meth:`Policy.forward`. ``unmet`` names what was asked of answers and
    is not expected of this one, such as ``"latency"``. ``probe`` names a peer the way to which is
    to be measured meanwhile, by a message that no request waits for. ``values`` go with the request
    to all who work for it.
    """

    plan: str
    route: Route
    start: int = 0
    unmet: tuple[str, ...] = ()
    probe: str = ""
    values: Values = Values()


class Hold(msgspec.Struct, frozen=True):
    """Nobody shall have it yet: ask again at ``until`` (seconds, on the clock of :class:`View`),
    or before, when something has changed."""

    until: float


class Policy(Protocol):
    """The decisions that a strategy takes at run time. What it raises fails the request that it was
    asked about (PolicyError), if no other way is found; and so does an answer that cannot be
    followed."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """Pick the plan for a request whose tensors ``at`` are at hand (the network's inputs for
        a new one). None: nothing that is usable can answer it now. The memory that is returned
        counts only if the choice is followed."""

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        """Pick who runs ``stage`` of a plan whose route is free, or hold it here for a while. None:
        nobody can. Each node has a memory of its own, beside that of :meth:`choose`."""


class Limit(msgspec.Struct, frozen=True):
    """How many attempts may be under way, and from when on another may begin (seconds, on the clock
    of :class:`View`)."""

    under_way: int
    not_before: float = -math.inf


@runtime_checkable
class Admits(Protocol):
    """What a policy may decide besides: when, and how much, may begin. It is asked before a request
    that waits begins. Without it as much is under way as keeps all devices busy, and so it is where
    it raises."""

    def admit(
        self, playbook: Playbook, view: View, under_way: int, memory: Any
    ) -> tuple[Limit, Any]:
        """The limit while so many attempts are ``under_way``, and what is remembered of it."""


@contextmanager
def deciding(playbook: Playbook) -> Iterator[None]:
    """Around a question to the policy of a playbook: whatever it raises is raised as PolicyError,
    with the place, so that it is laid to the one request that it was asked about."""
    try:
        yield
    except ShoalError as error:
        raise PolicyError(f"the policy {playbook.policy.name!r}: {error}") from error
    except Exception as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last else ""
        said = f"{type(error).__name__}: {str(error)[:MAX_SAID]}{where}"
        raise PolicyError(f"the policy {playbook.policy.name!r} broke: {said}") from error


def check_choice(choice: Choice, plans: Mapping[str, Plan], at: Collection[str]) -> None:
    """PolicyError unless one of ``plans`` can be followed as chosen, from the tensors ``at``."""
    _check_type(choice, Choice, "chose")
    plan = plans.get(choice.plan)
    if plan is None:
        raise PolicyError(f"chose the plan {choice.plan!r}, which the playbook does not have")
    stages, start, route = plan.stages, choice.start, choice.route
    if not 0 <= start < len(stages) or not set(stages[start].inputs) <= {*at}:
        raise PolicyError(f"began with stage {start} of {plan.name!r}, without inputs for that")
    if len(route) > len(stages):
        raise PolicyError(f"chose who runs {len(route)} stages of {plan.name!r}; it has fewer")
    for index in range(start, len(route)):
        check_takers(plan, index, route[index])
    if not all(math.isfinite(threshold) for _, threshold in choice.values.thresholds):
        raise PolicyError(f"set thresholds that are no numbers: {choice.values.thresholds}")


def check_takers(plan: Plan, stage: int, names: Iterable[str]) -> None:
    """PolicyError unless all of ``names`` have a part in a stage."""
    for name in names:
        if name not in plan.stages[stage].parts:
            raise PolicyError(f"gave stage {stage} of {plan.name!r} to {name!r}, which has no part")


def check_limit(limit: Limit) -> None:
    """PolicyError unless it can be kept to."""
    _check_type(limit, Limit, "answered")
    if math.isnan(limit.under_way) or math.isnan(limit.not_before):
        raise PolicyError(f"set limits that are no numbers: {limit}")


def _check_type(said: object, kind: type, verb: str) -> None:
    if not isinstance(said, kind):
        raise PolicyError(f"{verb} {said!r:.{MAX_SAID}}, which is no {kind.__name__}")


@cache
def find_policy(name: str) -> Policy:
    """The policy registered under ``name``.

    Raises PlanError when no installed package registers it, or the one that does is broken.
    """
    # Costs megabytes, and most workers never ask.
    from shoal import plugins

    try:
        installed = plugins.plugins(GROUP)
        if name in installed:
            return cast(Policy, plugins.load(installed[name]))
    except PluginError as error:
        raise PlanError(f"the policy {name!r} cannot be used: {error}") from error
    raise PlanError(
        f"no policy is registered as {name!r} (there are: {', '.join(sorted(installed))}); install "
        "the package that brings it on the gateway and on every worker"
    )

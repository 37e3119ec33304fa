"""What a strategy is, and how one is found.

A strategy turns a network, a cluster and an objective into a playbook and the parts that it needs.
All that is special about one stands in its package; the rest of Shoal knows it by the object that
its entry point in the group ``shoal.strategies`` gives.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from shoal import plugins
from shoal.errors import PlanError, PluginError
from shoal.model.strength import Strength
from shoal.plan.network import Feeds, Network, Part
from shoal.plan.plan import Plan, Playbook, PolicySpec
from shoal.plan.playbook import make_playbook
from shoal.strategies.options import Options

GROUP = "shoal.strategies"

log = logging.getLogger("shoal")


@dataclass(frozen=True)
class Built:
    """A playbook, its parts by hash, and what the user should know of it (in sentences).
    ``images`` are some of the user's, to prove it on; ``proof`` is how much the proof said, once
    there was one."""

    playbook: Playbook
    parts: Mapping[str, Part]
    notes: tuple[str, ...] = ()
    images: tuple[Feeds, ...] = ()
    proof: Strength | None = None


def built(
    strategy: str,
    network: Network,
    policy: PolicySpec,
    plans: Sequence[Plan],
    parts: Mapping[str, Part],
    notes: Sequence[str] = (),
) -> Built:
    """A playbook of these plans for a network, with the policy that picks one for each request."""
    playbook = make_playbook(
        network=network.name,
        strategy=strategy,
        policy=policy,
        plans=plans,
        parts={name: part.info for name, part in parts.items()},
        inputs=network.inputs,
        outputs=network.outputs,
        stacks=network.stacks,
        preprocessing=network.preprocessing,
    )
    return Built(playbook, parts, tuple(notes))


@dataclass(frozen=True)
class Sheet:
    """A table to be read. A column whose name ends in ``>`` holds numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Explanation:
    """Why the plans of a playbook are what they are: ``data`` is all of it, by name, as plain data;
    ``sheets`` and ``notes`` are what is shown of it. ``draw`` writes a picture into a folder and
    gives its path (MissingExtraError without matplotlib)."""

    data: Mapping[str, Any]
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()
    draw: Callable[[Path], Path] | None = None


Progress: TypeAlias = Callable[[float, str], None]
"""Is told which share is done, and what is being done."""


@dataclass(frozen=True)
class Strategy:
    """A way to spread a network: four hooks, of which only the first must be there.

    ``build(network, cluster, profiles, objective)`` gives a :class:`Built`, or raises PlanError
    when the cluster or the objective leaves nothing that it can do. Checking and proving the
    playbook is not its business.

    ``prepare(network, cluster, objective, progress)`` does what has to be done before, and before
    the devices are measured: reading the user's files, calibrating. What it returns is what
    ``build`` gets as ``prepared``. Results that took long it keeps in the cache.

    ``explain(playbook)`` gives an :class:`Explanation` of a playbook of this strategy.

    Each of the three gets ``options``, if the strategy declares any.

    The rest is its place in a comparison. ``rank`` goes from the simplest strategy (0) to the most
    involved: of two that are about as good, the one with the lower rank is recommended.
    ``distributes`` is False where the network is left in one piece on the user's own machine,
    ``compared`` where the strategy is only taken if it is named.
    """

    name: str
    build: Callable[..., Built]
    prepare: Callable[..., object] | None = None
    explain: Callable[..., Explanation] | None = None
    options: type[Options] = Options
    rank: int = 100
    distributes: bool = True
    compared: bool = True

    def given(self, options: Options) -> dict[str, Options]:
        """The options as the hooks get them."""
        return {} if self.options is Options else {"options": options}


def find_strategy(name: str) -> Strategy:
    """The strategy registered under ``name``.

    Raises PlanError when there is none, PluginError when it cannot be used.
    """
    installed = plugins.plugins(GROUP)
    if name not in installed:
        raise PlanError(
            f"no strategy is registered as {name!r} (there are: {', '.join(sorted(installed))}); "
            "choose one of these or install the package that brings it"
        )
    found = plugins.load(installed[name])
    if not isinstance(found, Strategy):
        raise PluginError(
            f"the strategy {plugins.of(installed[name])} is no shoal.strategies.base.Strategy; "
            "make one of its name and its build function"
        )
    return found


def all_strategies() -> list[Strategy]:
    """All that can be used, the simplest first; of one that cannot the reason is logged."""
    found = []
    for name in sorted(plugins.plugins(GROUP)):
        try:
            found.append(find_strategy(name))
        except PluginError as error:
            log.warning("%s", error)
    return sorted(found, key=lambda strategy: strategy.rank)

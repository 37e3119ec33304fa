"""What a strategy is, and how one is found and used.

A strategy turns a network, a cluster and an objective into a playbook and the parts that it needs.
Others add theirs by an entry point in the group ``shoal.strategies``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import PurePath
from typing import Any, Protocol

from shoal.errors import PlanError
from shoal.model.strength import Strength
from shoal.plan.cluster import Cluster
from shoal.plan.network import Feeds, Network, Part
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.playbook import validate
from shoal.plan.profiles import Profiles
from shoal.plan.prove import prove
from shoal.plan.recommend import Option, Recommendation, option, recommend

GROUP = "shoal.strategies"
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number; write --set {name}=4"),
    "float": ((int, float), "a number; write --set {name}=0.5"),
    "str": ((str, PurePath), "a text; write --set {name}=TEXT"),
}
"""What is taken for an option, by its annotation, and what to say of anything else."""


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


class Strategy(Protocol):
    """A way to spread a network."""

    name: str

    @property
    def build(self) -> Build:
        """The function that makes the playbook."""


class Build(Protocol):
    """Makes a playbook; its keyword options are the strategy's own.

    Raises PlanError when the cluster or the objective leaves nothing that it can do. Says nothing
    of the proof: :func:`make` sees to that.
    """

    def __call__(
        self,
        network: Network,
        cluster: Cluster,
        profiles: Profiles,
        objective: Objective,
        /,
        **options: Any,
    ) -> Built: ...


class Store(Protocol):
    """Where parts are kept by hash."""

    def add_part(self, part: Any, /) -> object: ...


def strategy_names() -> tuple[str, ...]:
    """The names of all installed strategies, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def find_strategy(name: str) -> Strategy:
    """The strategy registered under ``name``; PlanError when there is none."""
    for entry in entry_points(group=GROUP, name=name):
        strategy: Strategy = entry.load()
        return strategy
    raise PlanError(
        f"no strategy is registered as {name!r} (there are: {', '.join(strategy_names())}); "
        "choose one of these or install the package that brings it"
    )


def make(
    strategy: str | Strategy,
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective | str | None = None,
    *,
    store: Store | None = None,
    **options: Any,
) -> Built:
    """Build, check and prove a playbook, and put its parts into ``store``.

    Raises PlanError when the strategy cannot do what is asked or does not know an option, and
    ProofError when a plan does not give the answer of the whole network.
    """
    chosen = find_strategy(strategy) if isinstance(strategy, str) else strategy
    check_options(chosen, options)
    built = chosen.build(network, cluster, profiles, Objective.of(objective), **options)
    validate(built.playbook)
    given = network.given(built.images) if built.images else ()
    prove(built.playbook, built.parts, network, more=given)
    if store is not None:
        for part in built.parts.values():
            store.add_part(part)
    return replace(built, proof=network.strength(given))


def compare(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective | str | None = None,
    strategies: Sequence[str] | None = None,
) -> Recommendation:
    """Build the playbooks of all ``strategies`` (all installed ones if None), unproved, and
    judge them by forecast; PlanError when none of them can do anything."""
    wish = Objective.of(objective)
    options = []
    for name in strategies or strategy_names():
        try:
            built = find_strategy(name).build(network, cluster, profiles, wish)
        except PlanError as error:
            options.append(Option(name, refused=str(error)))
        else:
            options.append(
                option(name, built.playbook, cluster.gateway.name, wish, notes=built.notes)
            )
    return recommend(options, wish)


def check_options(strategy: Strategy, options: Mapping[str, Any]) -> None:
    """PlanError for an option that the strategy has not, or a value that is no number or text
    where it takes one."""
    parameters = inspect.signature(strategy.build).parameters.values()
    known = {p.name: _annotation(p.annotation) for p in parameters if p.kind is p.KEYWORD_ONLY}
    for name, value in options.items():
        if name not in known:
            raise PlanError(
                f"the strategy {strategy.name!r} has no option {name!r} "
                f"(it has: {', '.join(known) or 'none'})"
            )
        if value is None and "None" in known[name]:
            continue
        kind = KINDS.get(known[name].removesuffix(" | None"))
        if kind is None:
            continue
        types, wanted = kind
        if isinstance(value, bool) or not isinstance(value, types):
            raise PlanError(f"{name}: {value!r} is not {wanted.format(name=name)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise PlanError(f"{name}: {value!r} is not {wanted.format(name=name)}")


def _annotation(annotation: object) -> str:
    """How an annotation is written, whether or not it is kept as text."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)

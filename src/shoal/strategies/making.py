"""From strategies to a playbook: prepare, build, judge, prove.

The same steps whether one strategy was named or all of them are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from shoal.errors import PlanError, ShoalError
from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.playbook import validate
from shoal.plan.profiles import Profiles
from shoal.plan.prove import prove
from shoal.plan.recommend import Option, Recommendation, judged, option, recommend
from shoal.strategies.base import (
    Built,
    Explanation,
    Strategy,
    all_strategies,
    find_strategy,
)
from shoal.strategies.losses import losses
from shoal.strategies.options import Options, read_options

Tell: TypeAlias = Callable[[str, float, str], None]
"""Is told of which strategy which share is prepared, and what is being done."""


class Store(Protocol):
    """Where parts are kept by hash."""

    def add_part(self, part: Any, /) -> object: ...


@dataclass(frozen=True)
class Candidate:
    """A strategy that may be taken, with its options; then with what it prepared and built, or with
    the reason why it cannot be had (``refused``)."""

    strategy: Strategy
    options: Options
    prepared: object = None
    built: Built | None = None
    refused: str = ""

    def explain(self, playbook: Playbook) -> Explanation | None:
        """What the strategy explains of a playbook that it made, if it explains any."""
        strategy = self.strategy
        if strategy.explain is None:
            return None
        return strategy.explain(playbook, **strategy.given(self.options))


def candidates(strategy: str | None, options: Mapping[str, object]) -> list[Candidate]:
    """The strategy of this name with these options, or (None) all that are to be compared, the
    simplest first, each with those of the options that it has.

    Raises PlanError for a strategy or an option that there is not.
    """
    if strategy is not None:
        found = find_strategy(strategy)
        return [Candidate(found, read_options(found.options, options, found.name))]
    compared = [each for each in all_strategies() if each.compared]
    for name in options:
        if not any(name in each.options.__struct_fields__ for each in compared):
            raise PlanError(
                f"no strategy that is compared has an option {name!r}; name the one that it is for"
            )

    def own(each: Strategy) -> Options:
        names = options.keys() & set(each.options.__struct_fields__)
        return read_options(each.options, {name: options[name] for name in names}, each.name)

    return [Candidate(each, own(each)) for each in compared]


def prepare(
    offered: Sequence[Candidate],
    network: Network,
    cluster: Cluster,
    objective: Objective,
    tell: Tell = lambda strategy, share, doing: None,
) -> list[Candidate]:
    """Let each strategy do what it must before it can build."""

    def step(each: Candidate) -> Candidate:
        strategy = each.strategy
        if strategy.prepare is None:
            return each
        given, progress = strategy.given(each.options), partial(tell, strategy.name)
        prepared = strategy.prepare(network, cluster, objective, progress, **given)
        return replace(each, prepared=prepared)

    return _further(offered, step)


def build(
    offered: Sequence[Candidate],
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective,
) -> list[Candidate]:
    """Let each strategy build its playbook, which is not proved yet."""

    def step(each: Candidate) -> Candidate:
        strategy = each.strategy
        given: dict[str, object] = {**strategy.given(each.options)}
        if strategy.prepare is not None:
            given["prepared"] = each.prepared
        return replace(each, built=strategy.build(network, cluster, profiles, objective, **given))

    return _further(offered, step)


def _further(
    offered: Sequence[Candidate], step: Callable[[Candidate], Candidate]
) -> list[Candidate]:
    """Take each a step further that was not refused. Where it is not the only one, a PlanError is
    the reason why one is refused, and so is what breaks one: it may be anybody's."""
    taken = []
    for each in offered:
        try:
            taken.append(each if each.refused else step(each))
        except Exception as error:
            wrong = isinstance(error, ShoalError) and not isinstance(error, PlanError)
            if wrong or len(offered) == 1:
                raise
            broken = "" if isinstance(error, PlanError) else f"it broke, {type(error).__name__}: "
            taken.append(replace(each, refused=f"{broken}{error}"))
    return taken


def judge(offered: Sequence[Candidate], gateway: str, objective: Objective) -> Recommendation:
    """Judge by its forecasts what was built; PlanError when nothing was."""
    options = [
        Option(each.strategy.name, each.strategy.distributes, refused=each.refused)
        if each.built is None
        else option(
            each.strategy.name,
            each.built.playbook,
            objective,
            losses(each.built.playbook, gateway, judged(objective), objective.min_accuracy or 0.0),
            distributes=each.strategy.distributes,
            notes=each.built.notes,
        )
        for each in offered
    ]
    return recommend(options, objective)


def finish(made: Candidate, network: Network, store: Store | None) -> Built:
    """Check and prove what a strategy built, and put its parts into ``store``.

    Raises ProofError when a plan does not give the answer of the whole network.
    """
    built = made.built
    if built is None:
        raise PlanError(made.refused)
    validate(built.playbook)
    given = network.given(built.images) if built.images else ()
    prove(built.playbook, built.parts, network, more=given)
    if store is not None:
        for part in built.parts.values():
            store.add_part(part)
    return replace(built, proof=network.strength(given))


def make(
    strategy: str,
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    objective: Objective | str | None = None,
    *,
    store: Store | None = None,
    **options: object,
) -> Built:
    """The proved playbook of one strategy, whose parts are put into ``store``.

    Raises PlanError when the strategy cannot do what is asked or does not know an option, and
    ProofError when a plan does not give the answer of the whole network.
    """
    wish = Objective.of(objective)
    offered = prepare(candidates(strategy, options), network, cluster, wish)
    (made,) = build(offered, network, cluster, profiles, wish)
    return finish(made, network, store)

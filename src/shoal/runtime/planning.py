"""``shoal.plan``: let strategies prepare, survey the cluster, let them build, judge, prove."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from shoal.model.engine import give_back
from shoal.model.network import Network
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.plan.recommend import Recommendation
from shoal.runtime.survey import survey
from shoal.strategies.base import Built
from shoal.strategies.making import Candidate, build, candidates, finish, judge, prepare


@dataclass(frozen=True)
class Planned:
    """What was planned: the strategy that was chosen, with its proved playbook, what it was chosen
    from, and the devices of which what is stated was taken for true."""

    chosen: Candidate
    built: Built
    found: Recommendation
    assumed: tuple[str, ...]


def plan(
    network: Network,
    cluster: Cluster,
    strategy: str | None = None,
    objective: Objective | str | None = None,
    *,
    profiles: Profiles | None = None,
    store: PartStore | None = None,
    progress: Callable[[str], None] = lambda text: None,
    **options: object,
) -> Playbook:
    """Build, prove and store a playbook.

    ``strategy`` is a registered name; without it all are compared and the best is taken.
    ``objective`` says what is wanted (an :class:`Objective`, or the name of the first aim:
    ``"throughput"``, ``"latency"``). ``profiles`` (default: measured now, see :func:`survey`) are
    the facts; ``store`` gets the parts; ``options`` are the strategy's own.

    Raises PlanError when the strategy cannot do what is asked, ProofError when a plan does not
    give the answer of the whole network.
    """
    wish, offered = Objective.of(objective), candidates(strategy, options)
    return choose(
        offered, network, cluster, wish, profiles=profiles, store=store, progress=progress
    ).built.playbook


def choose(
    offered: list[Candidate],
    network: Network,
    cluster: Cluster,
    wish: Objective,
    *,
    profiles: Profiles | None = None,
    store: PartStore | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Planned:
    """The playbook of the best of these strategies, proved and stored, and why it is that one.

    What strategies prepare comes first: it may take minutes, and measurements should be fresh.
    """
    store = store or PartStore()
    assumed: tuple[str, ...] = ()
    offered = prepare(offered, network, cluster, wish, _telling(progress))
    if profiles is None:
        seen = survey(network, cluster, store=store, progress=progress)
        profiles, cluster, assumed = seen.profiles, seen.cluster, seen.assumed
    progress(f"building the plans of {', '.join(each.strategy.name for each in offered)}")
    offered = build(offered, network, cluster, profiles, wish)
    found = judge(offered, cluster.gateway.name, wish)
    (chosen,) = (each for each in offered if each.strategy.name == found.strategy)
    progress(f"proving the plans of {found.strategy}")
    built = finish(chosen, network, store)
    give_back(tensors=True)
    return Planned(chosen, built, found, assumed)


def _telling(progress: Callable[[str], None]) -> Callable[[str, float, str], None]:
    """What tells of the progress of a preparation, with the time that is left."""
    began_s: dict[str, float] = {}

    def tell(strategy: str, share: float, doing: str) -> None:
        now_s = time.monotonic()
        passed_s = now_s - began_s.setdefault(strategy, now_s)
        left = f", about {passed_s * (1 / share - 1):.0f} s left" if share and passed_s > 1 else ""
        progress(f"preparing {strategy}: {share:.0%}{left}, {doing}")

    return tell

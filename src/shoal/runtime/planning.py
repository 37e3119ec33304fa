"""``shoal.plan``: survey the cluster, let a strategy build its playbook, keep the parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.model.engine import give_back
from shoal.model.network import Network
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.runtime.survey import survey
from shoal.strategies.base import make


def plan(
    network: Network,
    cluster: Cluster,
    strategy: str = "pipeline",
    objective: Objective | str | None = None,
    *,
    profiles: Profiles | None = None,
    store: PartStore | None = None,
    progress: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Playbook:
    """Build, prove and store a playbook.

    ``strategy`` is a registered name. ``objective`` says what is wanted (an
    :class:`Objective`, or the name of the first aim: ``"throughput"``, ``"latency"``).
    ``profiles`` (default: measured now, see :func:`survey`) are the facts; ``store`` gets the
    parts; ``options`` are the strategy's own.

    Raises PlanError when the strategy cannot do what is asked, ProofError when a plan does not
    give the answer of the whole network.
    """
    store = store or PartStore()
    if profiles is None:
        found = survey(network, cluster, store=store, progress=progress)
        profiles, cluster = found.profiles, found.cluster
    progress(f"building the playbook ({strategy})")
    built = make(strategy, network, cluster, profiles, objective, store=store, **options)
    give_back(tensors=True)
    return built.playbook

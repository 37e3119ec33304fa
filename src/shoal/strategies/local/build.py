"""The whole network on the gateway."""

from __future__ import annotations

from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective
from shoal.plan.plan import PolicySpec
from shoal.plan.playbook import make_playbook
from shoal.plan.profiles import Profiles
from shoal.strategies.base import Built
from shoal.strategies.whole import fitting, refuse_unless_any, whole_part, whole_plan


class Local:
    """The strategy ``local``."""

    name = "local"

    def build(
        self, network: Network, cluster: Cluster, profiles: Profiles, objective: Objective, /
    ) -> Built:
        """One plan, which nothing but the end of the user's process can stop."""
        part = whole_part(network)
        able, notes = fitting([cluster.gateway], part)
        refuse_unless_any(able, notes, "raise 'gateway.memory' or use the strategy 'pipeline'")
        plan = whole_plan(
            f"only {cluster.gateway.name}",
            [cluster.gateway.name],
            part,
            network,
            cluster,
            profiles,
        )
        playbook = make_playbook(
            network=network.name,
            strategy=self.name,
            policy=PolicySpec("preferred"),
            plans=[plan],
            parts={part.hash: part.info},
            inputs=network.inputs,
            outputs=network.outputs,
            stacks=network.stacks,
        )
        return Built(playbook, {part.hash: part})


strategy = Local()

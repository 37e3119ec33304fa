"""What of a network is dealt, who holds what of it, and what is there when devices are lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoal.model.network import Network
from shoal.model.shards import Masked, Region, masked, regions
from shoal.plan.cluster import Cluster
from shoal.plan.network import Array
from shoal.plan.profiles import Profiles
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Lost, failure_sets
from shoal.strategies.shards.prepare import ShardOptions
from shoal.strategies.shards.replicate import uniform
from shoal.strategies.shards.settle import Wish
from shoal.strategies.shards.sharing import laid_out
from shoal.strategies.shards.trials import Dealings, holes
from shoal_train.failout.counted import Counted
from shoal_train.graph import PartModule, with_weights


@dataclass(frozen=True)
class Risk:
    """Regions of a network, dealt by ``shares`` to devices, of which any ``survive`` may be lost.
    A share ``rho`` of each width is common; units are judged by ``images``."""

    network: Network
    regions: tuple[Region, ...]
    shares: tuple[float, ...]
    survive: int
    rho: float
    images: Array

    @classmethod
    def of(
        cls,
        network: Network,
        cluster: Cluster,
        survive: int,
        options: ShardOptions,
        images: Array,
    ) -> Risk:
        """What ``shoal plan`` with these options would deal, but for what pays. PlanError where
        nothing can be dealt."""
        devices = tuple(device.name for device in cluster.computing)
        rho = options.rho or 0.0
        wish = Wish(survive, 0.0, {}, options)
        profiles = Profiles.scaled(cluster, Counted.of(network))
        ground, layout = laid_out(
            network, cluster, profiles, devices, regions(network).regions, wish
        )
        dealt = tuple(step.what for step in layout if step.what is not None)
        return cls(network, dealt, ground.shares, survive, rho, images)

    @property
    def sets(self) -> tuple[Lost, ...]:
        """Which devices may be lost together."""
        return failure_sets(len(self.shares), self.survive)

    def deck(self, network: Network, fill: str = "mean") -> Deck:
        """The units of this network, the same but for its weights."""
        return Deck(network, self.regions, self.shares, self.images, fill)

    def dealings(self, deck: Deck) -> Dealings:
        """Who holds what."""
        return deck.deal(uniform(deck.layers, self.rho))

    def masked(self) -> Masked:
        """The network with units that can be taken out."""
        return masked(self.network, self.regions)

    def holes(self, module: PartModule) -> Holes:
        """What is there, and what stands in for what is not, when devices are lost of the masked
        network with the weights of ``module``: units are judged and dealt anew, and their means
        taken."""
        deck = self.deck(with_weights(self.network, module.weights()))
        dealings, masks = self.dealings(deck), self.masked().masks
        found = [holes(deck.trials.points, dealings, lost, deck.means) for lost in ((), *self.sets)]
        rows = {}
        for point in deck.trials.points:
            shape = [-1, *(1 for _ in point.tensor.shape[1:])]
            shape[point.axis] = point.entries
            name, mask = point.tensor.name, masks[point.tensor.name]
            for which, own in enumerate((mask.keep, mask.fill)):
                stacked = np.stack([each[which][name] for each in found]).astype(np.float32)
                rows[own] = torch.from_numpy(stacked.reshape(shape))
        return Holes(rows)


@dataclass(frozen=True)
class Holes:
    """Inputs of a masked network by name: a row where nobody is lost, then one for each set."""

    rows: dict[str, Tensor]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.rows.values())))

    def of(self, sets: Tensor) -> dict[str, Tensor]:
        """Those of images of which each has the set with this number (0: nobody is lost)."""
        return {name: rows[sets] for name, rows in self.rows.items()}

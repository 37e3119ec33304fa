"""How missing units follow from those that are here: linear maps, fitted to the user's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.shards.mend import Map

Floats: TypeAlias = npt.NDArray[np.float64]

RIDGE = 1e-3
"""Added to the variance of each unit that is here, as a share of their mean variance: few images
must not make large weights."""


@dataclass(frozen=True)
class Together:
    """How the entries of a point vary together, over images and space."""

    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, rows: npt.NDArray[np.floating]) -> Together:
        """From rows of entries."""
        wide = rows.astype(np.float64)
        mean = wide.mean(axis=0)
        wide -= mean
        return cls(mean, wide.T @ wide / max(1, len(wide)))

    def rebuild(self, missing: Sequence[int]) -> tuple[Map, Floats]:
        """The best map from the entries that are here to all (ridge regression), and the share of
        the variance of each missing entry that it does not explain."""
        size = len(self.mean)
        gone = np.zeros(size, bool)
        gone[list(missing)] = True
        matrix, offset = np.diag((~gone).astype(np.float64)), np.where(gone, self.mean, 0.0)
        here = self.covariance[np.ix_(~gone, ~gone)]
        both = self.covariance[np.ix_(~gone, gone)]
        left = np.ones(len(missing))
        if here.size and both.size:
            ridge = RIDGE * max(float(np.trace(here)) / len(here), 1e-12)
            rates = np.linalg.solve(here + ridge * np.eye(len(here)), both)
            matrix[np.ix_(gone, ~gone)] = rates.T
            offset[gone] -= self.mean[~gone] @ rates
            own = np.diag(self.covariance)[gone]
            error = own - 2 * (rates * both).sum(axis=0) + (rates * (here @ rates)).sum(axis=0)
            left = np.clip(error / np.maximum(own, 1e-12), 0.0, 1.0)
        return Map(matrix, offset), left

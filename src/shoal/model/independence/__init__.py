"""Which images may be run together: reasoned from the graph, tensor by tensor.

For each tensor it is told where the images lie in it (:mod:`layout`): along one axis, each with
the rows that it would have alone; or nowhere, because the tensor is the same for all of them. A
table of operators (:mod:`table`) has a rule for each: where the images lie in what it makes, given
where they lie in what it reads. Whatever reduces, sorts, normalises, quantises, picks or reshapes
across images ends that, and so does an operator that has no rule. What is computed from shapes, and
so from the number of images, is followed exactly (:mod:`size`, :mod:`values`).
"""

from __future__ import annotations

from shoal.model.independence.follow import Follower as Follower
from shoal.model.independence.follow import entering as entering
from shoal.model.independence.layout import STACKED as STACKED
from shoal.model.independence.layout import Along as Along
from shoal.model.independence.layout import Common as Common
from shoal.model.independence.layout import Extent as Extent
from shoal.model.independence.layout import Layout as Layout
from shoal.model.independence.layout import Mixed as Mixed
from shoal.model.independence.size import Size as Size
from shoal.model.independence.table import is_known as is_known

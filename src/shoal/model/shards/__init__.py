"""Shards: a network's channels dealt over devices that compute each layer together.

:func:`regions` finds what can be dealt, :func:`shard` makes the part of one device (of coded layers
:func:`coded_regions` and :func:`coded_shard`),
:func:`masked` the whole network with units that can be taken out, :func:`contribution` what units
add to a sum.
"""

from __future__ import annotations

from shoal.model.shards.coded import coded_regions as coded_regions
from shoal.model.shards.coded import coded_shard as coded_shard
from shoal.model.shards.find import regions as regions
from shoal.model.shards.mask import Masked as Masked
from shoal.model.shards.mask import contribution as contribution
from shoal.model.shards.mask import masked as masked
from shoal.model.shards.part import shard as shard
from shoal.model.shards.region import Found as Found
from shoal.model.shards.region import Kind as Kind
from shoal.model.shards.region import Op as Op
from shoal.model.shards.region import Point as Point
from shoal.model.shards.region import Region as Region
from shoal.model.shards.region import Run as Run
from shoal.model.shards.region import Share as Share
from shoal.model.shards.region import Units as Units
from shoal.model.shards.region import Why as Why
from shoal.model.shards.region import Width as Width

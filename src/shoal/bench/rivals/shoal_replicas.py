"""Shoal's replicas: the whole network on every seat, dealt by Shoal's gateway."""

from __future__ import annotations

from shoal.bench.rivals.shoal_pipeline import Shoal

RIVAL = Shoal("replicas")

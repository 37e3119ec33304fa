"""Shoal's replicas: the whole network on every seat, dealt by Shoal's gateway."""

from __future__ import annotations

from shoal_benchmarks.rivals.shoal_pipeline import Shoal

RIVAL = Shoal("replicas")

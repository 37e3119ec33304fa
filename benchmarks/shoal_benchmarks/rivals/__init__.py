"""Shoal beside the ways that users have today: same network, cuts, threads and hosts.

A reader's path: :mod:`job` (what all get), :mod:`rival` (what a rival is), :mod:`trial` (one
run). Each rival is a file of its own; its stages are processes that are started with
``python -m``, on loopback or on the hosts of a lab.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal_benchmarks.row import Row


def rows(quick: bool) -> Iterator[Row]:
    """All scenes in turn. Imported late: each process of a rival loads this package."""
    from shoal_benchmarks.rivals.contest import rows as contest

    return contest(quick)

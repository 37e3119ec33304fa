"""Codes in which any ``blocks`` of several slices give all. Pure.

A slice is a sum of equal blocks, weighted by its row of coefficients; the first slices are the
blocks themselves, the others parity (Lee et al., Speeding up distributed machine learning using
codes, IEEE Transactions on Information Theory 64, 2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.errors import InputError

Row: TypeAlias = tuple[float, ...]
Rows: TypeAlias = tuple[Row, ...]
Matrix: TypeAlias = npt.NDArray[np.float64]

MOST_SLICES = 8
"""With more, what is rounded in slices shows too much in what is put together of them."""
WORST_CONDITION = 1e3
"""Roundings of float32 (6e-8) grow by so much at most, which keeps them below 1e-4."""
TRIES = 256
"""Parity rows that are drawn; the best are taken."""


@lru_cache(maxsize=64)
def rows_of(slices: int, blocks: int) -> Rows:
    """The rows of ``slices`` slices, any ``blocks`` of which give all: one for each block, then
    parity. A single parity row is the sum. More are drawn, at right angles where they are not more
    than blocks, and those are taken whose worst condition is the least: at most 45 for
    ``MOST_SLICES``. Raises :class:`InputError` for numbers of which there is no code."""
    if not 1 <= blocks <= slices <= MOST_SLICES:
        raise InputError(f"there is no code of {blocks} blocks in {slices} slices")
    whole = np.eye(blocks)
    parity = slices - blocks
    if min(blocks, parity) <= 1:
        return _plain(np.concatenate([whole, np.ones((parity, blocks))]))
    random = np.random.default_rng(0)
    drawn = (_drawn(random, parity, blocks) for _ in range(TRIES))
    return min((_plain(np.concatenate([whole, each])) for each in drawn), key=condition)


def _drawn(random: np.random.Generator, parity: int, blocks: int) -> Matrix:
    drawn = random.standard_normal((parity, blocks))
    if parity <= blocks:
        drawn = np.linalg.qr(drawn.T)[0].T
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(drawn * (blocks**0.5 / lengths), np.float64)


def _plain(matrix: Matrix) -> Rows:
    return tuple(tuple(map(float, row)) for row in matrix)


@lru_cache(maxsize=64)
def condition(rows: Rows) -> float:
    """The largest condition number of as many rows as there are blocks: by so much roundings may
    grow. ``inf`` where some of them do not give all."""
    some = list(itertools.combinations(range(len(rows)), len(rows[0])))
    worst = float(np.linalg.cond(np.array(rows, np.float64)[np.array(some)]).max())
    return worst if np.isfinite(worst) else float("inf")


def chosen(rows: Sequence[Row]) -> tuple[int, ...]:
    """Of the rows that came, those by which blocks are told: blocks themselves before parity."""
    order = sorted(range(len(rows)), key=lambda number: block_of(rows[number]) is None)
    return tuple(order[: len(rows[0])])


def block_of(row: Row) -> int | None:
    """The block which a slice is itself; None for parity."""
    places = [place for place, rate in enumerate(row) if rate]
    return places[0] if len(places) == 1 and row[places[0]] == 1 else None


def rates(rows: Sequence[Row]) -> Matrix:
    """How each block follows from as many slices as there are blocks: a row for each block."""
    return np.linalg.inv(np.array(rows, np.float64))

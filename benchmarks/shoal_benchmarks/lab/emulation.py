"""Rates, delays and CPU shares, as ``shoal lab check`` measures them."""

from __future__ import annotations

from collections.abc import Iterator

from shoal_benchmarks.row import Row, row
from shoal_lab.check import check_machine
from shoal_lab.reading import Reading


def rows(quick: bool) -> Iterator[Row]:
    """How far each reading is off, and whether that is within what is promised."""
    return map(row_of, check_machine(quick))


def row_of(reading: Reading) -> Row:
    """A reading as a row: its distance from what was asked."""
    how = f"{reading.way}; {reading.note}" if reading.note else reading.way
    return row(
        f"{reading.what} ({how}): {reading.asked:g} asked, {reading.got:.4g} got, off by",
        abs(reading.got - reading.asked),
        reading.unit,
        f"<= {reading.within:.4g}",
    )

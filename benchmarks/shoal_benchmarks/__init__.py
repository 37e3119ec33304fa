"""The measurements behind every number in the README.

A bench is a module with ``rows(quick) -> Iterator[Row]``, entered by name in
:mod:`shoal_benchmarks.registry`. It yields each :class:`~shoal_benchmarks.row.Row` as soon as it is
measured; baselines are rows like any other.
"""

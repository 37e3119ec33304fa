"""Inputs, and what the whole network gives for them: what parts and plans are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shoal.errors import ProofError
from shoal.model import proof
from shoal.model.dtypes import Array
from shoal.model.pieces import Piece
from shoal.model.probe import Feeds

REPORT = "Please report this network."


@dataclass(frozen=True, eq=False)
class Case:
    """Inputs, and what the whole network gives for them (``expected``).

    ``pieces`` are what each output is put together of, and ``scales`` what differences are
    relative to, by the name of a piece; ``labels`` are the outputs that are no magnitudes, and
    ``unclear`` tells for some outputs which elements hang by a near tie.
    """

    feeds: Feeds
    expected: Feeds
    pieces: Mapping[str, Sequence[Piece]]
    scales: Mapping[str, float]
    labels: frozenset[str]
    unclear: Mapping[str, Array]

    def difference(self, name: str, found: Array) -> float:
        """How far an output is off: relative to the largest value of each of its pieces; of
        labels, the share that are others. ``inf`` where shape, dtype or the places of NaN
        differ."""
        expected, unclear = self.expected[name], self.unclear.get(name)
        if unclear is not None and unclear.all():
            return 0.0 if found.dtype == expected.dtype else float("inf")
        if name in self.labels:
            return proof.disagreement(expected, found, unclear)
        if found.shape != expected.shape:
            return float("inf")
        return max(
            proof.difference(
                piece.of(expected),
                piece.of(found),
                self.scales[piece.named(name)],
                None if unclear is None else piece.of(unclear),
            )
            for piece in self.pieces[name]
        )

    def check(
        self,
        found: Mapping[str, Array],
        tolerance: float,
        what: str,
        advice: str = REPORT,
    ) -> None:
        """Raise :class:`ProofError` if an output of ``what`` is missing or differs by more than
        ``tolerance``; ``advice`` tells what to do then."""
        for name in self.expected:
            if name not in found:
                raise ProofError(f"{what}: output {name!r} is missing. {advice}")
            error = self.difference(name, found[name])
            if not error <= tolerance:
                of = "in a share of" if name in self.labels else "by"
                raise ProofError(
                    f"{what}: output {name!r} differs {of} {error:.2g} of its "
                    f"{'labels' if name in self.labels else 'largest value'}, {tolerance:.2g} is "
                    f"allowed. {advice}"
                )

"""What a network in normal form gives for inputs, how much of that is rounding, what hangs by near
ties, and how much its being the same tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from shoal.errors import InputError, ModelError
from shoal.model import proof
from shoal.model.asked import PLENTY, Trial, two_images
from shoal.model.case import Case
from shoal.model.choices import Pushed, behind, choices, pushed, scores
from shoal.model.cuts import Tensor
from shoal.model.dtypes import Array
from shoal.model.engine import Engine, Session
from shoal.model.graph import Graph, whole
from shoal.model.part import Part
from shoal.model.pieces import Piece, pieces
from shoal.model.probe import Feeds
from shoal.model.rough import MOST_BYTES, halves, is_quantised

Told: TypeAlias = tuple[float, str]
"""How much an output tells, and what is wrong with it; see :func:`shoal.model.proof.telling`."""

FAINT = 1e-3
"""An output is never held to less than this share of the largest value that it takes for any of
the inputs."""
SHAKEN = 6
"""Runs with choices pushed where chance plays a part; else two, one to each side."""
MOST_KINDS = 3
"""Kinds of inputs that a proof is made on at most."""
ADVICE = (
    "give inputs of the kind that the network will see: shoal.load(..., example={name: array}), "
    "or --input FILE.npz on the command line"
)


@dataclass(eq=False)
class Weighed:
    """A trial, with what the normal form makes of it, and by how much (in units of the output)
    each piece of an output changes when the engine fuses nothing. ``rounding`` is the most of
    these, relative to the piece's largest value, scores of choices counted in."""

    trial: Trial
    expected: Feeds
    noise: dict[str, float] = field(default_factory=dict)
    rounding: float = 0.0
    unclear: dict[str, Array] = field(default_factory=dict)


class Judge:
    """Runs a network in normal form and judges its outputs."""

    def __init__(self, graph: Graph, part: Part, tensors: Mapping[str, Tensor]) -> None:
        self._graph = graph
        self._part = part
        specs = {name: tensor.spec for name, tensor in tensors.items()}
        self._halves = halves(tensors)
        self._least = proof.HALF_TOLERANCE if self._halves else proof.TOLERANCE
        if is_quantised(graph.nodes):
            self._least = proof.ROUGH_TOLERANCE
        elif sum(tensors[name].bytes for name in self._halves) > MOST_BYTES:
            self._halves, self._least = (), proof.ROUGH_TOLERANCE
        self._times = proof.HALF_AMPLIFIED if self._halves else proof.AMPLIFIED
        self._choices = choices(graph, specs)
        hanging = behind(graph, self._choices) if self._choices else frozenset()
        self._hanging = tuple(name for name in graph.outputs if name in hanging)
        self.labels = frozenset(
            name for name in self._hanging if name in specs and specs[name].dtype[0] in "iub"
        )
        self._pushed: Pushed | None = None
        self._scores: tuple[str, ...] = ()
        if self._hanging:
            self._pushed = pushed(graph, self._choices, specs)
            wanted = dict.fromkeys(map(scores, self._choices))
            self._scores = tuple(
                name for name in wanted
                if name not in hanging and name in specs and name not in graph.outputs
                and specs[name].dtype[0] == "f"
            )  # fmt: skip
        of_outputs = pieces(graph, specs)
        # Where a choice decides what lies where, there are no pieces to be told apart.
        self._pieces: dict[str, tuple[Piece, ...]] = {
            name: (Piece((), any(piece.fed for piece in found)),) if name in hanging else found
            for name, found in of_outputs.items()
        }
        self.tolerance = self._least

    def settle(self, used: Sequence[Weighed]) -> None:
        """Take these for the proof: set ``tolerance``, and what is unclear by it."""
        self.tolerance = self._tolerance(used)
        self._push(used, self.tolerance)

    def _tolerance(self, weighed: Sequence[Weighed]) -> float:
        rounding = max(each.rounding for each in weighed)
        return proof.tolerance(rounding, self._least, self._times)

    def run(self, trials: Sequence[Trial]) -> list[Weighed]:
        """What the network makes of them."""
        weighed = self._expected(trials)
        self._push(weighed, self.tolerance)
        return weighed

    def weigh(self, trials: Sequence[Trial]) -> list[Weighed]:
        """What the network makes of them and how much of it is rounding. Sessions one after the
        other: two of a large network might not fit."""
        if not trials:
            return []
        weighed = self._expected(trials)
        extra = self._extra(weighed)
        asked = (*self._graph.outputs, *self._scores)
        # A tensor that is an output is rounded to its 16 bits, whether or not anybody wants it.
        kept = dict.fromkeys((*asked, *self._halves))
        plain = Engine().load(*whole(self._graph, kept), optimise=False, brief=True)
        for each, known in zip(weighed, extra, strict=True):
            found = plain.run(each.trial.feeds, asked)
            for name, expected in {**each.expected, **known}.items():
                if name in each.expected:
                    # What follows from shapes alone is not rounded: there it would be wrong.
                    fed = [piece for piece in self._pieces[name] if piece.fed]
                    if not fed:
                        continue
                    for piece in fed:
                        noise = proof.spread(piece.of(expected), piece.of(found[name]))
                        each.noise[piece.named(name)] = noise
                noise, own = proof.spread(expected, found[name]), proof.largest(expected)
                # Where an output is as small as its rounding, that says nothing of the network.
                if name not in self._hanging and self._times * noise <= own:
                    each.rounding = max(each.rounding, noise / max(own, _TINY))
        del plain
        self._push(weighed, self._tolerance(weighed))
        return weighed

    def _expected(self, trials: Sequence[Trial]) -> list[Weighed]:
        session = Engine().load(self._part.graph, self._part.blobs, brief=True)
        return [Weighed(trial, self._part.run_on(session, trial.feeds)) for trial in trials]

    def _extra(self, weighed: Sequence[Weighed]) -> list[Feeds]:
        """The scores that are no outputs."""
        if not self._scores:
            return [{} for _ in weighed]
        session = Engine().load(*whole(self._graph, self._scores), brief=True)
        return [session.run(each.trial.feeds) for each in weighed]

    def _push(self, weighed: Sequence[Weighed], tolerance: float) -> None:
        """Find out what is unclear."""
        if self._pushed is None:
            return
        try:
            session = Engine().load(*whole(self._pushed.graph), brief=True)
            for each in weighed:
                each.unclear = self._unclear(session, self._pushed, each, tolerance)
        except (InputError, ModelError):
            self._pushed = None  # an operator of another version; then all has to agree

    def _unclear(
        self, session: Session, push: Pushed, each: Weighed, tolerance: float
    ) -> dict[str, Array]:
        found: dict[str, Array] = {}
        given = each.trial.feeds
        for run in range(SHAKEN if push.random else 2):
            feeds = {
                **given,
                push.amount: np.array(tolerance, np.float32),
                push.side: np.array(1 - 2 * (run % 2), np.float32),
            }
            made = session.run(feeds, self._hanging)
            for name in self._hanging:
                other = _others(each.expected[name], made[name], tolerance)
                found[name] = found[name] | other if name in found else other
        return found

    def cases(self, weighed: Sequence[Weighed]) -> list[Case]:
        """Cases of what was weighed."""
        own = [
            {
                piece.named(name): proof.largest(piece.of(array))
                for name, array in each.expected.items()
                for piece in self._pieces[name]
            }
            for each in weighed
        ]
        cases = []
        for each, sizes in zip(weighed, own, strict=True):
            scales = {}
            for name, size in sizes.items():
                scales[name] = max(size, FAINT * max(other[name] for other in own))
                if name in each.noise and name not in self._hanging:
                    # What is all rounding, or is more of it than other pieces, cannot be held to
                    # less than its rounding.
                    rounding = self._times * each.noise[name]
                    if self.tolerance * scales[name] < rounding < np.inf:
                        scales[name] = rounding / self.tolerance
            cases.append(
                Case(
                    each.trial.feeds, each.expected, self._pieces, scales, self.labels, each.unclear
                )
            )
        return cases

    def best(self, weighed: Sequence[Weighed], examples: int) -> list[int]:
        """The kinds to prove on: that of the example (among the first ``examples``) if there is one
        and it tells anything, else the one for which most outputs tell; and as few others as make
        every output tell that does for some."""
        kinds = list(dict.fromkeys(each.trial.kind for each in weighed))
        ratios = {kind: self._ratios(weighed, kind) for kind in kinds}

        def worth(kind: int) -> tuple[int, float]:
            found = [ratio for ratio, _ in ratios[kind].values()]
            return sum(ratio >= proof.APART for ratio in found), min(*found, PLENTY)

        own = [kind for kind in kinds if kind < examples and worth(kind)[0] > 0]
        chosen = own or [max(kinds, key=worth)]
        for name in ratios[kinds[0]]:
            if len(chosen) < MOST_KINDS and all(
                ratios[kind][name][0] < proof.APART for kind in chosen
            ):
                better = max(kinds, key=lambda kind: ratios[kind][name][0])
                if ratios[better][name][0] >= proof.APART:
                    chosen.append(better)
        return chosen

    def _ratios(self, weighed: Sequence[Weighed], kind: int) -> dict[str, Told]:
        pair = [each for each in weighed if each.trial.kind == kind]
        noise = {name: max(each.noise[name] for each in pair) for name in pair[0].noise}
        outputs = [(each.expected, each.unclear) for each in pair]
        return self.tell(outputs, self._tolerance(pair), noise)

    def tell(
        self,
        pair: Sequence[tuple[Feeds, Mapping[str, Array]]],
        tolerance: float,
        noise: Mapping[str, float] | None = None,
    ) -> dict[str, Told]:
        """How much each piece of an output tells in a pair of runs (their outputs, and what is
        unclear). What no value of an input has a part in need not differ to be proved."""
        found: dict[str, Told] = {}
        for name in self._graph.outputs:
            first, second = two_images(*(expected[name] for expected, _ in pair))
            unclear = None
            if first.shape == second.shape and all(name in masks for _, masks in pair):
                unclear = np.logical_or(*two_images(*(masks[name] for _, masks in pair)))
            label = name in self.labels
            for piece in self._pieces[name]:
                key = piece.named(name)
                if not piece.fed:
                    found[key] = (np.inf, "")
                    continue
                a, b = piece.of(first), piece.of(second)
                allowed = tolerance * max(proof.largest(a), proof.largest(b))
                if name not in self._hanging and noise is not None:
                    allowed = max(allowed, self._times * noise[key])
                hidden = None if unclear is None else piece.of(unclear)
                found[key] = proof.telling(a, b, allowed, label=label, unclear=hidden)
        return found

    def told(self, weighed: Sequence[Weighed], kinds: Sequence[int]) -> dict[str, Told]:
        """The most that each output tells for any of ``kinds``."""
        best: dict[str, Told] = {}
        for kind in kinds:
            for name, found in self._ratios(weighed, kind).items():
                best[name] = max(best.get(name, (-1.0, "")), found)
        return best


_TINY = float(np.finfo(np.float32).tiny)


def why(found: Mapping[str, Told], tried: str) -> str:
    """Why a proof is weak for which outputs tell so much, in a sentence; empty if it is not."""
    silent = [(name, reason) for name, (ratio, reason) in found.items() if ratio < proof.APART]
    if not silent:
        return ""
    name, reason = silent[0]
    more = f" (and {len(silent) - 1} more outputs tell as little)" if len(silent) > 1 else ""
    return f"output {name!r} {reason}{more}, for inputs that were {tried}: {ADVICE}"


def _others(expected: Array, found: Array, tolerance: float) -> Array:
    """Where an output is another one."""
    if expected.shape != found.shape:
        return np.ones(expected.shape, bool)
    if expected.dtype.kind in "iub":
        return np.asarray(expected != found)
    apart = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    return np.asarray(~(apart <= tolerance / 2 * proof.largest(expected)) & (expected != found))

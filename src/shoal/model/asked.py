"""A network as it came, asked for what it gives: for the user's example, and for made-up inputs of
one kind after the other until its outputs tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from shoal.errors import InputError, ModelError
from shoal.model import proof
from shoal.model.dtypes import Array
from shoal.model.engine import Engine, Session
from shoal.model.graph import Graph, whole
from shoal.model.probe import Feeds, Inventor, mirrored, stacked, uses
from shoal.model.rough import is_quantised

PLENTY = 10.0
"""Outputs that are so many times what a proof allows apart are looked for; see
:data:`shoal.model.proof.APART` for the least."""

SEEDS = ((0, 1), (2,))
"""Images of the runs for each kind, where the batch is free: proofs are for one and for two."""
SINGLE = ((0,), (1,))
"""The same where it is not."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One run: ``images`` of a kind (its place among ``Source.kinds``), and what came of them
    (``given``). ``draw`` makes the inputs again: those of all kinds might not fit into memory."""

    kind: int
    images: int
    draw: Callable[[], Feeds]
    given: Mapping[str, Array]

    @property
    def feeds(self) -> Feeds:
        """The inputs."""
        return self.draw()


_OF_EXAMPLE = ("the example", "the example, its whole numbers as they are", "the example alone")
"""The kinds of an example. Its mirror image stands in for a second one; where a network does not
take that, one whose whole numbers stay, as they may be sizes or places; else there is none. They
are tried until one runs."""


class Source:
    """Where inputs of each kind come from. Kinds count from 0: those of the example, if there is
    one (``examples`` many), with inputs of the first made-up kind where it names none; then the
    made-up ones."""

    def __init__(self, graph: Graph, example: Mapping[str, Array]) -> None:
        self._inputs = graph.inputs
        self._inventor = Inventor(graph.inputs, uses(graph))
        self._example = example
        self.examples = len(_OF_EXAMPLE) if example else 0
        self.is_free = any(None in spec.shape for spec in graph.inputs)
        self.kinds: tuple[str, ...] = self._inventor.kinds or ("nothing",)
        self.kinds = (*map(self._named, _OF_EXAMPLE[: self.examples]), *self.kinds)

    def draw(self, kind: int, seeds: Sequence[int]) -> Feeds:
        """Inputs of a kind with an image for each seed."""
        return stacked(self._inputs, [self._image(kind, seed) for seed in seeds])

    def _image(self, kind: int, seed: int) -> Feeds:
        if kind >= self.examples:
            return self._inventor.image(kind - self.examples, seed)
        made = self._inventor.image(0, seed) if self._lacking() else {}
        return {**made, **self._example_image(kind, seed)}

    def _lacking(self) -> list[str]:
        """The inputs that the example does not name."""
        return [spec.name for spec in self._inputs if spec.name not in self._example]

    def _named(self, kind: str) -> str:
        made = ", ".join(map(repr, self._lacking()))
        return f"{kind} (and made-up {made})" if made else kind

    def _example_image(self, kind: int, seed: int) -> Feeds:
        """The images of the example in turn, and after them their mirror images."""
        given = [spec for spec in self._inputs if spec.name in self._example]
        counts = {
            self._example[spec.name].shape[spec.shape.index(None)]
            for spec in given
            if None in spec.shape
        }
        count = min(counts, default=1)
        turn, place = divmod(seed, count)
        one = {
            spec.name: self._example[spec.name].take([place], spec.shape.index(None))
            if None in spec.shape
            else self._example[spec.name]
            for spec in given
        }
        if not turn % 2:
            return one
        turned = one if kind == 0 else {
            name: array for name, array in one.items() if kind == 1 and array.dtype.kind == "f"
        }  # fmt: skip
        return {**one, **mirrored(turned)}


def as_it_came(graph: Graph) -> Session:
    """A session of a network as it came: nothing is fused in it."""
    return Engine().load(*whole(graph), optimise=False, brief=True, branches=True)


class Asked:
    """The network as it came, and its outputs for the kinds of inputs from ``source`` that were
    tried so far, until these seem to tell.

    Its ``session`` can be let go of (:meth:`rest`), so that those of the network in normal form
    need not lie beside it, and is made again when it is asked.
    """

    def __init__(self, graph: Graph, session: Session, source: Source) -> None:
        self.source = source
        self._graph = graph
        self._least = proof.ROUGH_TOLERANCE if is_quantised(graph.nodes) else proof.TOLERANCE
        self.trials: list[Trial] = []
        self._next = 0
        self._refused: Exception | None = None
        self._session: Session | None = session
        self.ask()

    def rest(self) -> None:
        """Let go of the session."""
        self._session = None

    def ask(self, *, all_kinds: bool = False) -> None:
        """Try kinds until the outputs seem to tell, or all that are left. Raises what the engine
        said of the first kind where none of them runs."""
        while self._next < len(self.source.kinds):
            if self._session is None:
                self._session = as_it_came(self._graph)
            kind, self._next = self._next, self._next + 1
            if kind < self.source.examples and self.trials:
                continue  # one of the example runs
            self._try(self._session, kind)
            if not all_kinds and self._seems():
                break
        if not self.trials and self._refused is not None:
            raise self._refused

    def best(self) -> list[Trial]:
        """The trials worth a closer look: those of the example, and of the kinds for which some
        output seems to tell more than for any other kind, or as much and earlier."""
        tried = list(dict.fromkeys(trial.kind for trial in self.trials))
        kinds = {
            max(tried, key=lambda kind: (self._ratio(kind, name), -kind))
            for name in self._graph.outputs
        }
        kinds |= {kind for kind in tried if kind < self.source.examples}
        return [trial for trial in self.trials if trial.kind in kinds]

    def others(self, known: Sequence[Trial]) -> list[Trial]:
        """The trials of other kinds for which some output seems to tell."""
        kinds = {trial.kind for trial in known}
        return [
            trial
            for trial in self.trials
            if trial.kind not in kinds
            and any(self._ratio(trial.kind, name) >= proof.APART for name in self._graph.outputs)
        ]

    def _try(self, session: Session, kind: int) -> None:
        made = []
        try:
            for seeds in SEEDS if self.source.is_free else SINGLE:
                draw = partial(self.source.draw, kind, seeds)
                made.append(Trial(kind, len(seeds), draw, session.run(draw())))
        except (InputError, ModelError) as error:
            self._refused = self._refused or error
        else:
            self.trials += made

    def _seems(self) -> bool:
        """Whether each output tells for some kind, as far as can be seen without knowing how
        much is rounding."""
        return all(
            any(self._ratio(kind, name) >= PLENTY for kind in range(self._next))
            for name in self._graph.outputs
        )

    def _ratio(self, kind: int, name: str) -> float:
        runs = [trial.given[name] for trial in self.trials if trial.kind == kind]
        if not runs:
            return 0.0
        if any(getattr(run, "dtype", np.dtype(object)).kind not in "fiub" for run in runs):
            return PLENTY  # no numbers: refused elsewhere, in words
        first, second = two_images(*runs)
        allowed = self._least * max(proof.largest(first), proof.largest(second))
        is_label = first.dtype.kind in "iub"
        return proof.telling(first, second, allowed, label=is_label)[0]


def two_images(first: Array, second: Array) -> tuple[Array, Array]:
    """An output for two different images, from the outputs of the two runs of a kind: the first
    run may hold two of them, along one axis."""
    if first.shape == second.shape or first.ndim != second.ndim:
        return first, second
    axes = [k for k, (a, b) in enumerate(zip(first.shape, second.shape, strict=True)) if a != b]
    if len(axes) != 1 or first.shape[axes[0]] != 2 * second.shape[axes[0]]:
        return first, second
    one, two = np.split(first, 2, axes[0])
    return one, two

"""What a network's parts are proved on: inputs, what the whole network gives for them, and how
much it tells that the parts give the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from shoal.errors import InputError, ModelError, ProofError
from shoal.model import proof
from shoal.model.asked import PLENTY, SEEDS, SINGLE, Asked, Source, Trial, two_images
from shoal.model.choices import Pushed, behind, choices, pushed, scores
from shoal.model.engine import Engine, Session
from shoal.model.graph import Graph, makes, reads, whole
from shoal.model.part import Part
from shoal.model.probe import Feeds
from shoal.model.spec import TensorSpec

Array: TypeAlias = np.ndarray[Any, Any]

FAINT = 1e-3
"""An output is never held to less than this share of the largest value that it takes for any of
the inputs."""
SHAKEN = 6
"""Runs with choices pushed where chance plays a part; else two, one to each side."""
MOST_KINDS = 3
"""Kinds of made-up inputs that a proof is made on at most."""

_REPORT = "Please report this network."
_OTHER_CUTS = "Use other cuts, and report this network."
ADVICE = (
    "give inputs of the kind that the network will see: shoal.load(..., example={name: array}), "
    "or --input FILE.npz on the command line"
)


class Strength(msgspec.Struct, frozen=True):
    """How much a proof says. ``inputs`` names what it is made on, ``images`` how many; parts may
    be off by ``tolerance`` of an output's largest value. ``weak`` if some output could hardly be
    another whatever the parts did; ``why`` says which, and what would make the proof strong."""

    inputs: str
    images: int
    tolerance: float
    weak: bool
    why: str = ""


class Case:
    """Inputs, and what the whole network gives for them (``expected``).

    ``scales`` are what differences are relative to, by output; ``labels`` are the outputs that
    are no magnitudes, and ``unclear`` tells for some outputs which elements hang by a near tie.
    """

    def __init__(
        self,
        feeds: Feeds,
        expected: Feeds,
        scales: Mapping[str, float],
        labels: frozenset[str],
        unclear: Mapping[str, Array],
    ) -> None:
        self.feeds = feeds
        self.expected = expected
        self._scales = scales
        self.unclear = unclear
        self._labels = labels

    def difference(self, name: str, found: Array) -> float:
        """How far an output is off: relative to its largest value; of labels, the share that are
        others. ``inf`` where shape, dtype or the places of NaN differ."""
        expected, unclear = self.expected[name], self.unclear.get(name)
        if name in self._labels:
            return proof.disagreement(expected, found, unclear)
        return proof.difference(expected, found, self._scales[name], unclear)

    def check(
        self, found: Mapping[str, Array], tolerance: float, what: str, advice: str = _REPORT
    ) -> None:
        """Raise :class:`ProofError` if an output of ``what`` is missing or differs by more than
        ``tolerance``; ``advice`` tells what to do then."""
        for name in self.expected:
            if name not in found:
                raise ProofError(f"{what}: output {name!r} is missing. {advice}")
            error = self.difference(name, found[name])
            if not error <= tolerance:
                of = "in a share of" if name in self._labels else "by"
                raise ProofError(
                    f"{what}: output {name!r} differs {of} {error:.2g} of its "
                    f"{'labels' if name in self._labels else 'largest value'}, {tolerance:.2g} is "
                    f"allowed. {advice}"
                )


class Evidence:
    """The cases on which the parts of a network are proved, and how strong a proof that is."""

    def __init__(
        self,
        judge: Judge,
        source: Source,
        used: Sequence[_Weighed],
        cases: Sequence[Case],
        strength: Strength,
    ) -> None:
        self.cases = tuple(cases)
        self.strength = strength
        self._images = [each.trial.images for each in used]
        self._judge = judge
        self._source = source
        self._kind = used[0].trial.kind

    @property
    def tolerance(self) -> float:
        """The difference that a proof allows, relative to the largest value of an output."""
        return self._judge.tolerance

    def draw(self, seed: int, batch: int) -> Feeds:
        """Inputs of the kind that tells most, the same for the same seed."""
        return self._source.draw(self._kind, range(seed, seed + batch))

    def more(self, seed: int) -> list[Case]:
        """Further cases of that kind, with other images for another seed."""
        runs = SEEDS if self._source.is_free else SINGLE
        first = 3 * (seed + 1)
        return self.given([self.draw(first + seeds[0], len(seeds)) for seeds in runs])

    def given(self, feeds: Sequence[Feeds]) -> list[Case]:
        """Cases of these inputs."""
        trials = [Trial(0, 1, each, {}) for each in feeds]
        return self._judge.cases(self._judge.run(trials))

    def with_given(self, cases: Sequence[Case], what: str) -> Strength:
        """The strength of a proof that was made on ``cases`` (of :meth:`given`) as well."""
        if not self.strength.weak or len(cases) < 2:
            return self.strength
        pair = [(case.expected, case.unclear) for case in cases[:2]]
        if _why(self._judge.reasons(pair), what):
            return self.strength
        return msgspec.structs.replace(
            self.strength, inputs=what, images=len(cases), weak=False, why=""
        )

    def check(self, parts: Sequence[Part], name: str) -> None:
        """Raise :class:`ProofError` unless ``parts`` in sequence give what the network ``name``
        gives. Each part's session is made once, for all cases: that is most of the time."""
        places = ", ".join(str(part.range[0]) for part in parts[1:])
        what = f"{name!r} cut at {places}"
        tensors = [case.feeds for case in self.cases]
        for part in parts:
            try:
                session = part.session()
                tensors = [part.run_on(session, feeds) for feeds in tensors]
            except (InputError, ModelError) as error:
                raise ProofError(f"{what}: {part!r} does not run: {error} {_OTHER_CUTS}") from None
        for case, found, images in zip(self.cases, tensors, self._images, strict=True):
            case.check(found, self.tolerance, f"{what}, {_images(images)}", _OTHER_CUTS)


class _Weighed:
    """A trial, with what the normal form makes of it, and by how much (in units of the output)
    each output changes when the engine fuses nothing."""

    def __init__(self, trial: Trial, expected: Feeds) -> None:
        self.trial = trial
        self.expected = expected
        self.noise: dict[str, float] = {}
        self.unclear: dict[str, Array] = {}


def gather(
    asked: Asked, graph: Graph, part: Part, specs: Mapping[str, TensorSpec], rough: bool, name: str
) -> Evidence:
    """The evidence for the network ``graph`` in normal form (``part`` is all of it, ``specs`` are
    those of its tensors): kinds of inputs for which its outputs tell, as few as do.

    Raises :class:`ProofError` unless it gives for them what it gave as it came.
    """
    judge = Judge(graph, part, specs, rough)
    weighed = judge.weigh(asked.trials)
    kinds = judge.best(weighed, asked.source.has_example)
    if judge.why(weighed, kinds, asked.source.kinds) and asked.ask(all_kinds=True):
        asked.rest()
        known = {id(each.trial) for each in weighed}
        new = judge.weigh([trial for trial in asked.trials if id(trial) not in known])
        weighed = judge.push(weighed) + new
        kinds = judge.best(weighed, asked.source.has_example)
    used = [each for kind in kinds for each in weighed if each.trial.kind == kind]
    cases = judge.cases(used)
    for each, case in zip(used, cases, strict=True):
        what = f"{name!r} in normal form, {_images(each.trial.images)}"
        case.check(each.trial.given, judge.tolerance, what)
    why = judge.why(weighed, kinds, asked.source.kinds)
    strength = Strength(
        inputs="; ".join(asked.source.kinds[kind] for kind in kinds),
        images=sum(each.trial.images for each in used),
        tolerance=judge.tolerance,
        weak=bool(why),
        why=why,
    )
    return Evidence(judge, asked.source, used, cases, strength)


class Judge:
    """Runs a network in normal form and judges its outputs."""

    def __init__(
        self, graph: Graph, part: Part, specs: Mapping[str, TensorSpec], rough: bool
    ) -> None:
        self._graph = graph
        self._part = part
        self._rough = rough
        self._choices = choices(graph, specs)
        hanging = behind(graph, self._choices) if self._choices else frozenset()
        self._hanging = tuple(name for name in graph.outputs if name in hanging)
        self.labels = frozenset(n for n in self._hanging if specs[n].dtype[0] in "iub")
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
        self._steady = _steady(graph)
        self._rounding = 0.0

    @property
    def tolerance(self) -> float:
        """The difference to allow, from all that was weighed."""
        return proof.tolerance(self._rounding, rough=self._rough)

    def run(self, trials: Sequence[Trial]) -> list[_Weighed]:
        """What the network makes of them."""
        return self.push(self._expected(trials))

    def weigh(self, trials: Sequence[Trial]) -> list[_Weighed]:
        """What the network makes of them and how much of it is rounding, which counts for the
        tolerance. Sessions one after the other: two of a large network might not fit."""
        weighed = self._expected(trials)
        extra = self._extra(weighed)
        plain = Engine().load(
            *whole(self._graph, (*self._graph.outputs, *self._scores)), optimise=False
        )
        for each, known in zip(weighed, extra, strict=True):
            found = plain.run(each.trial.feeds)
            for name, expected in {**each.expected, **known}.items():
                noise = proof.spread(expected, found[name])
                own = proof.largest(expected)
                if name in each.expected:
                    each.noise[name] = noise
                # Where an output is as small as its rounding, that says nothing of the network.
                if name not in self._hanging and proof.AMPLIFIED * noise <= own:
                    self._rounding = max(self._rounding, noise / max(own, _TINY))
        del plain
        return self.push(weighed)

    def _expected(self, trials: Sequence[Trial]) -> list[_Weighed]:
        session = self._part.session()
        return [_Weighed(trial, self._part.run_on(session, trial.feeds)) for trial in trials]

    def _extra(self, weighed: Sequence[_Weighed]) -> list[Feeds]:
        """The scores that are no outputs."""
        if not self._scores:
            return [{} for _ in weighed]
        session = Engine().load(*whole(self._graph, self._scores))
        return [session.run(each.trial.feeds) for each in weighed]

    def push(self, weighed: list[_Weighed]) -> list[_Weighed]:
        """The same, with what is unclear by the tolerance of now."""
        if self._pushed is None or not weighed:
            return weighed
        try:
            session = Engine().load(*whole(self._pushed.graph))
            for each in weighed:
                each.unclear = self._unclear(session, self._pushed, each)
        except (InputError, ModelError):
            self._pushed = None  # an operator of another version; then all has to agree
        return weighed

    def _unclear(self, session: Session, push: Pushed, each: _Weighed) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for run in range(SHAKEN if push.random else 2):
            feeds = {
                **each.trial.feeds,
                push.amount: np.array(self.tolerance, np.float32),
                push.side: np.array(1 - 2 * (run % 2), np.float32),
            }
            made = session.run(feeds, self._hanging)
            for name in self._hanging:
                other = _others(each.expected[name], made[name], self.tolerance)
                found[name] = found[name] | other if name in found else other
        return found

    def cases(self, weighed: Sequence[_Weighed]) -> list[Case]:
        """Cases of what was weighed."""
        own = [
            {name: proof.largest(array) for name, array in each.expected.items()}
            for each in weighed
        ]
        cases = []
        for each, sizes in zip(weighed, own, strict=True):
            scales = {}
            for name, size in sizes.items():
                scales[name] = max(size, FAINT * max(other[name] for other in own))
                if name in each.noise and name not in self._hanging:
                    # What is all rounding cannot be held to less than its rounding.
                    rounding = proof.AMPLIFIED * each.noise[name]
                    if rounding > proof.MOST_TOLERANCE * scales[name]:
                        scales[name] = rounding / self.tolerance
            cases.append(
                Case(each.trial.feeds, each.expected, scales, self.labels, each.unclear)
            )
        return cases

    def best(self, weighed: Sequence[_Weighed], has_example: bool) -> list[int]:
        """The kinds to prove on: the example (kind 0) if there is one, else the one for which
        most outputs tell, and as few others as make every output tell that does for some."""
        kinds = list(dict.fromkeys(each.trial.kind for each in weighed))
        ratios = {kind: self._ratios(weighed, kind) for kind in kinds}

        def worth(kind: int) -> tuple[int, float]:
            found = [ratio for ratio, _ in ratios[kind].values()]
            return sum(ratio >= proof.APART for ratio in found), min(*found, PLENTY)

        chosen = [0] if has_example and 0 in kinds else [max(kinds, key=worth)]
        for name in self._graph.outputs:
            if len(chosen) < MOST_KINDS and all(
                ratios[kind][name][0] < proof.APART for kind in chosen
            ):
                better = max(kinds, key=lambda kind: ratios[kind][name][0])
                if ratios[better][name][0] >= proof.APART:
                    chosen.append(better)
        return chosen

    def _ratios(self, weighed: Sequence[_Weighed], kind: int) -> dict[str, tuple[float, str]]:
        pair = [each for each in weighed if each.trial.kind == kind]
        noise = {name: max(each.noise[name] for each in pair) for name in pair[0].noise}
        return self.reasons([(each.expected, each.unclear) for each in pair], noise)

    def reasons(
        self,
        pair: Sequence[tuple[Feeds, Mapping[str, Array]]],
        noise: Mapping[str, float] | None = None,
    ) -> dict[str, tuple[float, str]]:
        """How much each output tells in a pair of runs, and what is wrong with it if it does
        not."""
        found = {}
        for name in self._graph.outputs:
            if name in self._steady:
                found[name] = (np.inf, "")
                continue
            first, second = two_images(*(expected[name] for expected, _ in pair))
            unclear = None
            if all(name in masks for _, masks in pair):
                unclear = np.logical_or(*two_images(*(masks[name] for _, masks in pair)))
            size = max(proof.largest(first), proof.largest(second))
            allowed = max(
                self.tolerance * size, proof.AMPLIFIED * (noise or {}).get(name, 0.0)
            ) if name not in self._hanging else self.tolerance * size  # fmt: skip
            found[name] = proof.telling(
                first, second, allowed, label=name in self.labels, unclear=unclear
            )
        return found

    def why(self, weighed: Sequence[_Weighed], kinds: Sequence[int], names: Sequence[str]) -> str:
        """Why a proof on ``kinds`` is weak, in a sentence; empty if it is not."""
        best: dict[str, tuple[float, str]] = {}
        for kind in kinds:
            for name, found in self._ratios(weighed, kind).items():
                best[name] = max(best.get(name, (-1.0, "")), found)
        return _why(best, "; ".join(names[each] for each in
                                    dict.fromkeys(each.trial.kind for each in weighed)))  # fmt: skip


_TINY = float(np.finfo(np.float32).tiny)


def _why(found: Mapping[str, tuple[float, str]], tried: str) -> str:
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


def _steady(graph: Graph) -> frozenset[str]:
    """The outputs that no value of an input has a part in: constants, and what follows from
    shapes. They need not differ between inputs to be proved."""
    fed = {spec.name for spec in graph.inputs}
    for node in graph.nodes:
        if node.op_type not in ("Shape", "Size") and not fed.isdisjoint(reads(node)):
            fed.update(makes(node))
    return frozenset(name for name in graph.outputs if name not in fed)


def _images(count: int) -> str:
    return "one image" if count == 1 else f"{count} images"

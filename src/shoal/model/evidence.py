"""What a network's parts are proved on, and how strong a proof that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import msgspec

from shoal.errors import InputError, ModelError, ProofError
from shoal.model.asked import SEEDS, SINGLE, Asked, Source, Trial
from shoal.model.case import Case
from shoal.model.cuts import Tensor
from shoal.model.dtypes import Array
from shoal.model.graph import Graph
from shoal.model.judge import Judge, Weighed, why
from shoal.model.part import Part
from shoal.model.probe import Feeds
from shoal.model.strength import Strength

GIVEN = "images of the calibration"
_OTHER_CUTS = "Use other cuts, and report this network."


class Evidence:
    """The cases on which the parts of a network are proved, and how strong a proof that is.
    ``source`` gives inputs of all kinds that the network may take."""

    def __init__(
        self,
        judge: Judge,
        source: Source,
        used: Sequence[Weighed],
        cases: Sequence[Case],
        strength: Strength,
    ) -> None:
        self.cases = tuple(cases)
        self.strength = strength
        self._images = [each.trial.images for each in used]
        self._judge = judge
        self.source = source
        self._kind = used[0].trial.kind

    @property
    def tolerance(self) -> float:
        """The difference that a proof allows, relative to the largest value of an output."""
        return self._judge.tolerance

    def draw(self, seed: int, batch: int) -> Feeds:
        """Inputs of the kind that tells most, the same for the same seed."""
        return self.source.draw(self._kind, range(seed, seed + batch))

    def more(self, seed: int) -> list[Case]:
        """Further cases of that kind, with other images for another seed."""
        runs = SEEDS if self.source.is_free else SINGLE
        first = 3 * (seed + 1)
        return self.given([self.draw(first + seeds[0], len(seeds)) for seeds in runs])

    def given(self, feeds: Sequence[Feeds]) -> list[Case]:
        """Cases of these inputs."""
        trials = [Trial(0, 1, partial(dict, each), {}) for each in feeds]
        return self._judge.cases(self._judge.run(trials))

    def with_given(self, cases: Sequence[Case]) -> Strength:
        """The strength of a proof that was made on ``cases`` (of :meth:`given`) as well."""
        if not cases:
            return self.strength
        made = msgspec.structs.replace(
            self.strength,
            inputs=f"{GIVEN}; {self.strength.inputs}",
            images=self.strength.images + len(cases),
        )
        pair = [(case.expected, case.unclear) for case in cases[:2]]
        if len(pair) < 2 or why(self._judge.tell(pair, self.tolerance), GIVEN):
            return made
        return msgspec.structs.replace(made, weak=False, why="")

    def check(
        self, parts: Sequence[Part], name: str, without: Collection[str] = frozenset()
    ) -> None:
        """Raise :class:`ProofError` unless ``parts`` in sequence give what the network ``name``
        gives, some of it on the way; ``without`` are outputs that nobody asks for. Each part's
        session is made once, for all cases: that is most of the time."""
        places = ", ".join(str(part.range[0]) for part in parts[1:])
        what = f"{name!r} cut at {places}"
        tensors = [case.feeds for case in self.cases]
        given: list[dict[str, Array]] = [{} for _ in self.cases]
        for part in parts:
            try:
                session = part.session()
                tensors = [part.run_on(session, feeds) for feeds in tensors]
            except (InputError, ModelError) as error:
                raise ProofError(f"{what}: {part!r} does not run: {error} {_OTHER_CUTS}") from None
            for case, made, found in zip(self.cases, tensors, given, strict=True):
                found.update((name, made[name]) for name in made.keys() & case.expected.keys())
        for case, found, images in zip(self.cases, given, self._images, strict=True):
            wanted = {key: value for key, value in case.expected.items() if key not in without}
            asked = replace(case, expected=wanted)
            asked.check(found, self.tolerance, f"{what}, {_images(images)}", _OTHER_CUTS)


def gather(
    asked: Asked, graph: Graph, part: Part, tensors: Mapping[str, Tensor], name: str
) -> Evidence:
    """The evidence for the network ``graph`` in normal form (``part`` is all of it, ``tensors``
    are those that can travel): kinds of inputs for which its outputs tell, as few as do.

    Raises :class:`ProofError` unless it gives for them what it gave as it came.
    """
    judge = Judge(graph, part, tensors)
    source = asked.source
    weighed = judge.weigh(asked.best())
    kinds = judge.best(weighed, source.examples)
    if why(judge.told(weighed, kinds), ""):
        asked.ask(all_kinds=True)
        asked.rest()
        weighed += judge.weigh(asked.others([each.trial for each in weighed]))
        kinds = judge.best(weighed, source.examples)
    weak = why(judge.told(weighed, kinds), _named(source, asked.trials))
    used = [each for kind in kinds for each in weighed if each.trial.kind == kind]
    judge.settle(used)
    cases = judge.cases(used)
    for each, case in zip(used, cases, strict=True):
        what = f"{name!r} in normal form, {_images(each.trial.images)}"
        case.check(each.trial.given, judge.tolerance, what)
    images = sum(each.trial.images for each in used)
    strength = Strength(
        _named(source, [each.trial for each in used]), images, judge.tolerance, bool(weak), weak
    )
    return Evidence(judge, source, used, cases, strength)


def _images(count: int) -> str:
    return "one image" if count == 1 else f"{count} images"


def _named(source: Source, trials: Sequence[Trial]) -> str:
    kinds = dict.fromkeys(trial.kind for trial in trials)
    return "; ".join(source.kinds[kind] for kind in kinds)

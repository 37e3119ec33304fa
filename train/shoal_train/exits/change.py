"""A network changed for its exits: trained on together with them, or narrowed at their cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import shoal
from shoal.errors import UnsupportedModelError
from shoal.model.cuts import Cut
from shoal.model.network import Network
from shoal.model.normalise import drop_dead
from shoal_train.exits.bottleneck import Scatter, inserted, widths
from shoal_train.exits.heads import averaging, dense
from shoal_train.exits.learn import LEAST, STEPS, fit
from shoal_train.exits.material import Labels, Material, Some, ends
from shoal_train.exits.place import Place, Seen, images_at_once, session_of
from shoal_train.exits.together import Learned, train
from shoal_train.folder import fed
from shoal_train.graph import onnx_bytes
from shoal_train.loop import Settings
from shoal_train.material import Material as Lesson
from shoal_train.tuning import batch_for, module_of

SAMPLED = 512
"""Images by which a codec begins, at most."""


@dataclass(frozen=True)
class Change:
    """What of a network is changed: with ``joint`` all weights of its layers; and at each cut so
    many channels are left as ``lefts`` says (none: nothing is narrowed)."""

    joint: bool
    lefts: tuple[int, ...]
    epochs: int
    learning_rate: float
    seed: int
    threads: int | None


def checked(
    network: Network, cuts: Sequence[Cut], joint: bool, cells: int, bottleneck: str | None
) -> tuple[int, ...]:
    """How many channels are left at each of ``cuts`` (none: nothing is narrowed). Before anything
    is learned: what :func:`widths` raises, and UnsupportedModelError for a network that is not
    trained here, or with ``joint`` for one whose exits are not."""
    if network.inputs[0].shape[0] is not None:
        raise UnsupportedModelError(
            f"{network.name!r} takes one image at a time, and is trained on several at once: "
            "export it with a free batch"
        )
    graph = network.graph.copy()
    for cut in cuts if joint else ():
        found = averaging(network, cut, cells, graph)
        graph.nodes += found.nodes
        graph.outputs += (found.features,)
    module_of(Network(graph, network.name))
    return () if bottleneck is None else tuple(widths(network, cuts, bottleneck))


def changed(
    change: Change,
    place: Place,
    seen: Seen,
    material: Material,
    answers: Mapping[str, Labels],
    tell: Callable[[str, float], None],
) -> Place:
    """The changed network, and the cuts in it. ``seen`` is what was seen at ``place`` of the images
    of ``material``, ``answers`` are the classes of these by lot."""
    network, graph, some = place.network, seen.graph, material.learn
    _, output = ends(network)
    codecs = []
    if change.lefts:
        scatters = _scatters(place, some.take(np.arange(min(SAMPLED, len(some)))), change.threads)
        codecs = inserted(graph, network, place.cuts, change.lefts, scatters)
    exits = []
    for number, each in enumerate(seen.averagings if change.joint else ()):
        rows = seen.lots["learn"]
        step = partial(tell, f"exit {number + 1} of {len(seen.averagings)}")
        weights, bias = fit(
            rows[each.features],
            rows[output.name],
            some.labels,
            change.epochs,
            change.seed + number,
            step,
        )
        exits.append(dense(graph, each, weights, bias, output))
    only = None if change.joint else {name for codec in codecs for name in codec.weights}
    graph.weights |= train(
        network,
        Learned(graph, exits, codecs, only),
        _lesson(material, answers),
        some.labels is not None,
        Settings(
            change.epochs,
            change.seed,
            batch=min(batch_for(network), max(LEAST, len(some) // STEPS)),
            learning_rate=change.learning_rate,
        ),
        partial(tell, "training the network" if change.joint else "training what is narrow"),
    )
    drop_dead(graph)
    made = shoal.load(onnx_bytes(graph), name=network.name)
    cuts = {cut.names: cut for cut in reversed(made.cuts)}
    wide = tuple(cuts[cut.names] for cut in place.cuts)
    narrow = tuple(cuts[(codec.narrow,)] for codec in codecs)
    return Place(made, narrow or wide, wide)


def _lesson(material: Material, answers: Mapping[str, Labels]) -> Lesson:
    """What is learned from, as it is (exits see where something is, and are asked about images that
    lie as these do); and held back those by which temperatures will be set, as the network may
    have learned from the others before."""
    learn, held = material.learn, material.temperatures
    return Lesson(
        torch.from_numpy(learn.inputs),
        torch.from_numpy(answers["learn"]),
        torch.from_numpy(held.inputs),
        torch.from_numpy(answers["temperatures"]),
    )


def _scatters(place: Place, some: Some, threads: int | None) -> list[Scatter]:
    """How channels vary together at each cut of a place."""
    (taken,) = place.network.inputs
    names = [cut.names[0] for cut in place.cuts]
    found = [Scatter(cut.tensors[0].shape[1] or 1) for cut in place.cuts]
    session = session_of(place.network.graph, names, threads)
    size = images_at_once(place.network)
    for start in range(0, len(some), size):
        given = session.run({taken.name: fed(some.inputs[start : start + size], taken)}, names)
        for name, scatter in zip(names, found, strict=True):
            scatter.add(given[name])
    return found

"""The nodes of a region as one device computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.shards.layout import Dealt
from shoal.model.shards.operators import LAYERS, Layer, Look
from shoal.model.shards.region import Kind, Places, Units, places
from shoal.model.shards.rules import ELEMENTWISE, FLATTENING, PER_CHANNEL
from shoal.model.shards.walk import Walk
from shoal.model.shards.writer import Writer, nbytes
from shoal.model.spec import TensorSpec

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Terms:
    """What a device adds to a tensor: ``own`` is what its dealt units do, ``common`` what all
    devices compute, to which ``bias`` is still to be added. None where there is nothing."""

    own: str | None = None
    common: str | None = None
    bias: Array | None = None


class Cutter:
    """Writes the nodes of a walk for a device that holds the units ``own``.

    ``places`` tell what it has of each dealt tensor, which keeps its name; ``terms`` what it adds
    to each sum.
    """

    def __init__(self, walk: Walk, own: Mapping[str, Units], writer: Writer) -> None:
        self.places: dict[str, Places] = {
            name: places(walk.widths.runs(state), own)
            for name, state in walk.states.items()
            if isinstance(state, Dealt)
        }
        self.terms: dict[str, Terms] = {}
        self._states = walk.states
        self._network = walk.network
        self._writer = writer

    def cut(self, look: Look, kind: Kind) -> None:
        """Write what the device computes of a node."""
        if kind is Kind.WHOLE:
            self._writer.whole(look.number)
        elif kind is Kind.DEALT:
            if self.places[look.made].entries:
                self._dealt(look)
        elif look.op in LAYERS:
            self.terms[look.made] = self._sum(look)
        else:
            self.terms[look.made] = self._terms(look)

    def _dealt(self, look: Look) -> None:
        layer = look.layer
        if look.op == "Concat":
            held = [n for n in look.reads if n not in self.places or self.places[n].entries]
            self._like(look, held)
        elif look.op in FLATTENING:
            self._writer.node("Flatten", look.reads[:1], look.made, self._size(look.made), axis=1)
        elif look.op in LAYERS and not isinstance(layer, str):
            self._layer(look, layer)
        else:
            self._like(look, [self._part_of(look, at) for at in range(len(look.reads))])

    def _like(self, look: Look, inputs: Sequence[str], **changed: int) -> None:
        self._writer.like(look.proto, inputs, look.made, self._size(look.made), **changed)

    def _size(self, name: str) -> int:
        """Bytes of what the device has of a dealt tensor, for one image."""
        spec = self._spec(name)
        return nbytes(spec) * len(self.places[name].entries) // self._length(name)

    def _part_of(self, look: Look, index: int) -> str:
        """What belongs to the entries of the result in an input of a node that is no layer."""
        name, held = look.reads[index], self.places[look.made].entries
        if not name or name in self.places or (index and look.op not in ELEMENTWISE | PER_CHANNEL):
            return name
        shape, axis = look.shape(name) or (), 0
        if look.op in ELEMENTWISE:
            axis = self._axis(look.made) - (len(self._spec(look.made).shape) - len(shape))
            if axis < 0 or shape[axis] == 1:
                return name
        value = look.constant(index)
        if value is not None:
            return self._taken(value, self.places[look.made], held, axis, name)
        return self._writer.take(name, held, axis, shape[axis] or 1)

    def _layer(self, look: Look, layer: Layer) -> None:
        """A layer that makes the channels of the units only."""
        held = self.places[look.made].entries
        source, changed = look.reads[0], {}
        if layer.groups > 1:
            made, read = layer.makes // layer.groups, layer.reads // layer.groups
            groups = list(dict.fromkeys(entry // made for entry in held))
            changed["group"] = len(groups)
            if source not in self.places:
                entries = [group * read + each for group in groups for each in range(read)]
                source = self._writer.take(source, entries, layer.axis, layer.reads)
        mine = self.places[look.made]
        inputs = [source, self._weight(look, layer.weight, mine, held, layer.outputs)]
        bias = look.constant(2)
        if bias is not None:
            inputs.append(self._weight(look, bias, mine, held, bias.ndim - 1, 2))
        self._like(look, inputs, **changed)

    def _weight(
        self,
        look: Look,
        weight: Array,
        of: Places,
        entries: Sequence[int],
        axis: int,
        index: int = 1,
    ) -> str:
        if weight.ndim == 0 or weight.shape[axis] == 1:
            return look.reads[index]
        return self._taken(weight, of, entries, axis, look.reads[index])

    def _taken(self, value: Array, of: Places, entries: Sequence[int], axis: int, like: str) -> str:
        """These entries of a weight, some of those ``of`` a tensor: the adopted ones are a weight
        of their own, where they come last."""
        first = [entry for entry in entries if entry not in of.adopted]
        kept, adopted = entries[: len(first)], entries[len(first) :]
        split = first and adopted and list(kept) == first
        taken = [np.take(value, some, axis) for some in ((kept, adopted) if split else (entries,))]
        return self._writer.pieced(taken, axis, like)

    def _sum(self, look: Look) -> Terms:
        """A layer that reads the channels of the units only."""
        layer, bias = look.layer, look.constant(2)
        assert not isinstance(layer, str), "the walk has looked"
        source = look.reads[0]
        held = self.places[source]

        def of(at: Sequence[int], *more: str) -> str | None:
            if not at:
                return None
            entries = [held.entries[each] for each in at]
            inputs = [
                self._writer.take(source, at, layer.axis, len(held.entries)),
                self._weight(look, layer.weight, held, entries, layer.inputs),
                *more,
            ]
            made, spec = self._writer.fresh(look.made), self._spec(look.made)
            return self._writer.like(look.proto, inputs, made, nbytes(spec))

        if bias is None:
            return Terms(of(held.dealt), of(held.common))
        # A Gemm of an old opset must have a bias.
        zero = [self._writer.constant(np.zeros(1, bias.dtype), "zero")] if look.op == "Gemm" else []
        if held.common:
            return Terms(of(held.dealt, *zero), of(held.common, look.reads[2]))
        scaled = bias * np.asarray(look.attribute("beta", 1.0), bias.dtype)
        rank = len(self._spec(look.made).shape)
        shaped = scaled.reshape(-1, *(1,) * (rank - 1 - layer.axis))
        return Terms(of(held.dealt, *zero), None, shaped)

    def _terms(self, look: Look) -> Terms:
        """What is done to sums that were not made yet."""
        given = [self.terms.get(name) for name in look.reads]
        spec = self._spec(look.made)
        if look.op in ("Add", "Sum"):
            return self._added(look, [self._as_terms(name, spec) for name in look.reads])
        if look.op == "Sub":
            return self._added(look, [self._as_terms(look.reads[0], spec), self._less(look, spec)])
        (at,) = [place for place, terms in enumerate(given) if terms is not None]
        terms = self._settled(given[at] or Terms(), self._spec(look.reads[at]))

        def done(name: str | None) -> str | None:
            if name is None:
                return None
            inputs = [name if place == at else each for place, each in enumerate(look.reads)]
            return self._writer.like(
                look.proto, inputs, self._writer.fresh(look.made), nbytes(spec)
            )

        return Terms(done(terms.own), done(terms.common))

    def _as_terms(self, name: str, spec: TensorSpec) -> Terms:
        """A summand like ``spec``: a sum itself, dealt channels, or something that all have."""
        if name in self.terms:
            return self.terms[name]
        if name in self.places:
            held, axis = self.places[name], self._axis(name)

            def of(at: Sequence[int]) -> str | None:
                if not at:
                    return None
                some = self._writer.take(name, at, axis, len(held.entries))
                return self._writer.spread(some, [held.entries[e] for e in at], axis, spec)

            return Terms(of(held.dealt), of(held.common))
        weight = self._network.graph.weights.get(name)
        if weight is not None:
            return Terms(bias=weight.array())
        given = self._network.spec(name)
        same = given is not None and given.shape == spec.shape
        return Terms(common=name if same else self._writer.expand(name, spec))

    def _less(self, look: Look, spec: TensorSpec) -> Terms:
        """What is taken away, as a summand."""
        terms = self._as_terms(look.reads[1], spec)
        if terms.bias is not None:
            return Terms(bias=-terms.bias)
        made = self._writer.fresh(look.reads[1])
        return Terms(common=self._writer.node("Neg", [terms.common or ""], made, nbytes(spec)))

    def _added(self, look: Look, terms: Sequence[Terms]) -> Terms:
        size = nbytes(self._spec(look.made))

        def total(names: Sequence[str | None]) -> str | None:
            found = [name for name in names if name is not None]
            while len(found) > 1:
                made = self._writer.fresh(look.made)
                found[:2] = [self._writer.node("Add", found[:2], made, size)]
            return found[0] if found else None

        biases = [each.bias for each in terms if each.bias is not None]
        return Terms(
            total([each.own for each in terms]),
            total([each.common for each in terms]),
            sum(biases[1:], biases[0]) if biases else None,
        )

    def _settled(self, terms: Terms, spec: TensorSpec) -> Terms:
        """The same with the bias added."""
        if terms.bias is None:
            return terms
        bias = self._writer.constant(terms.bias, f"{spec.name}_bias")
        if terms.common is None:
            return Terms(terms.own, self._writer.expand(bias, spec))
        made = self._writer.fresh(spec.name)
        inputs = [terms.common, bias]
        return Terms(terms.own, self._writer.node("Add", inputs, made, nbytes(spec)))

    def both(self, spec: TensorSpec) -> tuple[str, str]:
        """The two halves of the slice of a sum, made."""
        terms = self._settled(self.terms[spec.name], spec)
        return (
            terms.own or self._writer.zeros(spec),
            terms.common or self._writer.zeros(spec),
        )

    def _spec(self, name: str) -> TensorSpec:
        spec = self._network.spec(name)
        assert spec is not None, "the walk has looked"
        return spec

    def _axis(self, name: str) -> int:
        return self._states[name].axis

    def _length(self, name: str) -> int:
        return self._spec(name).shape[self._axis(name)] or 1

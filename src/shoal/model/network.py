"""A trained network: loaded, in normal form, ready to be cut."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnx

from shoal.errors import (
    CutError,
    InputError,
    ModelError,
    ModelFileError,
    PlanError,
    ProofError,
    UnsupportedModelError,
)
from shoal.model import limits, proof
from shoal.model.accept import accept
from shoal.model.archive import is_archive
from shoal.model.asked import Asked, Source, as_it_came
from shoal.model.beside import contradiction
from shoal.model.branches import branches, decide
from shoal.model.case import Case
from shoal.model.cuts import Cut, crossing_bytes, find_cuts
from shoal.model.cuts import Node as Node
from shoal.model.dtypes import NUMPY_TO_ONNX, Array
from shoal.model.engine import give_back
from shoal.model.evidence import Evidence, gather
from shoal.model.example import array_of, fitted
from shoal.model.exits import Exits, places, told
from shoal.model.graph import Graph, copied, makes, reads, serialize, value_info
from shoal.model.independence import STACKED, Follower, Layout, Mixed, entering
from shoal.model.inputs import Sizes, free_axes
from shoal.model.normalise import DEQUANTISERS, drop_dead, normalise
from shoal.model.part import Part, image_memory, node_memory, part_memory
from shoal.model.preprocessing import Preprocessing, beside, check
from shoal.model.probe import probe
from shoal.model.resolved import output_specs, resolve
from shoal.model.shapes import infer
from shoal.model.sizes import advice
from shoal.model.source import read
from shoal.model.spec import TensorSpec
from shoal.model.strength import Strength
from shoal.model.weights import Weight, apart

if TYPE_CHECKING:
    import torch


log = logging.getLogger("shoal")


MAX_TITLE = 100
"""Characters of a network's name, which is for people only."""


class Network:
    """A network in normal form. Made by :func:`load`.

    ``inputs`` and ``outputs`` describe its tensors (``None`` in a shape: the batch, free).
    ``nodes`` are in topological order; ``cuts`` are all valid cuts between them. ``hash`` names
    the content, ``weight_bytes`` are those of all weights. ``tolerance`` is the largest difference
    between parts and whole that a proof allows, relative to the largest value of an output.

    By node: ``node_memory_bytes`` (resident in a session) and ``node_peak_bytes`` (tensors alive
    while it runs). ``crossing_bytes`` has for each position,
    0 (inputs) to n (outputs), the bytes that cross it. All for one image.

    ``preprocessing`` is how a photo becomes its input; None where nobody said.
    ``exits`` is what its file says of early exits; None where it has none. Their heads are no part
    of the network: :attr:`with_exits` has them.
    """

    def __init__(
        self, graph: Graph, name: str, example: Mapping[str, Array] = MappingProxyType({})
    ) -> None:
        self.name = name
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self._graph = graph
        found = resolve(graph, example)
        self._tensors, self._extents = found.tensors, found.extents
        self.outputs: tuple[TensorSpec, ...] = output_specs(graph.outputs, found)
        self._specs = {spec.name: spec for spec in self.outputs}
        self._specs.update((name, tensor.spec) for name, tensor in found.tensors.items())
        self._constant, self._order = _split_constant(graph)
        self._constant_makers = {
            name: index for index, node in enumerate(self._constant) for name in makes(node)
        }
        self.nodes: tuple[Node, ...] = _describe(self._constant, self._order, graph)
        if not self.nodes:
            raise UnsupportedModelError("The network computes nothing: its outputs are its inputs.")
        names = [spec.name for spec in self.inputs]
        needed = set(graph.outputs).union(*(node.reads for node in self.nodes))
        self._entering = tuple(name for name in names if name in needed)
        self.cuts: tuple[Cut, ...] = find_cuts(self.nodes, names, graph.outputs, self._tensors)
        self._cut_at = {cut.at: cut for cut in self.cuts}
        self.weight_bytes: int = sum(weight.nbytes for weight in graph.weights.values())
        self.node_memory_bytes: tuple[int, ...] = self._weigh(self._order)
        sizes = {name: tensor.bytes for name, tensor in self._tensors.items()}
        self.crossing_bytes: tuple[int, ...] = tuple(
            crossing_bytes(self.nodes, names, graph.outputs, sizes)
        )
        self.node_peak_bytes: tuple[int, ...] = tuple(
            size + sum(sizes.get(name, 0) for name in node.makes)
            for size, node in zip(self.crossing_bytes, self.nodes, strict=False)
        )
        if max(self.node_peak_bytes) > limits.PEAK_BYTES:
            raise UnsupportedModelError(
                f"The network needs {max(self.node_peak_bytes)} bytes of tensors at once for one "
                f"image; at most {limits.PEAK_BYTES} are run."
            )
        self._parts: weakref.WeakValueDictionary[tuple[int, int], Part]
        self._parts = weakref.WeakValueDictionary()
        self._proved: set[tuple[int, ...]] = set()
        self._evidence: Evidence | None = None
        self.tolerance: float = proof.TOLERANCE
        self.exits: Exits | None = None
        self.preprocessing: Preprocessing | None = None
        self._prepare_exits: Callable[[], Network] = lambda: self
        self._whole = self._part(0, len(self.nodes))
        self.hash: str = self._whole.hash

    def __repr__(self) -> str:
        return (
            f"<Network {self.name!r} {self.hash[:12]}: {len(self.nodes)} nodes, "
            f"{len(self.cuts)} cuts, {self.weight_bytes} bytes of weights>"
        )

    def split(self, cuts: Sequence[Cut | int], *, prove: bool = True) -> list[Part]:
        """The parts between ``cuts`` (cuts, or their ``at``), in order; without cuts, the whole.

        Parts are proved to give the whole network's outputs on made-up inputs before they are
        handed out, once for each list of cuts, for one image and (if the batch is free) for two;
        :class:`ProofError` if they do not. Raises :class:`CutError` for what is no cut of this
        network, or out of order.
        """
        places = [cut.at if isinstance(cut, Cut) else int(cut) for cut in cuts]
        for place in places:
            if place not in self._cut_at:
                nearest = min(self._cut_at, key=lambda at: abs(at - place), default=None)
                raise CutError(
                    f"{self.name!r} has no valid cut at {place}. It has {len(self.cuts)}, the "
                    f"nearest at {nearest}; see network.cuts."
                )
        if any(a >= b for a, b in itertools.pairwise(places)):
            raise CutError(f"Cuts must be in order and different, not {places}.")
        bounds = [0, *places, len(self.nodes)]
        parts = [self._part(a, b) for a, b in itertools.pairwise(bounds)]
        if prove and places and tuple(places) not in self._proved:
            self.evidence.check(parts, self.name)
            self._proved.add(tuple(places))
        return parts

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for these inputs, in this process. The session is made on the first call
        and kept. Raises :class:`InputError` for wrong names, dtypes, shapes, and for NaN."""
        check_feeds(self.inputs, feeds)
        return self._whole.run(feeds)

    def probe(self, seed: int = 0, batch: int = 1) -> dict[str, Array]:
        """Inputs of the kind that the network is proved on (:mod:`shoal.model.probe`), the same
        for the same seed. ``batch`` counts where it is free."""
        if self._evidence is None:
            return probe(self.inputs, seed, batch)
        return self._evidence.draw(seed, batch)

    @property
    def stacks(self) -> bool:
        """Whether images may be stacked along the first dimension of all inputs and run at once,
        each answered as if alone."""
        return self.mixes is None

    @cached_property
    def mixes(self) -> str | None:
        """Why images may not be run together, in words; None where they may. Reasoned from the
        graph; then made-up images are run beside others, and what contradicts counts as well."""
        names = [*(spec.name for spec in self.inputs), *self._graph.outputs]
        return self._mixing(names) or contradiction(
            self._whole.session(), self._whole.run_on, self.probe, self.tolerance
        )

    def _mixing(self, names: Iterable[str]) -> str | None:
        """Why requests may not be stacked, as far as the graph tells, where these tensors enter
        and leave: each must have a row for each image. Followed from the network's own inputs, for
        a part too, as a tensor at a cut does not show what its rows are."""
        for name in names:
            layout = self._layouts[name]
            if isinstance(layout, Mixed):
                return layout.why
            if layout != STACKED:
                return f"tensor {name!r} has no row of its own for each image"
        return None

    @cached_property
    def _layouts(self) -> Mapping[str, Layout]:
        follower = Follower(self._graph.opsets, self._graph.weights, self._extents)
        return follower.follow([*self._constant, *self._order], entering(self.inputs))

    def numbered(self) -> Part:
        """The whole network with names that are numbers: node i is ``n<i>_`` and makes
        ``t<i>_<k>``; inputs are ``x<i>``. For measurements, which find nodes by name; so all
        else (weights, what is computed from them alone) has names of other kinds."""
        graph = self._graph
        names = {name: f"x{index}" for index, name in enumerate(self._entering)}
        names |= {name: f"w{index}" for index, name in enumerate(graph.weights)}
        nodes = []
        for letters, some in ((("c", "v"), self._constant), (("n", "t"), self._order)):
            for index, node in enumerate(some):
                names |= {made: f"{letters[1]}{index}_{k}" for k, made in enumerate(makes(node))}
                copy = copied(node)
                copy.name = f"{letters[0]}{index}_"
                copy.input[:] = [names.get(name, name) for name in node.input]
                copy.output[:] = [names.get(name, name) for name in node.output]
                nodes.append(copy)
        data, blobs = serialize(
            "numbered",
            graph.ir_version,
            graph.opsets,
            nodes,
            [self._info(name, names[name]) for name in self._entering],
            [self._info(name, names[name]) for name in graph.outputs if name not in self._entering],
            {names[name]: weight for name, weight in graph.weights.items()},
        )
        specs = tuple(self._specs[name] for name in self._entering)
        return Part(data, blobs, specs, self.outputs, (0, len(self.nodes)), lambda: False, 0)

    @cached_property
    def with_exits(self) -> Network:
        """The network that gives the logits of its exits as well, proved against its file when
        it is first asked for; itself where it has no exits."""
        return self._prepare_exits()

    @property
    def graph(self) -> Graph:
        """The network in normal form. Not to be changed."""
        return self._graph

    @property
    def operators(self) -> Sequence[onnx.NodeProto]:
        """``nodes`` as ONNX has them, by the same numbers. Not to be changed."""
        return self._order

    def spec(self, name: str) -> TensorSpec | None:
        """A tensor that is no weight; None where its shape is not known before it is computed."""
        return self._tensors[name].spec if name in self._tensors else None

    def described(self, name: str) -> TensorSpec:
        """A tensor that enters or leaves parts: as ``spec``, and any output."""
        return self._specs[name]

    def declared(self, name: str) -> onnx.ValueInfoProto:
        """How parts declare a tensor that enters or leaves them."""
        return self._info(name)

    def constants(self, names: Iterable[str]) -> tuple[list[onnx.NodeProto], dict[str, Weight]]:
        """The nodes that compute of weights alone, and the weights, that are behind ``names``."""
        nodes, needed = self._constant_needs(names)
        return nodes, {name: self._graph.weights[name] for name in sorted(needed)}

    def stacked(self, names: Iterable[str]) -> bool:
        """Whether requests may be stacked in a part where these tensors enter and leave."""
        return self.stacks and self._mixing(names) is None

    def prove_against(self, asked: Asked) -> None:
        """Raise :class:`ProofError` unless the network gives what it gave as it came, for one
        image, and for two where the batch is free. Sets ``tolerance``."""
        self._evidence = gather(asked, self._graph, self._whole, self._tensors, self.name)
        self.tolerance = self._evidence.tolerance
        if self._evidence.strength.weak:
            log.warning("the proof of %r is weak: %s", self.name, self._evidence.strength.why)

    @property
    def evidence(self) -> Evidence:
        """What its parts are proved on, and how strong a proof that is."""
        if self._evidence is None:
            raise ProofError(f"{self.name!r} was not proved itself: load it with shoal.load.")
        return self._evidence

    def cases(self, seed: int = 0) -> Sequence[Case]:
        """Inputs to prove plans on, with what the whole network gives for them: for one image
        and, if the batch is free, for two. Those of its own proof; others for another seed."""
        return self.evidence.more(seed) if seed else self.evidence.cases

    def given(self, feeds: Sequence[Mapping[str, Array]]) -> Sequence[Case]:
        """The same for these inputs. Raises :class:`InputError` where they do not fit."""
        for each in feeds:
            check_feeds(self.inputs, each)
        return self.evidence.given([dict(each) for each in feeds])

    def strength(self, given: Sequence[Case] = ()) -> Strength:
        """How much a proof says that was made on :meth:`cases`, and on ``given`` as well."""
        return self.evidence.with_given(given)

    def _part(self, start: int, end: int) -> Part:
        part = self._parts.get((start, end))
        if part is None:
            part = self._parts[start, end] = self._extract(start, end)
        return part

    def _extract(self, start: int, end: int) -> Part:
        graph = self._graph
        nodes = self._order[start:end]
        inputs = self._cut_at[start].names if start else self._entering
        outputs = self._cut_at[end].names if end < len(self.nodes) else graph.outputs
        used = {name for node in nodes for name in reads(node)}
        constant, weights = self.constants(used)
        data, blobs = serialize(
            "part",
            graph.ir_version,
            graph.opsets,
            [*constant, *nodes],
            [self._info(name) for name in inputs if name in used],
            [self._info(name) for name in outputs if name not in inputs],
            weights,
        )
        return Part(
            graph=data,
            blobs=blobs,
            inputs=tuple(self._specs[name] for name in inputs),
            outputs=tuple(self._specs[name] for name in outputs),
            node_range=(start, end),
            stacks=lambda: self.stacked([*inputs, *outputs]),
            memory=part_memory(sum(self._weigh(nodes)), max(self.node_peak_bytes[start:end])),
            activations=image_memory(max(self.node_peak_bytes[start:end])),
        )

    def _constant_needs(
        self, names: Iterable[str], seen: set[str] | None = None
    ) -> tuple[list[onnx.NodeProto], set[str]]:
        """The constant nodes and the weights behind ``names``, but for those behind what is in
        ``seen``, which is added to."""
        seen = set() if seen is None else seen
        waiting, found, weights = list(names), set(), set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._graph.weights:
                weights.add(name)
            elif name in self._constant_makers:
                index = self._constant_makers[name]
                found.add(index)
                waiting.extend(reads(self._constant[index]))
        return [self._constant[index] for index in sorted(found)], weights

    def _weigh(self, nodes: Iterable[onnx.NodeProto]) -> tuple[int, ...]:
        """Resident bytes of each of these nodes; weights that several share count for the first."""
        counted: set[str] = set()
        sizes = []
        for node in nodes:
            read = {name for name in reads(node) if name not in counted}
            behind, weights = self._constant_needs(read, counted)
            size = sum(self._graph.weights[name].nbytes for name in weights)
            if not any(each.op_type in DEQUANTISERS for each in behind):
                # What the engine computes of weights it keeps instead of them.
                size = max(size, sum(map(self._constant_bytes, read)))
            sizes.append(node_memory(size))
        return tuple(sizes)

    def _constant_bytes(self, name: str) -> int:
        """Bytes of a weight or of what is computed from weights; else 0."""
        if name in self._graph.weights:
            return self._graph.weights[name].nbytes
        known = name in self._constant_makers and name in self._tensors
        return self._tensors[name].bytes if known else 0

    def _info(self, name: str, shown: str | None = None) -> onnx.ValueInfoProto:
        spec = self._specs[name]
        shape = spec.shape if name in self._tensors else None
        one = self._extents[name].one if name in self._tensors else None
        return value_info(shown or name, NUMPY_TO_ONNX[spec.dtype], shape, one)


def load(
    source: str | Path | bytes | torch.nn.Module,
    *,
    name: str | None = None,
    example: object = None,
    shapes: Mapping[str, Sizes] | Sizes = (),
    values: Mapping[str, object] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Network:
    """The network in an ONNX file, in the bytes of one, or in a PyTorch module; or the
    :class:`~shoal.model.bundle.Bundle` in a file of its own kind.

    ``example`` holds example inputs: an array or tensor for the only input, a sequence of one for
    each, or a mapping from input names. A module needs it (names are those of its ``forward``).
    Every other network is better for one: it is proved on these values. ``name`` is shown on
    screen; the file's name if None.

    An ONNX network with free dimensions other than the batch needs their sizes: those of
    ``shapes`` (sizes by input, or those of the only input; None stays as it is) or of the example.
    The batch stays free where the network allows it, unless ``shapes`` has more than 1 for it.
    ``preprocessing`` is how a photo becomes an input; for a file, if None, what the file
    ``NAME.shoal.yaml`` beside it says.
    ``values`` (arrays by input) are what some inputs have for good: the network does not take these
    any more.

    The normal form is proved to give what the network gave before, on the example if there is
    one, else on made-up inputs (``network.strength()`` says how much that tells). A batch
    dimension that is declared free but that the network cannot vary is fixed to 1. Raises
    :class:`ModelFileError` for what is damaged or too large, :class:`UnsupportedModelError` for
    what cannot be cut, :class:`InputError` for an example that does not fit,
    :class:`MissingExtraError` without PyTorch.
    """
    if preprocessing is None and isinstance(source, str | Path):
        preprocessing = beside(Path(source))
    network = _loaded(source, name, example, shapes, values)
    if preprocessing is not None:
        try:
            check(preprocessing, network.inputs, network.outputs)
        except PlanError as error:
            raise PlanError(f"the preprocessing of {network.name!r}: {error}") from None
        network.preprocessing = preprocessing
    return network


def _loaded(
    source: str | Path | bytes | torch.nn.Module,
    name: str | None,
    example: object,
    shapes: Mapping[str, Sizes] | Sizes,
    values: Mapping[str, object] | None,
) -> Network:
    fixed = {n: array_of(v, f"the input {n!r}") for n, v in (values or {}).items()}
    if isinstance(source, str | Path) and is_archive(source):
        if shapes or fixed:
            raise InputError("The sizes and values of a bundle's inputs are fixed: leave them out.")
        from shoal.model.bundle import load_bundle  # it stands on this module

        return load_bundle(source, name=name, example=example)
    came = read(source, example)
    given = came.example
    original = accept(came.model, came.beside, given, shapes, fixed)
    check_example(given, original.inputs)
    title = name or (Path(source).stem if isinstance(source, str | Path) else original.name)
    shown = "".join(c if c.isprintable() else "?" for c in title)[:MAX_TITLE] or "network"
    exits = told(came.model, repr(shown))
    free = free_axes(came.model.graph.input)
    del came  # the graph has the weights; with the model they would be there twice
    try:
        return _prepared(original, shown, given, exits)
    except ModelError as error:
        failure = error
    if any(spec.shape[:1] == (None,) for spec in original.inputs):
        first = {
            spec.name: given[spec.name][:1] if spec.shape[:1] == (None,) else given[spec.name]
            for spec in original.inputs
            if spec.name in given
        }
        try:
            return _prepared(original.taking(1), shown, first, exits)
        except ModelError as error:
            if any(map(branches, original.nodes)):  # they may depend on the number of images
                failure = error
    hint = advice(original, free) if free else ""
    if hint:
        raise type(failure)(f"{str(failure).rstrip('.')}.{hint}")
    raise failure


def check_example(example: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> None:
    """Raise :class:`InputError` unless the arrays are inputs that the network could be given."""
    size = sum(array.nbytes for array in example.values())
    if size > limits.PEAK_BYTES:
        raise InputError(
            f"The example has {size} bytes; {limits.PEAK_BYTES} are read at the most: give fewer "
            "images."
        )
    try:
        given = fitted(example, inputs)
        check_feeds([spec for spec in inputs if spec.name in given], given)
    except InputError as error:
        raise InputError(f"The example does not fit. {error}") from None


def _prepared(
    original: Graph, name: str, example: Mapping[str, Array], exits: Exits | None
) -> Network:
    """The network of a graph, proved to give what the graph gave."""

    def make(graph: Graph) -> Network:
        return Network(graph, name, fitted(example, graph.inputs))

    try:
        if exits is None:
            return prepared(original, make, example)
        kept = _kept(exits, original, name)
        network = prepared(_without(exits.tensors, original), make, example, kept)
    except (InputError, ModelError) as error:
        if type(error) not in (InputError, ModelError):
            raise
        raise UnsupportedModelError(
            f"{name!r} does not run on {'its example' if example else 'made-up inputs'}, so its "
            f"parts cannot be proved: {str(error).rstrip('.')}.{'' if example else _GIVE}"
        ) from None
    places(exits, network.cuts, repr(name))
    network.exits = exits
    network._prepare_exits = partial(prepared, original, make, example, kept)
    return network


_GIVE = " Give some that it takes: --input FILE.npz (a command), example= (shoal.load)."


def _kept(exits: Exits, original: Graph, name: str) -> tuple[str, ...]:
    """The tensors after which exits stand; ModelFileError where some node does not make them, or
    they are outputs."""
    made = set().union(*(makes(node) for node in original.nodes)) - set(original.outputs)
    for after in exits.afters:
        if after not in made:
            raise ModelFileError(
                f"{name!r}: an exit stands after {after[:60]!r}, which is no tensor inside it."
            )
    return exits.afters


def _without(outputs: Iterable[str], original: Graph) -> Graph:
    """The graph without these outputs, and without what only they need."""
    graph = original.copy()
    graph.outputs = tuple(name for name in graph.outputs if name not in set(outputs))
    drop_dead(graph)
    return graph


_Made = TypeVar("_Made", bound=Network)


def prepared(
    original: Graph,
    make: Callable[[Graph], _Made],
    example: Mapping[str, Array],
    kept: tuple[str, ...] = (),
) -> _Made:
    """What ``make`` makes of the normal form of a graph, proved to give what the graph gave; the
    tensors ``kept`` are there as well. Raises :class:`InputError` or :class:`ModelError` where the
    engine fails to run it."""
    # The engine checks what it loads, so what comes after may rely on well-formed nodes. But where
    # a shape is negative or near 2**62 it aborts the process, so those are refused before.
    infer(original, limits.TENSOR_BYTES)
    graph = original.copy()
    graph.outputs += kept
    decide(graph)
    infer(graph, limits.TENSOR_BYTES)
    session = as_it_came(original)
    normalise(graph)
    graph.outputs = original.outputs
    drop_dead(graph)
    graph.weights = apart(graph.weights)
    made = make(graph)
    asked = Asked(original, session, Source(graph, fitted(example, graph.inputs)))
    del session
    asked.rest()
    made.prove_against(asked)
    give_back()
    return made


def check_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Raise :class:`InputError` that tells all that is wrong unless ``feeds`` fits ``specs`` and
    holds finite numbers where these are asked for."""
    names = [spec.name for spec in specs]
    if set(feeds) != set(names):
        given = sorted(map(str, feeds))  # by whatever somebody names them
        raise InputError(f"Inputs are {sorted(names)}, not {given}.")
    wrong = list(filter(None, (_unfit(spec, feeds[spec.name]) for spec in specs)))
    if wrong:
        raise InputError(" ".join(wrong))
    batches = {n: len(feeds[n]) for n, shape in ((s.name, s.shape) for s in specs) if None in shape}
    if len(set(batches.values())) > 1:
        held = ", ".join(f"{size} of {name!r}" for name, size in batches.items())
        raise InputError(
            f"Inputs are for different numbers of images: {held}. Where the first axis of one "
            "counts something else, say its size when the network is loaded."
        )


def _unfit(spec: TensorSpec, array: object) -> str:
    """What is wrong with an array for an input; empty where it fits."""
    if not isinstance(array, np.ndarray):
        return f"Input {spec.name!r} is a {type(array).__name__}, not a NumPy array."
    if array.dtype != np.dtype(spec.dtype):
        return f"Input {spec.name!r} has dtype {array.dtype}, the network takes {spec.dtype}."
    fits = len(array.shape) == len(spec.shape) and all(
        have == want or (want is None and have > 0)
        for have, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        wanted = ["batch" if dim is None else dim for dim in spec.shape]
        hint = ""
        if array.shape and array.shape == spec.shape[1:]:
            hint = f" Add a batch axis: {spec.name}[None]."
        return (
            f"Input {spec.name!r} has shape {list(array.shape)}, the network takes {wanted}.{hint}"
        )
    if array.dtype.kind == "f" and spec.finite and not np.isfinite(array).all():
        return (
            f"Input {spec.name!r} holds NaN or infinity. If they are meant (a missing value, a "
            "mask), load the network with an example that holds some."
        )
    return ""


def _split_constant(graph: Graph) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Nodes that depend on no input (every part that needs one has its own), and the others."""
    fed = {spec.name for spec in graph.inputs}
    outputs = set(graph.outputs)
    constant, others = [], []
    for node in graph.nodes:
        if fed.isdisjoint(reads(node)) and outputs.isdisjoint(makes(node)):
            constant.append(node)
        else:
            fed.update(makes(node))
            others.append(node)
    return constant, others


def _describe(
    constant: Sequence[onnx.NodeProto], order: Sequence[onnx.NodeProto], graph: Graph
) -> tuple[Node, ...]:
    """The nodes as the user sees them: without weights."""
    fixed = set(graph.weights).union(*(makes(node) for node in constant))
    return tuple(
        Node(
            node.name,
            node.op_type,
            tuple(dict.fromkeys(name for name in reads(node) if name not in fixed)),
            makes(node),
        )
        for node in order
    )

"""Bundles: a network trained so that groups of its channels also work alone, in one file.

The file is an archive with ``manifest.json``, ``parts/<hash>`` (graphs) and ``blobs/<hash>`` (the
larger weights, which parts share); :mod:`shoal.model.subnets` says what the manifest holds. A
:class:`Bundle` is also a :class:`Network`: the sub-network of all groups in one piece, so that
whatever is done with a network can be done with a bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import onnx

from shoal.errors import InputError, ModelFileError
from shoal.model import limits
from shoal.model.accept import accept
from shoal.model.archive import read_archive, write_archive
from shoal.model.dtypes import Buffer
from shoal.model.example import by_name
from shoal.model.graph import Graph
from shoal.model.network import Network, check_example, prepared
from shoal.model.part import Part
from shoal.model.source import parsed
from shoal.model.subnets import VERSION, Manifest, alone_of, check, parts_of
from shoal.model.subnets import SubJoin as SubJoin
from shoal.model.subnets import SubNetwork as SubNetwork
from shoal.model.subnets import SubStage as SubStage
from shoal.model.subnets import Variant as Variant
from shoal.model.weights import Beside
from shoal.model.wire import externals, is_hash

SUFFIX = ".fluid"
MANIFEST, PARTS, BLOBS = "manifest.json", "parts/", "blobs/"
MAX_MANIFEST = 16 << 20


class Bundle(Network):
    """A network that comes with sub-networks. Made by :func:`load_bundle`, or :func:`shoal.load`.

    As a network it is ``reference``, the sub-network of all groups that runs alone.
    """

    def __init__(
        self,
        graph: Graph,
        manifest: Manifest,
        parts: Mapping[str, bytes],
        blobs: Mapping[str, Buffer],
    ) -> None:
        super().__init__(graph, manifest.name)
        self.groups = manifest.groups
        self.subnets = manifest.subnets
        self.about = manifest.about
        self._manifest = manifest
        self._graphs = parts
        self._blobs = blobs
        self._loaded: dict[str, Part] = {}

    @property
    def reference(self) -> SubNetwork:
        """The sub-network of all groups in one piece."""
        return self.alone(range(len(self.groups)))

    def alone(self, groups: Iterable[int]) -> SubNetwork:
        """The sub-network of just these groups in one piece; ModelFileError if there is none."""
        return alone_of(self.subnets, tuple(groups), self.name)

    def part(self, hash: str) -> Part:
        """The part of a stage; ModelFileError when the bundle has no such part."""
        if hash not in self._loaded:
            self._loaded[hash] = _part(hash, self._graphs, self._blobs)
        return self._loaded[hash]

    def write(self, path: str | Path, subnets: Sequence[SubNetwork]) -> None:
        """Write a bundle that has only some of the sub-networks of this one. It needs those that
        they are proved against, too: ModelFileError when one is lacking; StoreError."""
        manifest = msgspec.structs.replace(self._manifest, subnets=tuple(subnets))
        check(manifest, str(path))
        used = parts_of(manifest)
        parts = {hash: graph for hash, graph in self._graphs.items() if hash in used}
        blobs = {w.blob: self._blobs[w.blob] for graph in parts.values() for w in externals(graph)}
        _write(path, manifest, parts, blobs)


def load_bundle(path: str | Path, *, name: str | None = None, example: object = None) -> Bundle:
    """The bundle in a file. ``name`` is shown on screen; the bundle's own if None. ``example``
    holds inputs to prove it on, as for :func:`shoal.load`.

    Raises :class:`ModelFileError` for a file that is damaged, truncated, of another version, too
    large, or that names what it does not hold; what loading a network raises.
    """
    members = read_archive(
        path,
        {MANIFEST: MAX_MANIFEST, PARTS: limits.GRAPH_BYTES, BLOBS: limits.TENSOR_BYTES},
    )
    what = str(path)
    manifest = _manifest(members.pop(MANIFEST, b""), what)
    if name is not None:
        manifest = msgspec.structs.replace(manifest, name=name)
    check(manifest, what)
    parts: dict[str, bytes] = {}
    blobs: dict[str, bytes] = {}
    for member, data in members.items():
        folder, _, hash = member.partition("/")
        if not is_hash(hash) or hashlib.sha256(data).hexdigest() != hash:
            raise ModelFileError(f"{what}: {member[:80]!r} is not what its name says: damaged.")
        (parts if folder + "/" == PARTS else blobs)[hash] = data
    _check_parts(manifest, parts, blobs, what)
    bundle = _bundle(manifest, parts, blobs, example)
    if (bundle.inputs, bundle.outputs) != (manifest.inputs, manifest.outputs):
        raise ModelFileError(f"{what}: its inputs or outputs are not those that it states.")
    return bundle


def write_bundle(
    path: str | Path,
    *,
    name: str,
    groups: Sequence[float],
    subnets: Sequence[SubNetwork],
    graphs: Mapping[str, bytes],
    about: str = "",
) -> None:
    """Write a bundle, whole or not at all.

    ``graphs`` are serialized ONNX models with their weights inside, by any key; the stages of
    ``subnets`` name their parts by these keys (those that no stage names are left out). There
    must be the sub-network of all groups alone (what the bundle is as a network); for each
    ``dense`` one the same groups alone, and for each ``logits`` one those of each owner alone:
    it is proved against these before it serves. Equal arguments give equal bytes.

    Raises ModelFileError when something of that is lacking or does not fit, StoreError when the
    file cannot be written.
    """
    made = {
        key: _serialized(graphs, key)
        for key in dict.fromkeys(
            key for subnet in subnets for stage in subnet.stages for key in stage.parts.values()
        )
    }
    named = tuple(
        msgspec.structs.replace(
            subnet,
            stages=tuple(
                msgspec.structs.replace(
                    stage, parts={owner: made[key].hash for owner, key in stage.parts.items()}
                )
                for stage in subnet.stages
            ),
        )
        for subnet in subnets
    )
    reference = alone_of(named, tuple(range(len(groups))), str(path)).stages[0]
    whole_part = next(part for part in made.values() if part.hash == reference.parts["0"])
    manifest = Manifest(
        version=VERSION,
        name=name,
        inputs=tuple(whole_part.specs[tensor] for tensor in whole_part.inputs),
        outputs=tuple(whole_part.specs[tensor] for tensor in whole_part.outputs),
        groups=tuple(map(float, groups)),
        subnets=named,
        about=about,
    )
    check(manifest, str(path))
    parts = {part.hash: part.graph for part in made.values()}
    blobs = {hash: blob for part in made.values() for hash, blob in part.blobs.items()}
    _bundle(manifest, parts, blobs)
    _write(path, manifest, parts, blobs)


def _write(
    path: str | Path,
    manifest: Manifest,
    parts: Mapping[str, bytes],
    blobs: Mapping[str, Buffer],
) -> None:
    write_archive(
        path,
        [
            (MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=0)),
            *((PARTS + hash, parts[hash]) for hash in sorted(parts)),
            *((BLOBS + hash, memoryview(blobs[hash])) for hash in sorted(blobs)),
        ],
    )


def _manifest(data: bytes, what: str) -> Manifest:
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != VERSION:
            raise ModelFileError(
                f"{what} is a bundle of version {version}; this Shoal reads version {VERSION}: "
                "export it again with this version."
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(
            f"{what} is no bundle, or damaged: its {MANIFEST} cannot be read ({error})."
        ) from None


class _Version(msgspec.Struct):
    version: int


def _check_parts(
    manifest: Manifest, parts: Mapping[str, bytes], blobs: Mapping[str, bytes], what: str
) -> None:
    """ModelFileError unless the file holds just the parts and blobs that it needs."""
    used = parts_of(manifest)
    if used != parts.keys():
        odd = sorted(used ^ parts.keys())[0]
        raise ModelFileError(f"{what}: the part {odd[:12]!r} is missing or never used: damaged.")
    needed = {}
    for graph in parts.values():
        needed.update({weight.blob: weight.nbytes for weight in externals(graph)})
    if needed != {hash: len(blob) for hash, blob in blobs.items()}:
        raise ModelFileError(f"{what}: its weights are not those that its parts need: damaged.")


def _bundle(
    manifest: Manifest,
    parts: Mapping[str, bytes],
    blobs: Mapping[str, Buffer],
    example: object = None,
) -> Bundle:
    """The bundle, its reference in normal form and proved as :func:`shoal.load` does."""
    groups = tuple(range(len(manifest.groups)))
    hash = alone_of(manifest.subnets, groups, manifest.name).stages[0].parts["0"]
    original = accept(_model(parts[hash]), _among(blobs), {})
    given = by_name(example, [spec.name for spec in original.inputs])
    check_example(given, original.inputs)
    try:
        return prepared(original, lambda graph: Bundle(graph, manifest, parts, blobs), given)
    except InputError as error:
        raise ModelFileError(f"{manifest.name!r} does not run on made-up inputs: {error}") from None


def _part(hash: str, graphs: Mapping[str, bytes], blobs: Mapping[str, Buffer]) -> Part:
    """The part ``hash``, with what must be known of it found out from its graph."""
    graph = graphs.get(hash)
    if graph is None:
        raise ModelFileError(f"The bundle has no part {hash[:12]!r}; load it again.")
    found = _studied(_model(graph), _among(blobs))
    named = {weight.blob: blobs[weight.blob] for weight in externals(graph)}
    inputs = tuple(found.specs[name] for name in found.inputs)
    outputs = tuple(found.specs[name] for name in found.outputs)
    sizes = found.memory, found.activations
    return Part(graph, named, inputs, outputs, found.range, lambda: found.stacks, *sizes)


def _serialized(graphs: Mapping[str, bytes], key: str) -> Part:
    if key not in graphs:
        raise ModelFileError(f"a stage names the graph {key!r}, which is not given.")
    return _studied(parsed(graphs[key], f"the graph {key!r} is no ONNX model"), None)


def _studied(model: onnx.ModelProto, beside: Beside | None) -> Part:
    """A model as one part, not rewritten: what sub-networks share must stay the same bytes."""
    (part,) = Network(accept(model, beside, {}), "part").split((), prove=False)
    return part


def _model(graph: bytes) -> onnx.ModelProto:
    """The model of a part, its larger weights named by their hashes."""
    externals(graph)  # which refuses what no part may hold
    return parsed(graph, "A part is no ONNX model")


def _among(blobs: Mapping[str, Buffer]) -> Beside:
    """The weights of parts, by the hashes that these name."""

    def find(hash: str) -> memoryview:
        if hash not in blobs:
            raise ModelFileError(f"The weight {hash[:12]!r} of a part is missing: damaged.")
        return memoryview(blobs[hash])

    return find

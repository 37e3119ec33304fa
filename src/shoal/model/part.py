"""Parts: runnable pieces of a network, named by the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property

from shoal.errors import InputError
from shoal.model.dtypes import Array, Buffer
from shoal.model.engine import Engine, Session
from shoal.model.info import PartInfo
from shoal.model.spec import TensorSpec


class Part:
    """Nodes ``range[0]`` up to ``range[1]`` of a network.

    ``graph`` is a serialized ONNX model whose larger weights are ``blobs``, named in it by their
    SHA-256; ``hash``, the SHA-256 of ``graph``, so covers them. ``inputs`` and ``outputs`` name
    the tensors that enter and leave; those in both are ``carried``: they pass by and are not in
    the graph's outputs. ``specs`` describes all of them. ``memory`` is the resident bytes expected
    of a loaded session, at least those of its weights, ``activations`` those that each image of a
    run beside the first takes.
    """

    def __init__(
        self,
        graph: bytes,
        blobs: Mapping[str, Buffer],
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        node_range: tuple[int, int],
        stacks: Callable[[], bool],
        memory: int,
        activations: int = 0,
    ) -> None:
        self.graph = graph
        self.blobs = dict(blobs)
        self.hash = hashlib.sha256(graph).hexdigest()
        self.inputs = tuple(spec.name for spec in inputs)
        self.outputs = tuple(spec.name for spec in outputs)
        self.carried = tuple(name for name in self.inputs if name in self.outputs)
        self.specs = {spec.name: spec for spec in (*inputs, *outputs)}
        self.range = node_range
        self._stacks = stacks
        self.memory = max(memory, self.weight_bytes)
        self.activations = activations
        self._session: Session | None = None

    def __repr__(self) -> str:
        start, end = self.range
        return (
            f"<Part {self.hash[:12]} nodes {start}..{end}, {', '.join(self.inputs)} -> "
            f"{', '.join(self.outputs)}, {self.weight_bytes} bytes of weights>"
        )

    @cached_property
    def stacks(self) -> bool:
        """Whether several requests may be run at once, stacked along the first dimension of all
        its inputs: each is answered as if alone. Reasoned from the graph when first asked for."""
        return self._stacks()

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that are blobs."""
        return sum(memoryview(blob).nbytes for blob in self.blobs.values())

    @property
    def info(self) -> PartInfo:
        """What must be known of the part before it is fetched."""
        sizes = {hash: memoryview(blob).nbytes for hash, blob in self.blobs.items()}
        return PartInfo(
            size=len(self.graph),
            blobs=sizes,
            memory=self.memory,
            activations=self.activations,
            stacks=self.stacks,
        )

    def session(self, engine: Engine | None = None) -> Session:
        """A new session of the part; one thread on the CPU if no engine is given."""
        return (engine or Engine()).load(self.graph, self.blobs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The part's outputs for its inputs, in this process. The session is made on the first
        call and kept. Raises :class:`InputError` for inputs that do not fit."""
        if self._session is None or not self._session.usable:
            self._session = self.session()
        return self.run_on(self._session, feeds)

    def run_on(self, session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The part's outputs, computed by a session of it."""
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise InputError(f"The part needs {', '.join(map(repr, missing))} as well.")
        made = session.run(feeds)
        return {name: made[name] if name in made else feeds[name] for name in self.outputs}


# So that nine in ten of 147 parts of 21 networks need no more; see docs/networks.md.
_SESSION_BYTES = 1_000_000
_NODE_BYTES = 25_000
_WEIGHT_FACTOR = 1.1
_TENSOR_FACTOR = 1.5


def node_memory(weight_bytes: int) -> int:
    """Resident bytes of a loaded node and its weights."""
    return _NODE_BYTES + int(_WEIGHT_FACTOR * weight_bytes)


def part_memory(nodes_bytes: int, peak_bytes: int) -> int:
    """Resident bytes of a loaded part, from those of its nodes (:func:`node_memory`) and the
    largest sum of tensors alive at once."""
    return _SESSION_BYTES + nodes_bytes + image_memory(peak_bytes)


def image_memory(peak_bytes: int) -> int:
    """Resident bytes that one image takes while it is run, from the largest sum of its tensors
    alive at once."""
    return int(_TENSOR_FACTOR * peak_bytes)

"""Shoal, and the engine by itself, as backends of the ``onnx`` package, so that its tests run
through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from onnx.backend.base import Backend, BackendRep

from shoal.codec.codecs import find_codec
from shoal.errors import InputError, ShoalError
from shoal.model.dtypes import Array
from shoal.model.network import Network, check_feeds, load
from shoal.model.part import Part

Way: TypeAlias = tuple[int, ...]
"""Where a network is cut; nowhere, if empty."""

Feeds: TypeAlias = dict[str, Array]

MOST_CUTS = 64
"""Cuts of one network that are tried, spread evenly; up to so many: all."""


class EngineBackend(Backend):  # type: ignore[misc]
    """ONNX Runtime as it is used without Shoal."""

    def prepare(self, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> EngineRep:
        """A session of the model as it came."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        return EngineRep(
            ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        )

    def supports_device(self, device: str) -> bool:
        return device == "CPU"


class EngineRep(BackendRep):  # type: ignore[misc]
    """A session."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Sequence[Any], **_: Any) -> tuple[Any, ...]:
        names = [each.name for each in self._session.get_inputs()]
        return tuple(self._session.run(None, dict(zip(names, map(_array, inputs), strict=False))))


class ShoalBackend(Backend):  # type: ignore[misc]
    """Shoal. It runs the network cut at ``way``; set that after the first run, when :attr:`ways`
    are known. A model that is prepared again is not loaded again.

    A network is loaded as it is. Where that is refused (inputs that are made up do not do for it,
    sizes are free), or the inputs of its first run are, it is loaded with these as the example
    (``by_example``), as the message says.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was prepared before."""
        self.way: Way = ()
        self.operators: tuple[str, ...] = ()
        self.by_example = False
        self.network: Network | None = None
        self._data = b""

    def prepare(self, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> ShoalRep:
        """The network in a model."""
        data = model.SerializeToString()
        if data != self._data:
            self.begin()
            self._data = data
            self.operators = tuple(node.op_type for node in model.graph.node)
        weights = {each.name for each in model.graph.initializer}
        return ShoalRep(self, [each.name for each in model.graph.input if each.name not in weights])

    def supports_device(self, device: str) -> bool:
        return device == "CPU"

    def load(self, feeds: Feeds) -> Network:
        """The network, for inputs such as these. Raises what :func:`shoal.load` raises."""
        if self.network is None:
            try:
                network = load(self._data)
                check_feeds(network.inputs, feeds)
                self.network = network
            except ShoalError as refused:
                try:
                    self.network = load(self._data, example=feeds)
                except InputError:  # of a kind that nothing would do for
                    raise refused from None
                self.by_example = True
        return self.network

    @property
    def in_halves(self) -> bool:
        """Whether the network that was run last gives or sends 16-bit floats."""
        if self.network is None:
            return False
        sent = [*self.network.outputs, *(t for cut in self.network.cuts for t in cut.tensors)]
        return any(spec.dtype == "float16" for spec in sent)

    @property
    def ways(self) -> list[Way]:
        """Where the network that was run last can be cut: at every cut into two parts, and at all
        of them at once."""
        if self.network is None:
            return []
        places = [cut.at for cut in self.network.cuts]
        if len(places) > MOST_CUTS:
            places = [places[k * (len(places) - 1) // (MOST_CUTS - 1)] for k in range(MOST_CUTS)]
        return [*((place,) for place in places), *([tuple(places)] if len(places) > 1 else [])]


class ShoalRep(BackendRep):  # type: ignore[misc]
    """A network that is cut, or not. ``names`` are those of its inputs."""

    def __init__(self, backend: ShoalBackend, names: Sequence[str]) -> None:
        self._backend, self._names = backend, names

    def run(self, inputs: Sequence[Any], **_: Any) -> tuple[Any, ...]:
        """The outputs, in order. Raises ShoalError for what is not taken."""
        feeds = dict(zip(self._names, map(_array, inputs), strict=False))
        network = self._backend.load(feeds)
        if self._backend.way:
            made = _in_sequence(network.split(self._backend.way), feeds)
        else:
            made = network.run(feeds)
        return tuple(made[spec.name] for spec in network.outputs)


def _in_sequence(parts: Sequence[Part], tensors: Feeds) -> Feeds:
    """What a chain of parts gives; all that goes from one to the next is packed and unpacked."""
    given: Feeds = {}
    for part in parts:
        sent = {name: _sent(tensors[name]) for name in part.inputs}
        tensors = part.run(sent)
        given |= tensors
    return given


def _sent(array: Array) -> Array:
    codec = find_codec("lossless")
    data, meta = codec.encode(array)
    return codec.decode(memoryview(data).toreadonly(), meta, array.dtype, array.shape)


def _array(value: Any) -> Any:
    """Tests give scalars of NumPy as well as arrays."""
    return np.asarray(value) if isinstance(value, np.generic) else value

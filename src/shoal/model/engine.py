"""The engine that runs a part. The only file that knows ONNX Runtime.

A worker needs this file and :mod:`shoal.model.store`, and neither imports ``onnx``. The engine
takes weights from where they lie (a mapped file, say) and keeps a copy of its own, mostly in
another order.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
import onnxruntime as ort

from shoal.errors import InputError, ModelError, ModelFileError, UnsupportedModelError, UsageError
from shoal.model.dtypes import ONNX_TO_NUMPY, Array, Buffer
from shoal.model.wire import External, adding_model, externals
from shoal.process import Home, home, keep_for_ever, tell_of_forks

CPU = "CPUExecutionProvider"
MAX_THREADS = 1024


class Session:
    """A loaded part. ``inputs`` and ``outputs`` are the tensor names of its graph, ``dtypes`` has
    the NumPy name of the type of each output, None where NumPy has none.

    ``run`` may be called from several threads and lets other threads go on meanwhile. ``weights``
    are kept alive as long as the session. A child made by fork cannot run it, as the engine's
    threads stayed with the parent. ``brief``: see :meth:`Engine.load`.
    """

    def __init__(
        self, session: ort.InferenceSession, weights: Sequence[object] = (), brief: bool = False
    ) -> None:
        self._session = session
        self._weights = weights
        self._brief = brief
        self._home = home()
        tell_of_forks(self)
        self.inputs: tuple[str, ...] = tuple(arg.name for arg in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(arg.name for arg in session.get_outputs())
        self.dtypes = {arg.name: _DTYPES.get(arg.type) for arg in session.get_outputs()}

    @property
    def usable(self) -> bool:
        """Whether this is the process that made it."""
        return self._home.here

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """The tensors named in ``outputs`` (all outputs if None) for these inputs.

        Raises :class:`InputError` where the engine refuses the inputs, :class:`ModelError` where
        it fails, :class:`ForkError` in a child of the process that made the session.
        """
        self._home.check("the session")
        names = self.outputs if outputs is None else tuple(outputs)
        if not names:
            return {}
        for name in self.inputs:
            if not isinstance(feeds.get(name), np.ndarray):
                raise InputError(f"Input {name!r} is missing, or no array.")
        if self._brief:
            give_back()  # what making the inputs has left
        try:
            arrays = self._session.run(names, {name: feeds[name] for name in self.inputs})
        except (_InvalidArgument, ValueError, TypeError) as error:
            raise InputError(f"The engine refuses these inputs: {_reason(error)}") from None
        except Exception as error:
            raise ModelError(f"The engine failed to run this part: {_reason(error)}") from None
        if self._brief:  # its results lie in its memory, all of which they would keep
            arrays = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
        return dict(zip(names, arrays, strict=True))

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`."""
        keep_for_ever(self)

    def end_profile(self) -> str:
        """Stop profiling; the path of the file that the engine wrote."""
        return str(self._session.end_profiling())


class Engine:
    """Makes sessions. ``threads`` per session; ``provider`` is a name of ONNX Runtime's.

    Threads that wait sleep instead of spinning, so an idle worker costs nothing.
    """

    def __init__(self, threads: int = 1, provider: str = CPU) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise UsageError(f"An engine has 1 to {MAX_THREADS} threads, not {threads}.")
        available = ort.get_available_providers()
        if provider not in available:
            raise UsageError(
                f"ONNX Runtime has no provider {provider!r} here; it has {', '.join(available)}."
            )
        self.threads = threads
        self.provider = provider

    def load(
        self,
        graph: bytes,
        blobs: Mapping[str, Buffer],
        *,
        optimise: bool = True,
        brief: bool = False,
        shapes_first: bool = False,
        branches: bool = False,
        profile_to: str | None = None,
    ) -> Session:
        """A session of a part. ``blobs`` holds at least the weights that ``graph`` names.

        ``optimise`` False keeps every node as it is. ``brief`` is for a few runs that shall leave
        no memory taken behind, as that of other sessions is for the next run. ``shapes_first``: the
        shape of a tensor is asked for as soon as there is one, so that it need not be kept.
        ``branches``: it may hold sub-graphs, as no part does.
        ``profile_to`` is the prefix of the file that gets the times of all nodes. Raises
        :class:`ModelFileError` for damaged bytes or a missing or wrong blob,
        :class:`UnsupportedModelError` for what the engine cannot run.
        """
        options = self._options(optimise, brief, profile_to)
        if shapes_first:
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        weights = externals(graph, branches=branches)
        values = [_value(weight, blobs) for weight in weights]
        try:
            if weights:
                options.add_external_initializers([weight.name for weight in weights], values)
            session = ort.InferenceSession(
                bytes(graph), options, providers=[self.provider], enable_fallback=0
            )
        except _DAMAGED as error:
            raise ModelFileError(f"This is not a graph that can run: {_reason(error)}") from None
        except Exception as error:
            raise UnsupportedModelError(
                f"ONNX Runtime {ort.__version__} cannot run this: {_reason(error)}"
            ) from None
        kept = weights and not _copies_weights()
        if kept:
            _release(blobs[weight.blob] for weight in weights)
        made = Session(session, values if kept else (), brief)
        del values
        give_back()
        return made

    def _options(self, optimise: bool, brief: bool, profile_to: str | None) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if not brief:  # else it has memory of its own, which goes with it
            if _share_memory().here:
                options.add_session_config_entry("session.use_env_allocators", "1")
            else:  # each would keep what its largest run needed, out of reach of give_back
                options.enable_cpu_mem_arena = False
        # Weights not from the common memory: it would keep them when the session is gone.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Its plan of where tensors go, one for each size of batch, costs as much memory again as
        # they need, and saves no time that could be measured.
        options.enable_mem_pattern = False
        # Else it computes with 8-bit activations where only the weights have 8 bits, in some
        # parts and not in others.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile_to is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile_to
        return options


def give_back(tensors: bool = False) -> None:
    """Give memory that is free, but still this process's, back to the system: making a session
    leaves as much as a copy of its weights (a third of what ResNet-50 took), in pieces that the C
    library keeps. Takes milliseconds; does nothing where the C library has no way to.

    ``tensors``: also what the engine keeps for the tensors of the next runs, as much as the
    largest run so far needed; the next one begins anew. Takes some 0.3 ms for each MiB.
    """
    if tensors and _share_memory().here:
        _shrink()
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no such library on this system
        return None
    return found


def _shrink() -> None:
    """The engine offers this only at the end of a run: one of next to nothing does."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    _smallest()._session.run(None, {"x": np.zeros(1, np.float32)}, options)


@cache
def _smallest() -> Session:
    weight = ort.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))
    options = Engine()._options(optimise=True, brief=False, profile_to=None)
    options.add_external_initializers(["w"], [weight])
    return Session(ort.InferenceSession(adding_model(1), options, providers=[CPU]), [weight])


def engine_version() -> str:
    """Name and version of the engine, for keys of measurements."""
    return f"onnxruntime-{ort.__version__}"


def _value(weight: External, blobs: Mapping[str, Buffer]) -> ort.OrtValue:
    blob = blobs.get(weight.blob)
    if blob is None:
        raise ModelFileError(f"Weight {weight.blob} of this part is missing: get it first.")
    data = np.frombuffer(blob, dtype=np.uint8)
    if data.nbytes != weight.nbytes:
        raise ModelFileError(
            f"Weight {weight.name!r} needs {weight.nbytes} bytes, its blob has {data.nbytes}."
        )
    name = ONNX_TO_NUMPY.get(weight.data_type)
    if name is not None:
        return ort.OrtValue.ortvalue_from_numpy(data.view(name).reshape(weight.dims))
    raise UnsupportedModelError(
        f"Weight {weight.name!r} has ONNX type {weight.data_type}, which cannot be a blob."
    )


@cache
def _share_memory() -> Home:
    """Let all sessions of this process take tensors from the same memory: several parts in
    sequence then find it in the processor's cache, and need it only once. The process that it is
    of: in a child its lock may be held for ever, by a thread that only the parent has."""
    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    defaults = {
        "max_mem": 0,
        "arena_extend_strategy": 0,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    # Somebody else in this process may have done it.
    with contextlib.suppress(Exception):
        ort.create_and_register_allocator(place, ort.OrtArenaCfg(defaults))
    return home()


@cache
def _copies_weights() -> bool:
    """Whether the engine has its own copy of all weights once a session is made (every version
    so far has), so that ours may go. Found out by changing a weight afterwards."""
    elements = 16 * 1024
    weight = np.ones(elements, np.float32)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_external_initializers(["w"], [ort.OrtValue.ortvalue_from_numpy(weight)])
    graph = adding_model(elements)
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    weight[:] = 0.0
    (found,) = session.run(None, {"x": np.zeros(elements, np.float32)})
    return bool((found == 1.0).all())


def _release(blobs: Iterable[Buffer]) -> None:
    """Let go of the memory of mapped files: what the engine still reads comes back by itself."""
    for blob in blobs:
        mapped = blob.obj if isinstance(blob, memoryview) else None
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _reason(error: Exception) -> str:
    """What the engine says in its first line, without where in its sources it says so."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _SOURCES.sub("", line)[:400]


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    **{f"tensor({name})": name for name in ONNX_TO_NUMPY.values()},
}
"""What the engine calls types, and NumPy."""

_SOURCES = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|/onnxruntime_src/[^()]*\([^()]*\)(?: const)?(?: \[with [^]]*\])? "
)

_state = ort.capi.onnxruntime_pybind11_state
_InvalidArgument = _state.InvalidArgument
_DAMAGED = (_state.InvalidProtobuf, _state.InvalidGraph, _state.NoModel)

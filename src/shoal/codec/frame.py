"""A frame: named tensors one behind the other, and the head that tells how to read them.

Everything in a head comes from outside: every length is checked before memory is taken, and the
payload against its digest (xxh3-64, which costs a tenth of sending it), so that damage is an
error of its own and never a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import xxhash

from shoal.codec.codecs import Array, Buffer, find_codec
from shoal.codec.named import codec_of
from shoal.errors import FrameError, UsageError
from shoal.model.dtypes import NUMPY_TO_ONNX

MAX_TENSORS = 256
MAX_DIMS = 16
MAX_BYTES = 1 << 30
DTYPES = frozenset(NUMPY_TO_ONNX)
_NAMES = {np.dtype(name): name for name in DTYPES}
"""To ask a dtype for its name takes as long as all else that is done to pack a raw tensor."""


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """One tensor in a payload: ``size`` bytes that ``codec`` made, with its ``meta``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    size: int
    meta: bytes = b""


class FrameHead(msgspec.Struct, frozen=True, array_like=True):
    """The tensors of a payload in order, and the payload's digest."""

    tensors: tuple[Packed, ...]
    digest: int

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return sum(tensor.size for tensor in self.tensors)


class Frame(msgspec.Struct, frozen=True):
    """A head and its payload: what came is one buffer, what leaves one for each tensor."""

    head: FrameHead
    payload: tuple[Buffer, ...]

    @property
    def size(self) -> int:
        """Bytes of the payload, as it is and not as the head says."""
        return sum(memoryview(chunk).nbytes for chunk in self.payload)

    @property
    def whole(self) -> memoryview:
        """The payload in one buffer, copied where it is in several."""
        view = memoryview(self.payload[0] if len(self.payload) == 1 else b"".join(self.payload))
        return view.cast("B") if view.nbytes else memoryview(b"")  # what is empty cannot be cast


def pack(arrays: Mapping[str, Array], codec: str = "raw") -> Frame:
    """Pack tensors with a codec, or each with its own (see :mod:`shoal.codec.named`).

    Raw tensors are not copied. Raises UsageError for a dtype that does not travel, too many
    tensors or an unknown codec.
    """
    if len(arrays) > MAX_TENSORS:
        raise UsageError(f"{len(arrays)} tensors cannot be sent at once; {MAX_TENSORS} can")
    packed: list[Packed] = []
    chunks: list[Buffer] = []
    for name, array in arrays.items():
        dtype = _NAMES.get(array.dtype) or array.dtype.name
        if dtype not in DTYPES:
            raise UsageError(f"tensor {name!r} has dtype {array.dtype}, which cannot be sent")
        own = codec_of(codec, name)
        data, meta = find_codec(own).encode(array)
        size = memoryview(data).nbytes
        packed.append(Packed(name, dtype, array.shape, own, size, meta))
        chunks.append(data)
    return Frame(FrameHead(tuple(packed), _digest(chunks)), tuple(chunks))


def unpack(frame: Frame) -> dict[str, Array]:
    """The tensors of a frame; raw ones are views of its payload.

    Raises FrameError when the head lies or the payload is damaged.
    """
    head, payload = frame.head, frame.whole
    _check(head)
    if head.size != len(payload):
        raise FrameError(f"a frame says {head.size} bytes and brings {len(payload)}")
    if xxhash.xxh3_64_intdigest(payload) != head.digest:
        raise FrameError(f"a frame of {len(payload)} bytes was damaged on its way")
    arrays: dict[str, Array] = {}
    start = 0
    for tensor in head.tensors:
        data = payload[start : start + tensor.size]
        start += tensor.size
        arrays[tensor.name] = _decode(tensor, data)
    return arrays


def _decode(tensor: Packed, data: memoryview) -> Array:
    try:
        coder = find_codec(tensor.codec)
        return coder.decode(data, tensor.meta, np.dtype(tensor.dtype), tensor.shape)
    except (UsageError, ValueError, OverflowError) as error:
        raise FrameError(f"tensor {tensor.name[:64]!r} cannot be read: {error}") from None


def _digest(chunks: Sequence[Buffer]) -> int:
    if len(chunks) == 1:
        return xxhash.xxh3_64_intdigest(chunks[0])
    digest = xxhash.xxh3_64()
    for chunk in chunks:
        digest.update(chunk)
    return digest.intdigest()


def _check(head: FrameHead) -> None:
    """Refuse what cannot be true, before anything is decoded."""
    if len(head.tensors) > MAX_TENSORS:
        raise FrameError(f"a frame holds {len(head.tensors)} tensors; {MAX_TENSORS} is the limit")
    if len({tensor.name for tensor in head.tensors}) != len(head.tensors):
        raise FrameError("a frame names a tensor twice")
    size = 0
    for tensor in head.tensors:
        name = tensor.name[:64]
        if tensor.dtype not in DTYPES:
            raise FrameError(f"tensor {name!r} has unknown dtype {tensor.dtype[:32]!r}")
        sides = tensor.shape
        if len(sides) > MAX_DIMS or any(not 0 <= side <= MAX_BYTES for side in sides):
            raise FrameError(f"tensor {name!r} has an impossible shape")
        if tensor.size < 0:
            raise FrameError(f"tensor {name!r} has a negative size")
        size += math.prod(sides) * np.dtype(tensor.dtype).itemsize
    if size > MAX_BYTES:
        raise FrameError(f"a frame unfolds to {size} bytes; {MAX_BYTES} is the limit")

"""Tensors on their way through a node: arrays, or the frame that they came or leave in.

Unpacking happens where the arrays are needed (the computing thread) and packing where they leave
(the sending thread), once each; a tensor that stays on its node is never packed. Where several
devices are to have the same of what a codec loses something of, the node that made it unpacks what
it sent.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import xxhash

from shoal.codec.codecs import Array
from shoal.codec.frame import Frame, pack, unpack
from shoal.codec.home import given, kept
from shoal.codec.named import codec_of
from shoal.codec.slices import Home


class Body:
    """Named tensors, in either form. ``came`` is how many bytes they were when they came from
    another node, 0 where they did not. ``rows`` are those of each client's input where several
    were put together. What stays at ``home`` is in no frame of what was made here."""

    __slots__ = ("_arrays", "_came", "_digests", "_frame", "_lock", "came", "home", "rows")

    def __init__(
        self,
        arrays: Mapping[str, Array] | None = None,
        frame: Frame | None = None,
        rows: Sequence[int] = (),
        home: Home | None = None,
    ) -> None:
        self._arrays = dict(arrays) if arrays is not None else None
        self._frame = frame
        self._digests: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._came = frame
        self.rows = tuple(rows)
        self.home = home
        self.came = frame.head.size if frame is not None else 0

    def arrays(self) -> dict[str, Array]:
        """The tensors; FrameError when they came damaged."""
        if self._arrays is None:
            self._arrays = unpack(self._came) if self._came is not None else {}
        return self._arrays

    def frame(self, codec: str) -> Frame:
        """The tensors packed with ``codec`` (one, or one for each tensor); the frame that they
        came in if that is how. Any thread may ask: it is packed once."""
        with self._lock:
            frame = self._frame
            if frame is None or any(
                tensor.codec != codec_of(codec, tensor.name) for tensor in frame.head.tensors
            ):
                frame = self._frame = pack(self._given(), codec)
            return frame

    def as_it_came(self) -> Frame:
        """The frame that they came in, unread; or all of them, packed raw."""
        return self._came if self._came is not None else pack(self.arrays(), "raw")

    def alike(self, codec: str) -> Body:
        """The tensors as all have them who were sent them with ``codec`` (raw: as they are), and
        what stays at home with them; FrameError when they came damaged."""
        if codec == "raw" or self._came is not None:
            return self
        return Body(kept(self.frame(codec), self.arrays(), self.home))

    def _given(self) -> dict[str, Array]:
        """What others are sent."""
        return given(self.arrays(), self.home)

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest of each client's input, whatever it was put together with."""
        if not self._digests:
            arrays, ends = self.arrays(), tuple(itertools.accumulate(self.rows))
            spans = [slice(start, end) for start, end in itertools.pairwise((0, *ends))]
            self._digests = tuple(
                _digest({name: array[span] for name, array in arrays.items()}) for span in spans
            ) or (_digest(arrays),)
        return self._digests

    def is_swift(self, codec: str, most_bytes: int) -> bool:
        """Whether packing with ``codec``, or unpacking what came so, takes no time to speak of."""
        if self.size > most_bytes:
            return False
        if self._frame is None:
            return all(codec_of(codec, name) == "raw" for name in self.arrays())
        return all(
            tensor.codec == codec_of(codec, tensor.name) == "raw"
            for tensor in self._frame.head.tensors
        )

    @property
    def size(self) -> int:
        """Bytes: of the frame where there is one, else of the arrays, without what stays."""
        if self._frame is not None:
            return self._frame.head.size
        return sum(array.nbytes for array in self._given().values())


def digests(body: Body) -> tuple[str, ...]:
    """What is in the body of a request (see ``core/gateway/suspects.py``)."""
    return body.digests


def _digest(arrays: Mapping[str, Array]) -> str:
    digest = xxhash.xxh3_128()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

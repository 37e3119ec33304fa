"""Tensors on their way through a node: arrays, or the frame that they came or leave in.

Unpacking happens where the arrays are needed (the computing thread) and packing where they leave
(the sending thread), once each; a tensor that stays on its node is never packed.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal.codec.codecs import Array
from shoal.codec.frame import Frame, pack, unpack
from shoal.codec.named import codec_of


class Body:
    """Named tensors, in either form. ``came`` is how many bytes they were when they came from
    another node, 0 where they did not."""

    __slots__ = ("_arrays", "_frame", "came")

    def __init__(
        self, arrays: Mapping[str, Array] | None = None, frame: Frame | None = None
    ) -> None:
        self._arrays = dict(arrays) if arrays is not None else None
        self._frame = frame
        self.came = frame.head.size if frame is not None else 0

    def arrays(self) -> dict[str, Array]:
        """The tensors; FrameError when they came damaged."""
        if self._arrays is None:
            self._arrays = unpack(self._frame) if self._frame is not None else {}
        return self._arrays

    def frame(self, codec: str) -> Frame:
        """The tensors packed with ``codec`` (one, or one for each tensor); the frame that they
        came in if that is how."""
        frame = self._frame
        if frame is None or any(
            tensor.codec != codec_of(codec, tensor.name) for tensor in frame.head.tensors
        ):
            frame = self._frame = pack(self.arrays(), codec)
        return frame

    def is_swift(self, codec: str, most_bytes: int) -> bool:
        """Whether packing with ``codec``, or unpacking what came so, takes no time to speak of."""
        frame = self._frame
        came = {tensor.name: tensor.codec for tensor in frame.head.tensors} if frame else {}
        wanted = {codec_of(codec, name) for name in (came if frame else self.arrays())}
        return wanted.union(came.values()) <= {"raw"} and self.size <= most_bytes

    @property
    def size(self) -> int:
        """Bytes: of the frame where there is one, else of the arrays."""
        if self._frame is not None:
            return self._frame.head.size
        return sum(array.nbytes for array in self.arrays().values())

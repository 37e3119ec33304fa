"""Where the images of a request lie in a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from shoal.model.independence.size import ONE_IMAGE, Size, Values, fixed


@dataclass(frozen=True, slots=True)
class Common:
    """The same for every image: whatever is in the images, and (unless ``counted``) however many
    there are. ``values`` are its elements where it is a small tensor of whole numbers of rank 0 or
    1 and they are known."""

    counted: bool = False
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class Along:
    """Each image has its own rows along ``axis``, and they are what the image alone would have.

    With ``n`` images the axis has ``outer * n * inner`` rows: row ``(o * n + image) * inner + i``
    is row ``o * inner + i`` of the image alone. Plainly stacked images have ``outer`` and
    ``inner`` 1; ``Reshape`` of images into rows makes others. The other sizes do not depend on
    ``n``.
    """

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def rows(self) -> int:
        """Rows that an image has along the axis."""
        return self.outer * self.inner

    def at(self, axis: int) -> Along:
        """The same rows along another axis."""
        return Along(axis, self.outer, self.inner)


@dataclass(frozen=True, slots=True)
class Mixed:
    """Of an image alone there would, or could, be something else. ``why`` says which node made
    it so, and how. ``form`` says how the tensor grows with the images: as one does in which they
    lie so; None where that is not known. (Shapes are told from it, nothing else.)"""

    why: str
    form: Along | None = None


Layout: TypeAlias = Common | Along | Mixed

STACKED = Along(0)
"""Images stacked along the first axis, as requests are."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The shape of a tensor: ``one`` is that for one image, ``sizes`` those for any number, None
    where that is not known."""

    one: tuple[int, ...]
    sizes: tuple[Size | None, ...]

    @classmethod
    def of(cls, dims: Sequence[int | None]) -> Extent:
        """A shape that is known; ``None`` stands for the number of images."""
        return cls(
            tuple(1 if dim is None else dim for dim in dims),
            tuple(ONE_IMAGE if dim is None else fixed(dim) for dim in dims),
        )

    @classmethod
    def measured(cls, one: Sequence[int]) -> Extent:
        """A shape of which only that for one image is known."""
        return cls(tuple(one), (None,) * len(one))

    def holding(self, layout: Along) -> Extent:
        """The same shape for any number of images, which lie as ``layout`` says."""
        sizes = [fixed(dim) for dim in self.one]
        sizes[layout.axis] = Size(layout.rows, 0)
        return Extent(self.one, tuple(sizes))

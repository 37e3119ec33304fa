"""Rules of operators that move elements and compute nothing: what becomes of the images' rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from shoal.model.independence.layout import Along, Common, Layout
from shoal.model.independence.size import Size, Values, fixed, over, product
from shoal.model.independence.view import Mixes, Rule, View, over_last, placed, stacked

_TO_THE_END = 2**31 - 1
"""What exporters write, at least, for the end of a slice that leaves nothing out."""


def refolded(layout: Along, before: Sequence[int], after: Values) -> Along:
    """Where the images lie when a tensor that has the shape ``before`` for one image is read, in
    the same order, as one of the shape ``after``."""
    outer = math.prod(before[: layout.axis]) * layout.outer
    inner = layout.inner * math.prod(before[layout.axis + 1 :])
    if None in after:
        raise Mixes("makes a shape that is not known for any number of images")
    free = [axis for axis, size in enumerate(after) if size is not None and size.each]
    if len(free) != 1:
        raise Mixes("makes a shape in which the images have no axis, or more than one")
    (axis,) = free
    rows = after[axis]
    front = math.prod(size.fixed for size in after[:axis] if size is not None)
    back = math.prod(size.fixed for size in after[axis + 1 :] if size is not None)
    if rows is None or front < 1 or back < 1 or outer % front or inner % back:
        raise Mixes("puts elements of several images into one row")
    found = Along(axis, outer // front, inner // back)
    if rows != Size(found.rows, 0):
        raise Mixes("puts elements of several images into one row")
    return found


def reshape(view: View) -> Layout:
    """To sizes that are known for any number of images, those computed from shapes too."""
    layout = view.images(0)
    given = view.shape(0).sizes
    copies = not view.integer("allowzero", 0)
    sizes: list[Size | None] = [
        given[axis] if copies and size == fixed(0) else size
        for axis, size in enumerate(view.values(1))
    ]
    if fixed(-1) in sizes:
        at = sizes.index(fixed(-1))
        total, rest = product(given), product((*sizes[:at], *sizes[at + 1 :]))
        sizes[at] = None if total is None or rest is None else over(total, rest)
    return refolded(layout, view.one(0), tuple(sizes))


def flatten(view: View) -> Layout:
    """To a matrix."""
    layout, rank = view.images(0), view.rank(0)
    at = view.integer("axis", 1)
    at = at + rank if at < 0 else at
    sizes = view.shape(0).sizes
    return refolded(layout, view.one(0), (product(sizes[:at]), product(sizes[at:])))


def transpose(view: View) -> Layout:
    """Axes in another order."""
    layout = view.images(0)
    order = view.integers("perm") or tuple(reversed(range(view.rank(0))))
    return layout.at(order.index(layout.axis))


def squeeze(view: View) -> Layout:
    """Without axes of one row; which ones must not depend on how many images there are."""
    layout = view.images(0)
    axes = view.settings("axes", 1)
    if axes is None:
        raise Mixes("leaves out every axis of one row: that of a single image too")
    gone = {placed(axis, view.rank(0)) for axis in axes}
    if layout.axis in gone:
        raise Mixes("leaves out the axis of the images")
    return layout.at(layout.axis - sum(axis < layout.axis for axis in gone))


def unsqueeze(view: View) -> Layout:
    """With new axes of one row."""
    axes = view.settings("axes", 1)
    if axes is None:
        raise Mixes("does not say where axes are added")
    return _with_axes(view, axes)


def expand_dims(view: View) -> Layout:
    """With one new axis."""
    return _with_axes(view, view.numbers(1))


def _with_axes(view: View, axes: Sequence[int]) -> Along:
    layout = view.images(0)
    rank = view.rank(0) + len(axes)
    new = {placed(axis, rank) for axis in axes}
    old = [axis for axis in range(rank) if axis not in new]
    return layout.at(old[layout.axis])


def expand(view: View) -> Layout:
    """To a larger shape; a constant that is repeated for each image becomes the images' own."""
    target = view.values(1)
    rank = max(len(target), view.rank(0))
    sizes: Values = (*(fixed(1) for _ in range(rank - len(target))), *target)
    data = view.layouts[0]
    if isinstance(data, Along):
        axis = data.axis + rank - view.rank(0)
        for at, size in enumerate(sizes):
            if at == axis and size not in (fixed(1), Size(data.rows, 0)):
                raise Mixes("repeats the images")
            if at != axis and (size is None or size.each):
                raise Mixes("depends on the number of images")
        return data.at(axis)
    view.common(0)
    found = spread(sizes)
    if isinstance(found, Along):
        at = found.axis - (rank - view.rank(0))
        if at >= 0 and view.one(0)[at] != 1:
            raise Mixes("meets images with a constant of several rows")
    return found


def spread(sizes: Values) -> Layout:
    """The layout of a tensor of these sizes that holds the same along each axis."""
    if None in sizes:
        return Common(counted=True)
    free = [axis for axis, size in enumerate(sizes) if size is not None and size.each]
    if not free:
        return Common()
    rows = sizes[free[0]]
    if len(free) > 1 or rows is None or rows.fixed or rows.each < 1:
        return Common(counted=True)
    return Along(free[0], 1, rows.each)


def constant_of_shape(view: View) -> Layout:
    """One value everywhere."""
    return spread(view.values(0))


def tile(view: View) -> Layout:
    """Repeated, each axis as a whole."""
    data = view.layouts[0]
    if isinstance(data, Along):
        times = view.numbers(1)
        if len(times) != view.rank(0) or times[data.axis] < 1:
            raise Mixes("repeats the images in a way that is not known")
        return Along(data.axis, data.outer * times[data.axis], data.inner)
    view.common(0)
    found = spread(view.values(1))
    if isinstance(found, Along):
        # As many copies for each image as ``found`` has rows for it, each of all rows.
        return Along(found.axis, 1, found.inner * view.one(0)[found.axis])
    return found


def concat(view: View) -> Layout:
    """All inputs one after the other."""
    return joined(view, range(len(view.layouts)))


def joined(view: View, indices: Sequence[int]) -> Along:
    """These inputs one after the other; all of them hold images."""
    if not indices:
        raise Mixes("puts nothing together")
    layouts = [view.images(index) for index in indices]
    found = layouts[0]
    if view.axis(1, view.rank(indices[0])) != found.axis:
        if any(layout != found for layout in layouts):
            raise Mixes("meets images along different axes")
        return found
    if any((layout.axis, layout.inner) != (found.axis, found.inner) for layout in layouts):
        raise Mixes("meets images along different axes")
    return Along(found.axis, sum(layout.outer for layout in layouts), found.inner)


def split(view: View) -> Sequence[Layout]:
    """In pieces; along the images only between what ``Concat`` has put together."""
    layout, pieces = view.images(0), len(view.node.output)
    if view.axis(0) != layout.axis:
        view.common_from(1)
        return [layout] * pieces
    if view.given(1) or view.has("split"):
        sizes = view.sizes("split", 1)
    else:
        outer = layout.outer // view.integer("num_outputs", pieces)
        sizes = (Size(outer * layout.inner, 0),) * pieces
    found = []
    for size in sizes:
        if size is None or size.fixed or size.each < layout.inner or size.each % layout.inner:
            raise Mixes("parts the images from each other")
        found.append(Along(layout.axis, size.each // layout.inner, layout.inner))
    if sum(piece.outer for piece in found) != layout.outer:
        raise Mixes("parts the images from each other")
    return found


def slices(view: View) -> Layout:
    """A piece; along the images all of it, or what ``Concat`` has put together."""
    layout, rank = view.images(0), view.rank(0)
    starts, ends = view.sizes("starts", 1), view.sizes("ends", 2)
    axes = view.settings("axes", 3) or tuple(range(len(starts)))
    steps = view.numbers(4) if view.given(4) else (1,) * len(axes)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if start is None or end is None:
            raise Mixes("cuts at a place that is not known")
        if placed(axis, rank) == layout.axis:
            layout = _sliced(layout, start, end, step)
        elif start.each or end.each:
            raise Mixes("depends on the number of images")
    return layout


def _sliced(layout: Along, start: Size, end: Size, step: int) -> Along:
    rows = Size(layout.rows, 0)
    if end.number is not None and end.number >= _TO_THE_END:
        end = rows
    block = layout.inner
    whole = not (start.fixed or end.fixed or start.each % block or end.each % block)
    if step != 1 or not whole or not 0 <= start.each < end.each <= rows.each:
        raise Mixes("takes some of the images and leaves others")
    return Along(layout.axis, (end.each - start.each) // block, block)


def pad(view: View) -> Layout:
    """Something around; nothing before or behind the images."""
    layout, rank = view.images(0), view.rank(0)
    view.common(2)
    pads = view.settings("pads", 1)
    axes = view.numbers(3) if view.given(3) else tuple(range(rank))
    if pads is None or len(pads) != 2 * len(axes):
        raise Mixes("adds rows in a way that is not known")
    for at, axis in enumerate(axes):
        if placed(axis, rank) == layout.axis and (pads[at] or pads[at + len(axes)]):
            raise Mixes("adds rows before or behind the images")
    return layout


def center_crop_pad(view: View) -> Layout:
    """Cut or filled up to a size; not along the images."""
    layout, rank = view.images(0), view.rank(0)
    view.numbers(1)
    axes = view.integers("axes")
    if axes is None or layout.axis in {placed(axis, rank) for axis in axes}:
        raise Mixes("cuts or adds images")
    return layout


_IN_PLACE = {
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
}
"""Ways to place rows that leave each where it was where there are as many as before."""


def resize(view: View) -> Layout:
    """Other sizes, but the same number of images."""
    layout, rank = view.images(0), view.rank(0)
    axes = [placed(axis, rank) for axis in view.integers("axes") or range(rank)]
    if view.version < 11:
        view.common(1)
        scales, sizes = view.floats("scales") or view.constants(1), None
    else:
        view.common(1, 2)
        scales = view.constants(2) if view.given(2) else None
        sizes = view.values(3) if view.given(3) else None
    if not scales and sizes is None:
        raise Mixes("changes sizes by what is not known")
    if layout.axis in axes:
        at = axes.index(layout.axis)
        if view.text("coordinate_transformation_mode", "half_pixel") not in _IN_PLACE:
            raise Mixes("may move images")
        kept = (
            scales[at : at + 1] == (1.0,)
            if scales
            else sizes is not None
            and at < len(sizes)
            and sizes[at] == Size(layout.rows, 0)
            and view.text("keep_aspect_ratio_policy", "stretch") == "stretch"
        )
        if not kept:
            raise Mixes("makes more or fewer of the images")
    for axis, size in zip(axes, sizes or (), strict=False):
        if axis != layout.axis and (size is None or size.each):
            raise Mixes("depends on the number of images")
    return layout


def reverse_sequence(view: View) -> Layout:
    """Each row turned around, as far as its own length goes."""
    layout = view.along(0, view.integer("batch_axis", 1))
    view.match(layout.at(0), 1)
    return layout


RULES: Mapping[str, Rule] = {
    "CenterCropPad": center_crop_pad,
    "Concat": concat,
    "DepthToSpace": stacked(0),
    "Expand": expand,
    "Flatten": flatten,
    "Pad": pad,
    "Reshape": reshape,
    "Resize": resize,
    "ReverseSequence": reverse_sequence,
    "Slice": slices,
    "SpaceToDepth": stacked(0),
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": over_last(2),
    "Unsqueeze": unsqueeze,
    "Upsample": resize,
}
"""Where images are among the inputs."""

OF_CONSTANTS: Mapping[str, Callable[[View], Layout]] = {
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "Tile": tile,
}
"""What makes images' own rows of what is the same for all of them."""

"""What a rule sees of a node: its inputs' layouts and shapes, and its attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, cast

import onnx

from shoal.model.independence.layout import Along, Common, Extent, Layout
from shoal.model.independence.size import Values, fixed


class Mixes(Exception):  # noqa: N818 (a verdict, not an error; it never leaves this package)
    """What a rule raises where an image would not be treated as if it were alone, or might not."""


@dataclass(frozen=True)
class View:
    """A node, as a rule sees it. ``version`` is that of the operators of its domain; ``layouts``
    and ``shapes`` belong to its inputs (None: left out, or not known). ``elements`` gives those of
    a small weight."""

    node: onnx.NodeProto
    version: int
    layouts: Sequence[Layout | None]
    shapes: Sequence[Extent | None]
    elements: Callable[[str], tuple[float, ...] | None]

    @cached_property
    def _attributes(self) -> dict[str, onnx.AttributeProto]:
        return {attribute.name: attribute for attribute in self.node.attribute}

    # -- inputs

    def given(self, index: int) -> bool:
        """Whether there is an input ``index``."""
        return index < len(self.layouts) and self.layouts[index] is not None

    def shape(self, index: int) -> Extent:
        """The shape of an input."""
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise Mixes("takes a tensor whose shape is not known")
        layout = self.layouts[index]
        if isinstance(layout, Along):
            return shape.holding(layout)
        if isinstance(layout, Common) and not layout.counted:
            return Extent.of(shape.one)
        return shape

    def one(self, index: int) -> tuple[int, ...]:
        """The shape of an input for one image."""
        return self.shape(index).one

    def rank(self, index: int) -> int:
        """The number of axes of an input."""
        return len(self.one(index))

    def images(self, index: int) -> Along:
        """The layout of an input that holds images."""
        layout = self.layouts[index] if index < len(self.layouts) else None
        if not isinstance(layout, Along):
            raise Mixes("needs images where it is given none")
        return layout

    def along(self, index: int, *axes: int) -> Along:
        """The same, if the images lie along one of ``axes``."""
        layout = self.images(index)
        if layout.axis not in axes:
            raise Mixes(f"takes the images along axis {layout.axis} together")
        return layout

    def alike(self, *indices: int) -> Along:
        """Images stacked along the first axis of each of these inputs, those that are there."""
        layout = self.along(indices[0], 0)
        self.match(layout, *filter(self.given, indices[1:]))
        return layout

    def match(self, layout: Along, *indices: int) -> None:
        """Raise unless each of these inputs holds images in just this way."""
        for index in indices:
            if self.images(index) != layout:
                raise Mixes("meets images along different axes")

    def common(self, *indices: int) -> None:
        """Raise unless each of these inputs is left out, or the same for all images and any number
        of them."""
        for index in indices:
            layout = self.layouts[index] if index < len(self.layouts) else None
            if layout is None:
                continue
            if isinstance(layout, Common) and layout.counted:
                raise Mixes("depends on the number of images")
            if not isinstance(layout, Common):
                raise Mixes("takes a setting from the images")

    def common_from(self, index: int) -> None:
        """The same for this input and all that follow."""
        self.common(*range(index, len(self.layouts)))

    def single(self, *indices: int) -> None:
        """The same, and each holds one number at most: it cannot differ from row to row."""
        self.common(*indices)
        for index in indices:
            if self.given(index) and any(dim != 1 for dim in self.one(index)):
                raise Mixes("has a setting for each row")

    def settings_of(self, operand: int, *indices: int) -> None:
        """Raise unless the scale and the zero point of an operand are the same for all images."""
        if isinstance(self.layouts[operand], Along):
            self.single(*indices)
        self.common(*indices)

    def together(self, *indices: int, rank: int | None = None) -> Along:
        """Where the images lie when these inputs (those that are there) are broadcast against
        each other, in a tensor of ``rank`` axes (the most of any input)."""
        there = [index for index in indices if self.given(index)]
        rank = max([rank or 0, *(self.rank(index) for index in there)])
        found: Along | None = None
        for index in there:
            layout = self.layouts[index]
            if isinstance(layout, Along):
                placed = layout.at(layout.axis + rank - self.rank(index))
                if found is not None and found != placed:
                    raise Mixes("meets images along different axes")
                found = placed
        if found is None:
            raise Mixes("needs images where it is given none")
        for index in there:
            if isinstance(self.layouts[index], Along):
                continue
            self.common(index)
            axis = found.axis - (rank - self.rank(index))
            if axis >= 0 and self.one(index)[axis] != 1:
                raise Mixes(f"has a constant with {self.one(index)[axis]} rows along the images")
        return found

    def values(self, index: int) -> Values:
        """The elements of an input that does not depend on what is in the images."""
        layout = self.layouts[index] if index < len(self.layouts) else None
        if not isinstance(layout, Common) or layout.values is None:
            raise Mixes("takes sizes that are not known")
        return layout.values

    def numbers(self, index: int) -> tuple[int, ...]:
        """The elements of an input that depends on nothing."""
        found = [None if value is None else value.number for value in self.values(index)]
        if None in found:
            raise Mixes("takes a setting that depends on the number of images")
        return tuple(number for number in found if number is not None)

    def constants(self, index: int) -> tuple[float, ...] | None:
        """The elements of an input that is a small weight, whatever its type; else None."""
        given = self.node.input[index : index + 1]
        return self.elements(given[0]) if given and given[0] else None

    # -- attributes

    def has(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        found = self._attributes.get(name)
        return default if found is None else int(found.i)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of whole numbers; None where it is not there."""
        found = self._attributes.get(name)
        return None if found is None else tuple(found.ints)

    def floats(self, name: str) -> tuple[float, ...] | None:
        """An attribute that is a list of numbers; None where it is not there."""
        found = self._attributes.get(name)
        return None if found is None else tuple(found.floats)

    def filling(self) -> int | None:
        """The element that ``ConstantOfShape`` repeats, where it is a whole number."""
        found = self._attributes.get("value")
        if found is None:
            return None
        array = onnx.numpy_helper.to_array(found.t)
        return int(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iub" else None

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        found = self._attributes.get(name)
        return default if found is None else cast(bytes, found.s).decode(errors="replace")

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute ``axis``, counted from the front of the first input (or of ``rank``)."""
        return placed(self.integer("axis", default), self.rank(0) if rank is None else rank)

    def settings(self, name: str, index: int) -> tuple[int, ...] | None:
        """What newer versions take as the input ``index`` and older ones as the attribute
        ``name``; None where there is neither."""
        if self.given(index):
            return self.numbers(index)
        return self.integers(name)

    def sizes(self, name: str, index: int) -> Values:
        """What older versions take as the attribute ``name`` and newer ones as the input
        ``index``, where it may depend on the number of images."""
        found = self.integers(name)
        return self.values(index) if found is None else tuple(map(fixed, found))


Rule: TypeAlias = Callable[[View], Layout | Sequence[Layout | None]]
"""Where the images lie in the outputs of a node with images among its inputs: one for all of
them, or one for each (None: not known). Raises :class:`Mixes`."""


def named(rule: Rule, names: str) -> dict[str, Rule]:
    """One rule for several operators, with spaces between their names."""
    return dict.fromkeys(names.split(), rule)


def stacked(*alike: int) -> Rule:
    """The rule of operators that take images stacked along the first axis of the inputs ``alike``;
    the others are the same for all images."""

    def rule(view: View) -> Layout:
        view.common(*(index for index in range(len(view.layouts)) if index not in alike))
        return view.alike(*alike)

    return rule


def over_axis(default: int) -> Rule:
    """The rule of operators that take the elements along one axis together."""

    def rule(view: View) -> Layout:
        view.common_from(1)
        return apart(view.images(0), view.axis(default))

    return rule


def over_last(count: int) -> Rule:
    """The rule of operators that take the elements along the last axes, so many, together."""

    def rule(view: View) -> Layout:
        view.common_from(1)
        return view.along(0, *range(view.rank(0) - count))

    return rule


def placed(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise Mixes(f"names the axis {axis} of a tensor that has {rank}")
    return axis % rank if rank else 0


def apart(layout: Along, axis: int) -> Along:
    """``layout``, if the images do not lie along ``axis``."""
    if layout.axis == axis:
        raise Mixes("takes the images together")
    return layout

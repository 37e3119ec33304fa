"""Rules of operators that pick elements by index, or put some in their place."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.independence.layout import Along, Layout
from shoal.model.independence.view import Mixes, Rule, View, apart, placed


def gather(view: View) -> Layout:
    """Rows by index: of a table by the images' indices, or of the images by fixed ones."""
    if isinstance(view.layouts[0], Along):
        layout = view.images(0)
        axis = view.axis(0)
        view.common(1)
        apart(layout, axis)
        return layout if layout.axis < axis else layout.at(layout.axis - 1 + view.rank(1))
    view.common(0)
    layout = view.images(1)
    return layout.at(layout.axis + view.axis(0))


def gather_elements(view: View) -> Layout:
    """An element of its own row for each index."""
    layout = apart(view.images(0), view.axis(0))
    view.match(layout, 1)
    return layout


def gather_nd(view: View) -> Layout:
    """Pieces by indices that lie in the last axis of the second input."""
    batch = view.integer("batch_dims", 0)
    indices = view.images(1)
    if indices.axis >= view.rank(1) - 1:
        raise Mixes("takes the images for an index")
    if not isinstance(view.layouts[0], Along):
        view.common(0)
        if batch:
            raise Mixes("meets images with a constant of several rows")
        return indices
    if view.images(0) != indices or indices.axis >= batch:
        raise Mixes("may pick from other images")
    return indices


def scatter_elements(view: View) -> Layout:
    """Elements put into their own rows."""
    layout = apart(view.images(0), view.axis(0))
    view.match(layout, 1, 2)
    return layout


def scatter_nd(view: View) -> Layout:
    """Pieces, each with all images in it, put at fixed places."""
    layout = view.images(0)
    view.common(1)
    indexed = view.one(1)[-1]
    if layout.axis < indexed:
        raise Mixes("puts something in the place of some of the images")
    view.match(layout.at(view.rank(1) - 1 + layout.axis - indexed), 2)
    return layout


def one_hot(view: View) -> Layout:
    """A row of its own for each index."""
    layout = view.images(0)
    view.common(1, 2)
    new = placed(view.integer("axis", -1), view.rank(0) + 1)
    return layout.at(layout.axis + (new <= layout.axis))


RULES: Mapping[str, Rule] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}

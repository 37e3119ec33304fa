"""Types and shapes that only the engine knows: asked of it, and measured in a run.

Of a tensor nothing but its shape is asked, so that the engine lets go of it as in any other run:
fetching the tensors themselves took twenty times the memory of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import onnx

from shoal.model.dtypes import NUMPY_TO_ONNX, Array
from shoal.model.engine import Engine
from shoal.model.graph import Graph, whole


def types_of(graph: Graph, names: Sequence[str]) -> dict[str, int]:
    """The ONNX types of tensors, as the engine infers them; 0 for what NumPy does not have."""
    if not names:
        return {}
    session = Engine().load(*whole(graph, names), optimise=False, brief=True)
    return {name: NUMPY_TO_ONNX.get(session.dtypes[name] or "", 0) for name in names}


def shapes_of(
    graph: Graph,
    names: Sequence[str],
    counts: Sequence[int],
    feeds: Callable[[int], Mapping[str, Array]],
) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of tensors, in runs on ``feeds`` for each of these numbers of images."""
    if not names:
        return {}
    shape_of = {name: graph.fresh_name(f"shape of {name}") for name in names}
    asking = [onnx.helper.make_node("Shape", [name], [made]) for name, made in shape_of.items()]
    asked = replace(graph, nodes=[*graph.nodes, *asking])
    session = Engine().load(
        *whole(asked, shape_of.values()), optimise=False, brief=True, shapes_first=True
    )
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    for count in counts:
        made = session.run(feeds(count))
        for name in names:
            found[name].append(tuple(int(dim) for dim in made[shape_of[name]]))
    return found

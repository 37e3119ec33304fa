"""The normal form of a graph, in which it is cut: constants folded, what does nothing removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from shoal.errors import UnsupportedModelError
from shoal.model import limits
from shoal.model.affine import fold_affine
from shoal.model.dtypes import INT64, ONNX_TO_NUMPY, is_sized, size_bytes
from shoal.model.engine import Engine
from shoal.model.graph import Graph, attribute, elements, makes, operators, reads, whole
from shoal.model.independence import Common, Extent, Follower, Size, entering
from shoal.model.shapes import UNKNOWN, Kind, Shape, infer
from shoal.model.weights import Weight

DEQUANTISERS = operators("DequantizeLinear")
"""Not folded: the weights of a quantised network stay small, and the engine fuses these."""

_WIDENED_BYTES = 64 * 1024
"""Weights of at least this size that are only kept in a narrower type stay in it, too."""

_SIZED_BY_VALUES = operators("Range ConstantOfShape Expand Tile Resize Upsample")
"""Their results may be of any size, whatever they are computed from."""

_BOUNDED = operators("NonZero Unique Compress NonMaxSuppression")
"""Shapes of their outputs depend on data, but are no larger than rank times the inputs."""


ROUNDS = 32
"""How often all passes are made at most. Two to five are usual; a chain of shapes each of which
follows from the one before takes one for each, and is correct with its rest unfolded, too."""


def normalise(graph: Graph) -> None:
    """Bring ``graph`` into normal form, in place."""
    passes: Sequence[Callable[[Graph], bool]] = (
        drop_idle,
        fold_constants,
        fold_shapes,
        fold_targets,
        fold_affine,
    )
    name_outputs(graph)
    drop_dead(graph)
    for _ in range(ROUNDS):
        changed = False
        for rewrite in passes:
            if rewrite(graph):
                changed = True
                drop_dead(graph)
        if not changed:
            break
    check_modes(graph)
    check_constants(graph)


def fold(graph: Graph, limit_bytes: int) -> None:
    """Compute what follows from weights and from shapes that are known, and no more, in place.
    Tensors may have ``limit_bytes``."""
    while fold_constants(graph) or fold_shapes(graph, limit_bytes):
        pass


def name_outputs(graph: Graph) -> None:
    """Give each output that is a weight a node of its own, which makes it."""
    kept = {name: graph.fresh_name(name) for name in graph.outputs if name in graph.weights}
    for node in graph.nodes if kept else ():
        rename_reads(node, kept)
    for name, new in kept.items():
        graph.weights[new] = graph.weights.pop(name)
        graph.nodes.append(onnx.helper.make_node("Identity", [new], [name]))


def drop_dead(graph: Graph) -> None:
    """Remove the nodes and weights that no output needs."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(makes(node)):
            needed.update(reads(node))
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.weights = {name: weight for name, weight in graph.weights.items() if name in needed}


def drop_idle(graph: Graph) -> bool:
    """Remove nodes that hand their input on unchanged: identity, and dropout in evaluation."""
    given = {spec.name for spec in graph.inputs}
    outputs = set(graph.outputs)
    used = outputs.union(*(reads(node) for node in graph.nodes))
    kept: list[onnx.NodeProto] = []
    aliases: dict[str, str] = {}
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.nodes:
        rename_reads(node, aliases)
        idle = _is(node, "Identity") or (_is(node, "Dropout") and _mode(node, graph) is False)
        if not idle or not used.isdisjoint(makes(node)[1:]):
            kept.append(node)
            makers.update(dict.fromkeys(makes(node), node))
            continue
        source, made = node.input[0], node.output[0]
        if made not in outputs:
            aliases[made] = source
        elif source in outputs or source in given or source in graph.weights:
            kept.append(node)
        else:
            # The maker of the input makes the output instead, under the output's name.
            for index, name in enumerate(makers[source].output):
                if name == source:
                    makers[source].output[index] = made
            aliases[source] = made
            outputs.add(made)
            makers[made] = makers[source]
    for node in kept:  # those before a renamed output, too
        rename_reads(node, aliases)
    changed = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return changed


def _mode(node: onnx.NodeProto, graph: Graph) -> bool | None:
    """Whether a dropout is in training mode (refused); None if that is not known yet."""
    mode = node.input[2] if len(node.input) > 2 else ""
    if not mode:
        return False
    weight = graph.weights.get(mode)
    if weight is not None and any(weight.data):
        raise UnsupportedModelError(
            f"Dropout {node.name!r} is in training mode. Export the network in evaluation mode."
        )
    return None if weight is None else False


def check_modes(graph: Graph) -> None:
    """Refuse what may be in training mode: where that is computed from the inputs."""
    for node in graph.nodes:
        if _is(node, "Dropout") and _mode(node, graph) is None:
            raise UnsupportedModelError(
                f"Whether the dropout {node.name!r} is in training mode depends on the inputs. "
                "Export the network in evaluation mode."
            )


def _is(node: onnx.NodeProto, operator: str) -> bool:
    return bool(node.domain == "" and node.op_type == operator)


def fold_constants(graph: Graph) -> bool:
    """Compute the nodes that depend on weights only."""
    changed = False
    for _ in range(ROUNDS):
        wave = _of_known_size(_constant_nodes(graph), graph)
        if not wave:
            break
        graph.weights.update(_evaluate(wave, graph))
        done = {id(node) for node in wave}
        graph.nodes = [node for node in graph.nodes if id(node) not in done]
        drop_dead(graph)
        changed = True
    return changed


def _constant_nodes(graph: Graph) -> list[onnx.NodeProto]:
    """The nodes to fold, in order."""
    constant = {name for name, weight in graph.weights.items() if weight.data_type in ONNX_TO_NUMPY}
    outputs = set(graph.outputs)
    found = []
    for node in graph.nodes:
        if (
            node.op_type not in DEQUANTISERS
            and not _widens(node, graph)
            and not (_is(node, "Dropout") and _mode(node, graph) is None)
            and constant.issuperset(reads(node))
            and outputs.isdisjoint(makes(node))
        ):
            constant.update(makes(node))
            found.append(node)
    return found


def _widens(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether it brings a large weight into a wider type, as where weights are kept in 8 bits."""
    weight = graph.weights.get(node.input[0]) if node.op_type == "Cast" else None
    if weight is None or weight.nbytes < _WIDENED_BYTES or node.domain != "":
        return False
    to = attribute(node, "to", 0)
    return is_sized(to) and size_bytes(to, math.prod(weight.dims)) > weight.nbytes


def check_constants(graph: Graph) -> None:
    """Refuse constants that are left to the engine where these may be of any size."""
    fed = {spec.name for spec in graph.inputs}
    doubtful = []
    for node in graph.nodes:
        if not fed.isdisjoint(reads(node)):
            fed.update(makes(node))
        elif node.op_type in _SIZED_BY_VALUES:
            doubtful.append(node)
    kinds = infer(graph) if doubtful else {}
    for node in doubtful:
        shape = kinds.get(node.output[0], (0, None))[1]
        if shape is None or UNKNOWN in shape:
            raise _of_unknown_size(node)


def _of_unknown_size(node: onnx.NodeProto) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The size of the constant {node.output[0]!r} ({node.op_type}) cannot be told before it is "
        "computed. Save the network with its constants folded."
    )


def _of_known_size(nodes: Sequence[onnx.NodeProto], graph: Graph) -> list[onnx.NodeProto]:
    """Those of the constant ``nodes`` whose results' sizes are known before they are computed.

    Refuses what would be too large, or whose size cannot be known. Results of types that NumPy
    does not have stay uncomputed.
    """
    kinds = infer(_constants(nodes, graph), limits.TENSOR_BYTES) if nodes else {}
    total = sum(weight.nbytes for weight in graph.weights.values())
    later: set[str] = set()
    known = []
    for node in nodes:
        sizes = [_size(name, node, kinds, graph) for name in makes(node)]
        exotic = any(kinds.get(name, (1, None))[0] not in ONNX_TO_NUMPY for name in makes(node))
        if exotic or not later.isdisjoint(reads(node)):
            later.update(makes(node))
        elif None in sizes:
            if all(name in graph.weights for name in reads(node)):
                raise _of_unknown_size(node)
            later.update(makes(node))
        else:
            size = sum(size or 0 for size in sizes)
            total += size
            if size > limits.TENSOR_BYTES or total > limits.TOTAL_WEIGHT_BYTES:
                raise UnsupportedModelError(
                    f"The constant {node.output[0]!r} ({node.op_type}) would take {size} bytes, "
                    f"all weights {total}: more than Shoal allows."
                )
            known.append(node)
    return known


def _size(name: str, node: onnx.NodeProto, kinds: Mapping[str, Kind], graph: Graph) -> int | None:
    """Bytes that a constant result will take at most; None if that cannot be told yet."""
    data_type, shape = kinds.get(name, (0, None))
    if shape is not None and UNKNOWN not in shape and data_type in ONNX_TO_NUMPY:
        return size_bytes(data_type, elements(shape))
    if node.op_type in _BOUNDED and all(read in graph.weights for read in reads(node)):
        # At most an index of 8 bytes for each element and dimension.
        return 8 * limits.RANK * sum(graph.weights[read].nbytes for read in reads(node))
    return None


def _constants(nodes: Sequence[onnx.NodeProto], graph: Graph) -> Graph:
    needed = dict.fromkeys(name for node in nodes for name in reads(node))
    weights = {name: graph.weights[name] for name in needed if name in graph.weights}
    outputs = tuple(name for node in nodes for name in makes(node))
    return Graph("constants", graph.ir_version, graph.opsets, list(nodes), weights, (), outputs)


def _evaluate(nodes: Sequence[onnx.NodeProto], graph: Graph) -> dict[str, Weight]:
    """The results of constant nodes that other nodes read."""
    part = _constants(nodes, graph)
    done = {id(node) for node in nodes}
    needed = {name for node in graph.nodes if id(node) not in done for name in reads(node)}
    outputs = [name for name in part.outputs if name in needed]
    results = Engine().load(*whole(part, outputs), optimise=False, brief=True).run({})
    return {name: Weight.of(array) for name, array in results.items()}


def fold_shapes(graph: Graph, limit_bytes: int = limits.ACTIVATION_BYTES) -> bool:
    """Put the shapes that are known, and asked for, among the weights. Tensors may have
    ``limit_bytes``."""
    if not any(node.op_type in ("Shape", "Size") for node in graph.nodes):
        return False
    kinds = infer(graph, limit_bytes)
    kept = []
    for node in graph.nodes:
        value = _known_shape(node, kinds)
        if value is None or node.output[0] in graph.outputs:
            kept.append(node)
        else:
            graph.weights[node.output[0]] = Weight.of(value)
    changed = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return changed


def _known_shape(
    node: onnx.NodeProto, kinds: Mapping[str, Kind]
) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """What ``Shape`` or ``Size`` makes of a tensor whose shape is known; None for all else."""
    if node.domain != "" or node.op_type not in ("Shape", "Size"):
        return None
    shape = kinds.get(node.input[0], (0, None))[1]
    if shape is None or None in shape or UNKNOWN in shape:
        return None
    if node.op_type == "Size":
        return np.array(elements(shape), dtype=np.int64)
    start, end = attribute(node, "start", 0), attribute(node, "end", len(shape))
    return np.array(shape, dtype=np.int64)[start:end]


def fold_targets(graph: Graph) -> bool:
    """Replace the targets of ``Reshape`` where no more than the batch is free."""
    if not any(node.op_type == "Reshape" for node in graph.nodes):
        return False
    kinds = infer(graph)
    changed = False
    for node in graph.nodes:
        if _is(node, "Reshape"):
            changed |= _fold_reshape(node, kinds, graph)
    return _fold_counted(kinds, graph) or changed


def _fold_reshape(node: onnx.NodeProto, kinds: Mapping[str, Kind], graph: Graph) -> bool:
    before = kinds.get(node.input[0], (0, None))[1]
    copies_zeros = not attribute(node, "allowzero", 0)
    given = graph.weights.get(node.input[1])
    if given is None:
        after = kinds.get(node.output[0], (0, None))[1]
    else:
        after = tuple(
            before[axis] if dim == 0 and before is not None and axis < len(before) else dim
            for axis, dim in enumerate(given.array().tolist())
        )
    after = reshaped(before, after)
    if before is None or after is None or after.count(None) > 1:
        return False
    target = np.array(
        [
            dim
            if dim is not None
            else (0 if copies_zeros and before[axis : axis + 1] == (None,) else -1)
            for axis, dim in enumerate(after)
        ],
        dtype=np.int64,
    )
    if given is not None and np.array_equal(given.array(), target):
        return False
    name = graph.fresh_name(f"{node.output[0]}_shape")
    graph.weights[name] = Weight.of(target)
    node.input[1] = name
    return True


def _fold_counted(kinds: Mapping[str, Kind], graph: Graph) -> bool:
    """Make the targets of ``Reshape`` constant that are computed from the number of images in ways
    that inference does not follow (images times heads): else each cut has to carry them."""
    nodes = [
        node for node in graph.nodes if _is(node, "Reshape") and node.input[1] not in graph.weights
    ]
    if not nodes:
        return False
    extents = {
        name: Extent.of(shape)
        for name, (_, shape) in kinds.items()
        if shape is not None and UNKNOWN not in shape
    }
    follower = Follower(graph.opsets, graph.weights, extents)
    layouts = follower.follow(graph.nodes, entering(graph.inputs))
    changed = False
    for node in nodes:
        layout = layouts[node.input[1]]
        values = layout.values if isinstance(layout, Common) else None
        target = None if values is None else _constant_target(values)
        if target is not None:
            name = graph.fresh_name(f"{node.output[0]}_shape")
            graph.weights[name] = Weight.of(np.array(target, dtype=np.int64))
            node.input[1] = name
            changed = True
    return changed


def fold_sizes(graph: Graph) -> None:
    """Put among the weights, in place, what is computed from sizes that are fixed alone, where the
    number of images is not."""
    kinds = infer(graph)
    extents = {
        name: Extent.of(shape)
        for name, (_, shape) in kinds.items()
        if shape is not None and UNKNOWN not in shape
    }
    follower = Follower(graph.opsets, graph.weights, extents)
    layouts = follower.follow(graph.nodes, entering(graph.inputs))
    kept = []
    for node in graph.nodes:
        layout = layouts.get(node.output[0])
        values = layout.values if isinstance(layout, Common) else None
        kind, shape = kinds.get(node.output[0], (0, None))
        if (
            len(makes(node)) > 1
            or values is None
            or kind != INT64
            or shape is None
            or not {None, UNKNOWN}.isdisjoint(shape)
            or any(size is None or size.each for size in values)
        ):
            kept.append(node)
            continue
        sizes = [size.fixed for size in values if size is not None]
        graph.weights[node.output[0]] = Weight.of(np.array(sizes if shape else sizes[0], np.int64))
    graph.nodes = kept
    drop_dead(graph)


def _constant_target(values: Sequence[Size | None]) -> list[int] | None:
    """The same target without the number of images; None where there is none."""
    target = []
    for size in values:
        if size is None or (size.each and size.fixed):
            return None
        target.append(-1 if size.each else size.fixed)
    return target if target.count(-1) <= 1 and 0 not in target else None


def reshaped(before: Shape | None, after: Shape | None) -> Shape | None:
    """``after`` with its one unknown dimension, if it has one, found from ``before``, which has
    as many elements; None where that is not possible."""
    if before is None or after is None or UNKNOWN in before or 0 in (*before, *after):
        return None
    if UNKNOWN not in after:
        return after
    if after.count(UNKNOWN) > 1:
        return None
    rest = [dim for dim in after if dim != UNKNOWN]
    free = before.count(None) - rest.count(None)
    if free == 0 and elements(before) % elements(rest) == 0:
        found: int | None = elements(before) // elements(rest)
    elif free == 1 and elements(before) == elements(rest):
        found = None
    else:
        return None
    return tuple(found if dim == UNKNOWN else dim for dim in after)


def rename_reads(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Replace the tensors that a node reads."""
    for index, name in enumerate(node.input):
        while name in names:
            name = names[name]
        if name != node.input[index]:
            node.input[index] = name

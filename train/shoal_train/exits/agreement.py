"""How far an exit agrees with the one before it, told by a constant that its logits are shifted by.

The first exit is as sure as the largest share that it gives a class. Each later one is as sure as
the largest share that both it and the exit before give one class: the patience of PABEE (Zhou et
al. 2020, BERT Loses Patience) as a number, which changes little where shares do. So an exit
that contradicts the one before is at most half sure, and one that follows an unsure one is unsure.

Logits mean the same classes whatever is added to all of a row. Here that is chosen such that the
largest of ``logits / temperature`` is the logarithm of how sure the exit is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from onnx import helper

from shoal.model.confidence import softmax
from shoal.model.dtypes import NUMPY_TO_ONNX
from shoal.model.exits import ExitHead
from shoal.model.graph import Graph
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight
from shoal_train.exits.learn import Floats

LEAST = 1e-3
"""How sure an exit is at least: what a calibration table can tell. The logarithm of less would
amplify rounding."""


def agreeing(logits: Sequence[Floats], temperatures: Sequence[float]) -> list[Floats]:
    """The ``logits`` (images, classes) of one exit after the other, shifted."""
    shares = [
        softmax(rows.astype(np.float64) / each)
        for rows, each in zip(logits, temperatures, strict=True)
    ]
    both = [shares[0], *(np.minimum(*pair) for pair in pairwise(shares))]
    shifted = []
    for rows, given, each in zip(logits, both, temperatures, strict=True):
        sure = np.maximum(given.max(axis=1, keepdims=True), LEAST)
        moved = rows - rows.max(axis=1, keepdims=True) + each * np.log(sure)
        shifted.append(moved.astype(np.float32))
    return shifted


def agree(
    graph: Graph, logits: str, temperature: float, before: ExitHead | None, output: TensorSpec
) -> str:
    """Add to ``graph`` what shifts ``logits`` as :func:`agreeing` does, beside those of the exit
    ``before``; the name of what comes of it. All are of the type of ``output``."""

    def add(op: str, *inputs: str, **attributes: object) -> str:
        made = graph.fresh_name(f"exit_{op.lower()}")
        graph.nodes.append(helper.make_node(op, list(inputs), [made], **attributes))
        return made

    def constant(value: object) -> str:
        name = graph.fresh_name("exit_constant")
        graph.weights[name] = Weight.of(np.asarray(value))
        return name

    def single(name: str) -> str:
        if output.dtype == "float32":
            return name
        return add("Cast", name, to=NUMPY_TO_ONNX["float32"])

    def shares(name: str, temperature: float) -> str:
        warm = add("Div", single(name), constant(np.float32(temperature)))
        return add("Softmax", warm, axis=1)

    def largest(name: str) -> str:
        if dict(graph.opsets).get("", 1) < 18:
            return add("ReduceMax", name, axes=[1], keepdims=1)
        return add("ReduceMax", name, constant(np.array([1])), keepdims=1)

    given = shares(logits, temperature)
    if before is not None:
        given = add("Min", given, shares(before.tensor, before.temperature))
    sure = add("Log", add("Max", largest(given), constant(np.float32(LEAST))))
    own = single(logits)
    by = add("Sub", add("Mul", sure, constant(np.float32(temperature))), largest(own))
    shifted = add("Add", own, by)
    if output.dtype == "float32":
        return shifted
    return add("Cast", shifted, to=NUMPY_TO_ONNX[output.dtype])

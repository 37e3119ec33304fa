"""Twice as many nodes take about twice as many steps, and no step is repeated for ever.

Steps are calls of Python and of C, which are the same on every machine.
"""

import sys

import numpy as np
import pytest
from tests.model import nets
from tests.model.nets import node, tensor

import shoal.model as model
from shoal.model import limits
from shoal.model.network import Node
from shoal.model.profiles import count_events

FEW = 150
PER_DOUBLING = 2.3
"""What is quadratic takes four times as many."""

VECTOR, IMAGE = tensor("x", ["n", 4]), tensor("x", ["n", 4, 2, 2])


def chain(count, op="Neg"):
    return [node(op, f"t{k}" if k else "x", f"t{k + 1}") for k in range(count)]


def plain(count):
    return nets.model(chain(count), [VECTOR], [f"t{count}"])


def reversed_order(count):
    return nets.model(chain(count)[::-1], [VECTOR], [f"t{count}"])


def diamonds(count):
    """Each node reads the one before twice: two to the power of ``count`` ways lead back."""
    nodes = []
    for k in range(count):
        before = f"t{k}" if k else "x"
        nodes += [node("Tanh", before, f"u{k}"), node("Add", f"{before} u{k}", f"t{k + 1}")]
    return nets.model(nodes, [VECTOR], [f"t{count}"])


def many_outputs(count):
    return nets.model(chain(count), [VECTOR], [f"t{k + 1}" for k in range(count)])


def renamed_outputs(count):
    names = [node("Identity", f"t{k + 1}", f"y{k}") for k in range(count)]
    return nets.model([*chain(count), *names], [VECTOR], [f"y{k}" for k in range(count)])


def constant_outputs(count):
    weights = {f"w{k}": np.float32(k) for k in range(count)}
    return nets.model([node("Neg", "x", "y")], [VECTOR], ["y", *weights], weights)


def batch_norms(count):
    weights = {name: np.ones(4, np.float32) for name in "sbmv"}
    nodes = []
    for k in range(count):
        weights[f"w{k}"] = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
        nodes.append(node("Conv", f"{f't{k}' if k else 'x'} w{k}", f"c{k}"))
        nodes.append(node("BatchNormalization", f"c{k} s b m v", f"t{k + 1}"))
    return nets.model(nodes, [IMAGE], [f"t{count}"], weights)


def quantised_weights(count):
    weights = {"scale": np.float32(0.1), "zero": np.int8(0)}
    nodes = []
    for k in range(count):
        weights[f"w{k}"] = np.eye(4, dtype=np.int8)
        nodes.append(node("DequantizeLinear", f"w{k} scale zero", f"d{k}"))
        nodes.append(node("MatMul", f"{f't{k}' if k else 'x'} d{k}", f"t{k + 1}"))
    return nets.model(nodes, [VECTOR], [f"t{count}"], weights)


def shapes_of_shapes(count):
    """Each shape follows from the one before."""
    weights = {"first": np.array([0]), "rest": np.array([2, -1])}
    nodes = []
    for k in range(count):
        before = f"t{k}" if k else "x"
        nodes.append(node("Shape", before, f"s{k}"))
        nodes.append(node("Gather", f"s{k} first", f"b{k}", axis=0))
        nodes.append(node("Concat", f"b{k} rest", f"r{k}", axis=0))
        nodes.append(node("Reshape", f"{before} r{k}", f"t{k + 1}"))
    return nets.model(nodes, [VECTOR], [f"t{count}"], weights)


def steps(run):
    """How many functions are called."""
    count = 0

    def seen(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "make",
    [
        plain,
        reversed_order,
        diamonds,
        many_outputs,
        renamed_outputs,
        constant_outputs,
        batch_norms,
        quantised_weights,
        shapes_of_shapes,
    ],
)
def test_loading_is_linear_in_the_nodes(make, monkeypatch):
    monkeypatch.setattr(limits, "CROSSING", 16)  # or what crosses is quadratic until it is reached
    model.load(make(2))  # what is done once in a process
    one, two = (make(count) for count in (FEW, 2 * FEW))
    assert steps(lambda: model.load(two)) < PER_DOUBLING * steps(lambda: model.load(one))


def test_parts_are_made_in_steps_linear_in_the_nodes():
    def cut_everywhere(count):
        network = model.load(quantised_weights(count))
        return lambda: network.split(range(1, count), prove=False)

    one, two = cut_everywhere(FEW), cut_everywhere(2 * FEW)
    assert steps(two) < PER_DOUBLING * steps(one)


def event(name, op):
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 1000, "args": {"op_name": op}}


@pytest.mark.parametrize("op", ["Upsample", "Relu"])
def test_what_the_engine_did_is_counted_in_steps_linear_in_the_nodes(op):
    """Each node reads the two before it, and only the first is of a kind that the engine names (or
    none is): all ways lead back to it."""

    def counting(count):
        nodes = [Node("r", "Relu", ("x",), ("t0",)), Node("a", "Add", ("t0", "t0"), ("t1",))]
        nodes += [Node("a", "Add", (f"t{k - 1}", f"t{k - 2}"), (f"t{k}",)) for k in range(2, count)]
        events = [event(f"t{k}_0_nchwc", op) for k in range(count)]
        return lambda: count_events(events, nodes, skip=0)

    assert sum(counting(FEW)()) == FEW
    assert steps(counting(2 * FEW)) < PER_DOUBLING * steps(counting(FEW))

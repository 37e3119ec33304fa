"""Types and shapes that are asked of the engine."""

import os
import subprocess
import sys

import numpy as np
import onnx
from tests.model import nets
from tests.model.nets import node, random, tensor

from shoal.model.accept import accept
from shoal.model.measure import shapes_of, types_of

NODES = [
    node("CDist", "x w", "far", domain="com.microsoft", metric="euclidean"),
    node("Cast", "far", "whole", to=7),
    node("SequenceConstruct", "far far", "list"),
    node("ConcatFromSequence", "list", "y", axis=0),
]


def graph():
    data = nets.model(
        NODES,
        [tensor("x", ["n", 4])],
        ["y", "whole"],
        {"w": random(3, 4)},
        domains={"com.microsoft": 1},
    )
    return accept(onnx.load_from_string(data), None, {})


def test_the_engine_tells_types_that_inference_does_not_know():
    assert types_of(graph(), ["far", "whole", "list"]) == {"far": 1, "whole": 7, "list": 0}
    assert types_of(graph(), []) == {}


def test_shapes_are_told_for_each_number_of_images():
    found = shapes_of(
        graph(), ["far", "y"], (1, 3), lambda count: {"x": np.zeros((count, 4), np.float32)}
    )
    assert found == {"far": [(1, 3), (3, 3)], "y": [(2, 3), (6, 3)]}
    assert shapes_of(graph(), [], (1,), lambda count: {}) == {}


def test_a_tensor_may_have_the_name_that_its_shape_would_get():
    last = node("Neg", "a", "y")
    last.output[0] = "shape of a"
    nodes = [node("Relu", "x", "a"), last]
    data = nets.model(nodes, [tensor("x", [1, 4])], ["shape of a"])
    found = shapes_of(
        accept(onnx.load_from_string(data), None, {}),
        ["a", "shape of a"],
        (1,),
        lambda count: {"x": np.zeros((1, 4), np.float32)},
    )
    assert found == {"a": [(1, 4)], "shape of a": [(1, 4)]}


CHILD = """
import sys
import numpy as np, onnx, psutil, threading
from tests.model import nets
from tests.model.nets import node, tensor
from shoal.model.accept import accept
from shoal.model.measure import shapes_of

count, size = 100, 1_000_000  # tensors of 4 MB
nodes = [node("Relu", "x" if k == 0 else f"t{k - 1}", f"t{k}") for k in range(count)]
data = nets.model(nodes, [tensor("x", [1, size])], [f"t{count - 1}"])
graph = accept(onnx.load_from_string(data), None, {})
process, most, done = psutil.Process(), [0], threading.Event()

def watch():
    while not done.wait(0.001):
        most[0] = max(most[0], process.memory_info().rss)

before = process.memory_info().rss
threading.Thread(target=watch, daemon=True).start()
feeds = {"x": np.zeros((1, size), np.float32)}
shapes_of(graph, [f"t{k}" for k in range(count)], (1, 1, 1), lambda count: feeds)
done.set()
print((most[0] - before) // 1_000_000)
"""


def test_no_tensor_is_kept_for_its_shape():
    """A hundred of 4 MB: all of them would be 400 MB."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(child.stdout) < 150

"""Small networks that find things, as files of ONNX, and images for them."""

from __future__ import annotations

import numpy as np
from tests.model.nets import model, node, tensor

SIDE = 32
NONE = 0.02
"""The score of a cell without anything."""


def detector(noise: float = 0.02, width: int = 2) -> bytes:
    """Finds what is bright: a box of two classes in each cell of three grids. The score of a class
    is the mean of its colour in the cell. Convolutions that change little but by a ``noise`` come
    before that, with so many channels between them (``width``)."""
    random = np.random.default_rng(0)
    weights = {}
    for name, makes, reads in (("u", width, 3), ("v", 2, width)):
        near = np.zeros((makes, reads, 3, 3), np.float32)
        near[[0, 1], [0, 1], 1, 1] = 1
        weights[name] = near + noise * random.standard_normal(near.shape).astype(np.float32) / 3
    means, boxes = [], []
    for stride in (8, 16, 32):
        rows, columns = np.indices((SIDE, SIDE)) // stride
        cells = (rows * (SIDE // stride) + columns).reshape(-1)
        means.append(np.eye(cells.max() + 1)[cells] / stride**2)
        middle = (np.indices((SIDE // stride,) * 2)[::-1].reshape(2, -1) + 0.5) * stride
        boxes.append(np.concatenate([middle, np.full_like(middle, 0.9 * stride), 0 * middle]))
    weights["flat"] = np.int64([-1, 2, SIDE * SIDE])
    weights["means"] = np.concatenate(means, axis=1).astype(np.float32)
    weights["below"] = np.concatenate([np.zeros((4, 2)), np.eye(2)]).astype(np.float32)
    weights["boxes"] = np.concatenate(boxes, axis=1)[None].astype(np.float32)
    nodes = [
        node("Conv", "x u", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b v", "c", pads=[1, 1, 1, 1]),
        node("Reshape", "c flat", "d"),
        node("MatMul", "d means", "e"),
        node("MatMul", "below e", "f"),
        node("Add", "f boxes", "y"),
    ]
    return model(nodes, [tensor("x", ["n", 3, SIDE, SIDE])], ["y"], weights)


def pictures(count: int, *, empty: int = 0, seed: int = 0) -> np.ndarray:
    """Images with one to four bright cells each; the first ``empty`` show nothing."""
    random = np.random.default_rng(seed)
    images = np.full((count, 3, SIDE, SIDE), NONE, np.float32)
    images += 0.01 * random.random(images.shape, np.float32)
    for image in images[empty:]:
        for place in random.choice(16, random.integers(1, 5), replace=False):
            row, column = 8 * (place // 4), 8 * (place % 4)
            bright = random.uniform(0.4, 0.9)
            image[random.integers(2), row : row + 8, column : column + 8] = bright
    return images

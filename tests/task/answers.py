"""The same boxes in every layout that detectors give them in."""

from __future__ import annotations

import numpy as np

from shoal.model.spec import TensorSpec

SIDE = 64
IMAGE = (TensorSpec("image", "float32", (None, 3, SIDE, SIDE)),)
CELLS = 8 * 8 + 4 * 4 + 2 * 2
"""Of grids with strides 8, 16 and 32."""
ROOM = 18
"""Rows of layouts that are filled up."""
LABELS = 3


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name, dtype, shape)


def row(values):
    return {"y": np.asarray(values, np.float32)[None]}


def apart(corners, scores, labels):
    """Corners (n, 4), scores (n,), labels (n,) with how many there are; filled up with nonsense."""
    count = len(scores)
    boxes, score = np.full((1, ROOM, 4), 7.0, np.float32), np.full((1, ROOM), 0.9, np.float32)
    label = np.full((1, ROOM), 2, np.int64)
    boxes[0, :count] = np.reshape(corners, (-1, 4))
    score[0, :count], label[0, :count] = scores, labels
    return {
        "num_dets": np.array([[count]], np.int32),
        "boxes": boxes,
        "scores": score,
        "labels": label,
    }


def loose(corners, scores, labels):
    """As many rows as there are boxes, by shape and type alone."""
    return {
        "12": np.asarray(corners, np.float32).reshape(-1, 4),
        "13": np.asarray(labels, np.int64),
        "14": np.asarray(scores, np.float32),
    }


def tensorflow(corners, scores, labels):
    """All floats, told by name, y before x, with raw boxes besides."""
    swapped = np.asarray(corners, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
    filled = apart(swapped, scores, labels)
    return {
        "detection_boxes": filled["boxes"],
        "detection_classes": filled["labels"].astype(np.float32),
        "detection_scores": filled["scores"],
        "num_detections": np.array([len(scores)], np.float32),
        "raw_detection_boxes": np.ones((1, 90, 4), np.float32),
    }


def filled_rows(columns, width):
    rows = np.zeros((ROOM, width), np.float32)
    rows[: len(columns)] = np.reshape(columns, (-1, width))
    return rows


def six(corners, scores, labels):
    columns = [[*c, s, k] for c, s, k in zip(corners, scores, labels, strict=True)]
    return {"y": filled_rows(columns, 6)[None]}


def paddle(corners, scores, labels):
    columns = [[k, s, *c] for c, s, k in zip(corners, scores, labels, strict=True)]
    rows = filled_rows(columns, 6)
    rows[len(columns) :] = (2, 0.9, 1, 1, 2, 2)
    return {"y": rows, "count": np.array([len(columns)], np.int32)}


def caffe(corners, scores, labels):
    columns = [[0, k, s, *c] for c, s, k in zip(corners, scores, labels, strict=True)]
    rows = filled_rows(columns, 7)
    rows[len(columns) :] = (-1, 1, 0.9, 1, 1, 2, 2)
    return {"y": rows[None, None]}


def seven(corners, scores, labels):
    columns = [[0, *c, k, s] for c, s, k in zip(corners, scores, labels, strict=True)]
    return {"y": np.array(columns, np.float32).reshape(-1, 7)}


def _cells(corners, scores, labels, width):
    """Rows of centre, sides and scores of labels from ``width - LABELS``; the others hold noise
    that does not count, and each box twice: the second time with less score, a little aside."""
    random = np.random.default_rng(0)
    rows = random.uniform(0, 0.2, (CELLS, width))
    rows[:, :4] *= SIDE
    for place, (corner, score, label) in enumerate(zip(corners, scores, labels, strict=True)):
        low, high = np.array(corner[:2]), np.array(corner[2:])
        for twin in (0, 1):
            at = rows[2 * place + twin]
            at[:] = 0
            at[:4] = *((low + high) / 2), *(high - low)
            at[0] += 0.02 * twin * (high - low)[0]
            at[width - LABELS + int(label)] = score * (1 - 0.01 * twin)
    return rows.astype(np.float32)


def yolo_with_objectness(corners, scores, labels):
    rows = _cells(corners, scores, labels, 5 + LABELS)
    rows[:, 4] = 1.0
    return {"y": rows[None]}


def yolo(corners, scores, labels):
    return {"y": _cells(corners, scores, labels, 4 + LABELS).T[None]}


LAYOUTS = {
    "apart": (
        apart,
        [
            spec("num_dets", None, 1, dtype="int32"),
            spec("boxes", None, ROOM, 4),
            spec("scores", None, ROOM),
            spec("labels", None, ROOM, dtype="int64"),
        ],
    ),
    "loose": (loose, [spec("12", None, 4), spec("13", None, dtype="int64"), spec("14", None)]),
    "tensorflow": (
        tensorflow,
        [
            spec("detection_boxes", None, ROOM, 4),
            spec("detection_classes", None, ROOM),
            spec("detection_scores", None, ROOM),
            spec("num_detections", None),
            spec("raw_detection_boxes", None, 90, 4),
        ],
    ),
    "six": (six, [spec("y", None, ROOM, 6)]),
    "paddle": (paddle, [spec("y", None, 6), spec("count", None, dtype="int32")]),
    "caffe": (caffe, [spec("y", 1, 1, ROOM, 7)]),
    "seven": (seven, [spec("y", None, 7)]),
    "yolo with objectness": (yolo_with_objectness, [spec("y", None, CELLS, 5 + LABELS)]),
    "yolo": (yolo, [spec("y", None, 4 + LABELS, CELLS)]),
}

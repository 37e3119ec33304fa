"""A page of text to its lines: one network finds them, another reads them, each spread over three
workers, of which one is killed in the middle of the page. It needs both networks:

    pip install --no-deps rapidocr-onnxruntime==1.4.4
    shoal zoo get ppocr-det
    shoal zoo get ppocr-rec
    python examples/page.py [PHOTO]
"""

import sys
from typing import Any, NamedTuple

import numpy as np
import onnx
from PIL import Image, ImageDraw, ImageFont

import shoal
from shoal import zoo
from shoal.model.photo import prepared

TEXT = [
    "A network is cut into parts,",
    "each part runs on another device,",
    "and when one of them dies",
    "the others go on.",
    "Nobody who asked waits for ever.",
]
SIDE, HEIGHT, WIDTH = 640, 48, 640
SURE, GROWN = 0.3, 1.6
"""From which on a pixel is text; by how much lines are larger than what is found of them."""


class Box(NamedTuple):
    """What touches, in pixels: its last row and column belong to it."""

    top: int
    left: int
    bottom: int
    right: int


def drawn() -> Image.Image:
    """A page of our own."""
    page = Image.new("RGB", (800, 500), "white")
    font = ImageFont.load_default(34)
    for number, line in enumerate(TEXT):
        ImageDraw.Draw(page).text((60, 40 + 85 * number), line, "black", font)
    return page


def touching(mask: np.ndarray[Any, Any]) -> list[Box]:
    """The boxes around what touches in a mask: a run of pixels in a row touches those above it."""
    boxes: list[Box] = []
    parent: list[int] = []

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    above: list[tuple[int, int, int]] = []
    for row, line in enumerate(np.pad(mask, ((0, 0), (1, 1)))):
        runs = []
        for left, end in np.flatnonzero(np.diff(line.astype(np.int8))).reshape(-1, 2).tolist():
            runs.append((left, end, len(boxes)))
            parent.append(len(boxes))
            boxes.append(Box(row, left, row, end - 1))
            for first, last, other in above:
                if first < end and left < last:
                    parent[root(len(boxes) - 1)] = root(other)
        above = runs
    whole: dict[int, Box] = {}
    for k, box in enumerate(boxes):
        tops, lefts, bottoms, rights = zip(box, whole.get(root(k), box), strict=True)
        whole[root(k)] = Box(min(tops), min(lefts), max(bottoms), max(rights))
    return sorted(whole.values())


def lines(text: np.ndarray[Any, Any], page: Image.Image) -> list[Image.Image]:
    """The lines of a page from top to bottom, given how sure it is that each pixel is text."""
    scale = max(page.size) / SIDE
    found = []
    for box in touching(text > SURE):
        high, wide = box.bottom - box.top + 1, box.right - box.left + 1
        if min(high, wide) >= 4:
            more = GROWN * high * wide / (2 * (high + wide))
            sides = (box.left - more, box.top - more, box.right + more, box.bottom + more)
            found.append(page.crop(tuple(max(0, round(scale * side)) for side in sides)))
    return found


def letters(scores: np.ndarray[Any, Any], alphabet: list[str]) -> str:
    """The most likely letters, of which those that repeat, and none (0), are left out."""
    best = scores.argmax(axis=1)
    kept = (best > 0) & np.append(True, best[1:] != best[:-1])
    return "".join(alphabet[k - 1] for k in best[kept])


page = Image.open(sys.argv[1]).convert("RGB") if len(sys.argv) > 1 else drawn()
finder = shoal.load(zoo.path("ppocr-det"), shapes=(1, 3, SIDE, SIDE))
reader = shoal.load(zoo.path("ppocr-rec"), shapes=(1, 3, HEIGHT, WIDTH))
metadata = {each.key: each.value for each in onnx.load(zoo.path("ppocr-rec")).metadata_props}
alphabet = [*metadata["character"].split("\n"), " "]

with shoal.local_cluster(3) as cluster:
    finding = shoal.plan(finder, cluster, strategy="pipeline", stages=2)
    reading = shoal.plan(reader, cluster, strategy="replicas")
    with (
        shoal.deploy(finding, cluster, name="finder") as find,
        shoal.deploy(reading, cluster, name="reader") as read,
    ):
        image = {finder.inputs[0].name: prepared(page, finder.inputs[0], finder.preprocessing)}
        (text,) = find.infer(image).outputs.values()
        name = reader.inputs[0].name
        asked = (
            {name: prepared(line, reader.inputs[0], reader.preprocessing)}
            for line in lines(text[0, 0], page)
        )
        for number, answer in enumerate(read.infer_many(asked)):
            (scores,) = answer.outputs.values()
            print(letters(scores[0], alphabet))
            if number == 1:
                cluster.processes["worker-2"].kill()
        lost = find.stats().failed + read.stats().failed
print(f"{number + 1} lines, {lost} lost")

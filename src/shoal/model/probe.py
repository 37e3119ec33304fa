"""Made-up inputs, by the kind of the input: photos, sounds, indices into a table, masks.

A proof on inputs that a network was not made for proves little: on noise a detector finds nothing,
and what finds nothing is the same whatever its weights are. So what an input is for is read from
its shape, its type and what the network does with it first; where that leaves several kinds, they
are tried in turn until the outputs tell (:mod:`shoal.model.evidence`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import onnx

from shoal.model.dtypes import ONNX_TO_NUMPY, Array
from shoal.model.graph import Graph, attribute, makes, operators, reads
from shoal.model.spec import TensorSpec

Feeds: TypeAlias = dict[str, Array]
Random: TypeAlias = np.random.Generator
Draw: TypeAlias = Callable[[Random, tuple[int, ...]], Array]
"""Draws an array of a shape; what it becomes in a dtype is up to :func:`_as`."""

SPATIAL = 8
"""Sides from which on an array has places that neighbours share."""
SIGNAL = 256
"""Values in a row from which on they are taken for a sound."""
DIM = 0.25
"""Every third image is so faint: where the image is faint, biases weigh more than elsewhere."""
COARSE = 64
"""Side in which the shapes of a photo are drawn before they are enlarged."""
SHAPES = 40
WRITTEN = 24
"""Side from which on something is written across the shapes."""


def probe(inputs: Sequence[TensorSpec], seed: int = 0, batch: int = 1) -> Feeds:
    """Noise: the same for the same seed. Numbers that any network should take: normal floats, all
    of 8-bit integers, 0 and 1 for wider ones (they may be indices). For shapes and times; what
    outputs are to be trusted for is drawn by kind (:class:`Inventor`)."""
    random = np.random.default_rng(seed)
    return {spec.name: _noise(random, _shape(spec, batch), np.dtype(spec.dtype)) for spec in inputs}


class Use(msgspec.Struct, frozen=True):
    """What a network does with an input first: it looks it up in a table of ``entries``, or takes
    its values to lie in ``range`` (None: the graph does not say)."""

    entries: int | None = None
    range: tuple[float, float] | None = None


class Inventor:
    """Makes up inputs for a network. ``kinds`` names the ways in which it can, the likeliest
    first, in words for people."""

    def __init__(self, inputs: Sequence[TensorSpec], uses: Mapping[str, Use]) -> None:
        self._inputs = tuple(inputs)
        largest = max((side or 1 for spec in inputs for side in spec.shape), default=1)
        ways = {spec.name: _ways(spec, uses.get(spec.name, Use()), largest) for spec in inputs}
        count = max((len(found) for found in ways.values()), default=0)
        self._ways = [
            {name: found[min(index, len(found) - 1)] for name, found in ways.items()}
            for index in range(count)
        ]
        self.kinds: tuple[str, ...] = tuple(
            ", ".join(dict.fromkeys(kind for kind, _ in way.values())) for way in self._ways
        )

    def image(self, kind: int, seed: int) -> Feeds:
        """Inputs of ``kinds[kind]`` for one image; the same for the same seed."""
        made = {}
        for index, spec in enumerate(self._inputs):
            draw = self._ways[kind][spec.name][1]
            drawn = draw(np.random.default_rng((seed, index)), _shape(spec, 1))
            dtype = np.dtype(spec.dtype)
            made[spec.name] = _as(
                dtype, DIM * drawn if dtype.kind == "f" and seed % 3 == 2 else drawn
            )
        return made


def stacked(inputs: Sequence[TensorSpec], images: Sequence[Feeds]) -> Feeds:
    """Inputs for these images one after the other; where an input has no batch, the first's."""
    return {
        spec.name: np.concatenate([each[spec.name] for each in images], spec.shape.index(None))
        if None in spec.shape
        else images[0][spec.name]
        for spec in inputs
    }


def mirrored(feeds: Mapping[str, Array]) -> Feeds:
    """Other inputs of the same kind: each array reversed along its longest side but the first."""
    turned = {}
    for name, array in feeds.items():
        sides = array.shape[1:] if array.ndim > 1 else array.shape
        axis = array.ndim - len(sides) + int(np.argmax(sides)) if sides else None
        turned[name] = array if axis is None else np.asarray(np.flip(array, axis), order="C")
    return turned


# -- what a graph tells of its inputs

_PASSING = operators(
    "Cast Clip Concat Expand Flatten Identity Pad Reshape Slice Split Squeeze Tile Transpose "
    "Unsqueeze"
)
"""Operators whose outputs are values of their first input, elsewhere."""
_FAR = 200
"""Nodes behind an input that are looked at."""


def uses(graph: Graph) -> dict[str, Use]:
    """What the graph does with each of its inputs first."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        for name in reads(node):
            readers.setdefault(name, []).append(node)
    return {spec.name: _use(spec, graph, readers) for spec in graph.inputs}


def _use(spec: TensorSpec, graph: Graph, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> Use:
    entries: list[int] = []
    ranges: list[tuple[float, float]] = []
    waiting, seen = [spec.name], {spec.name}
    while waiting and len(seen) < _FAR:
        name = waiting.pop(0)
        for node in readers.get(name, ()):
            entries += _entries(node, name, graph)
            found = _range(node, name, graph)
            if found is not None:
                ranges.append(found)
            if node.op_type in _PASSING and name == node.input[0]:
                waiting += [made for made in node.output if made and made not in seen]
                seen.update(node.output)
    return Use(min(entries, default=None), ranges[0] if ranges else None)


def _entries(node: onnx.NodeProto, name: str, graph: Graph) -> list[int]:
    """The sizes of the tables in which ``node`` looks up what is in the tensor ``name``."""
    inputs = list(node.input)
    tables: list[tuple[str, int]] = []
    if node.op_type in ("Gather", "GatherElements") and len(inputs) > 1 and inputs[1] == name:
        tables = [(inputs[0], attribute(node, "axis", 0))]
    elif node.op_type == "OneHot" and inputs[0] == name:
        depth = _numbers(graph, node, 1)
        one = depth is not None and depth.size == 1 and depth.dtype.kind in "iu"
        return [int(depth.reshape(-1)[0])] if depth is not None and one and depth.max() > 0 else []
    elif node.op_type in ("EmbedLayerNormalization", "SkipEmbedLayerNormalization"):
        places = {0: 2, 1: 4, 8: 3}  # ids, segments, positions; and their tables
        tables = [(inputs[places[at]], 0) for at, read in enumerate(inputs)
                  if read == name and at in places and places[at] < len(inputs)]  # fmt: skip
    sizes = []
    for table, axis in tables:
        dims = _dims(table, graph)
        if -len(dims) <= axis < len(dims):
            sizes.append(dims[axis])
    return [size for size in sizes if size > 0]


def _dims(table: str, graph: Graph, steps: int = 4) -> tuple[int, ...]:
    """The shape of a weight, or of what few ``steps`` make of one, element by element: tables are
    kept in 8 bits. Empty where it is neither."""
    if table in graph.weights:
        return graph.weights[table].dims
    maker = next((node for node in graph.nodes if table in makes(node)), None)
    if maker is None or maker.op_type not in _WIDENING or not steps:
        return ()
    return max((_dims(name, graph, steps - 1) for name in reads(maker)), key=math.prod)


_WIDENING = operators("Add Cast DequantizeLinear Div Mul Sub")


def _range(node: onnx.NodeProto, name: str, graph: Graph) -> tuple[float, float] | None:
    """Where the values of the tensor ``name`` lie, if ``node`` tells: those that it rounds to 8
    bits from their steps, pixels from a mean or a divisor that only pixels have."""
    if node.input[0] != name:
        return None
    if node.op_type == "QuantizeLinear":
        scale, zero = _numbers(graph, node, 1), _numbers(graph, node, 2)
        if scale is None or scale.size != 1 or (zero is not None and zero.size != 1):
            return None
        step = float(scale.reshape(-1)[0])
        least = -128 if zero is not None and zero.dtype == np.int8 else 0
        offset = 0 if zero is None else int(zero.reshape(-1)[0])
        ends = ((least - offset) * step, (least + 255 - offset) * step)
        return ends if 1e-6 < step < 1e3 else None
    values = _numbers(graph, node, 1)
    if node.op_type == "BatchNormalization":
        values = _numbers(graph, node, 3)
    if values is None or not values.size or values.size > 4096 or values.dtype.kind != "f":
        return None
    if not np.isfinite(values).all():
        return None
    size = float(np.abs(values.astype(np.float64)).mean())
    pixels = (
        (node.op_type in ("Sub", "Add", "BatchNormalization") and 20 < size <= 255)
        or (node.op_type == "Div" and 20 < size <= 256)
        or (node.op_type == "Mul" and 1 / 256 <= size < 1 / 20)
    )
    return (0.0, 255.0) if pixels else None


def _numbers(graph: Graph, node: onnx.NodeProto, index: int) -> Array | None:
    weight = graph.weights.get(node.input[index]) if len(node.input) > index else None
    if weight is None or weight.nbytes > 1 << 20 or weight.data_type not in ONNX_TO_NUMPY:
        return None
    return weight.array()


# -- the ways to make up an input


def _ways(spec: TensorSpec, use: Use, largest: int) -> list[tuple[str, Draw]]:
    """Names and functions, the likeliest first. ``largest`` is the longest side of any input."""
    shape, dtype = _shape(spec, 1), np.dtype(spec.dtype)
    if 0 in shape:
        return [("nothing", lambda r, s: np.zeros(s))]
    if use.entries is not None and dtype.kind in "iu":
        entries = min(use.entries, int(np.iinfo(dtype).max))
        return [(f"indices below {entries}", lambda r, s: r.integers(0, entries, s))]
    if dtype.kind == "b":
        return [("masks", _mask), ("random bits", lambda r, s: r.integers(0, 2, s))]
    if dtype.kind == "f":
        return _float_ways(shape, use)
    if dtype.itemsize == 1:
        noise = ("all bytes", lambda r, s: _noise(r, s, dtype))
        low = float(np.iinfo(dtype).min)
        return [("photo-like bytes", _scaled(_photo, low, low + 255)), noise] if (
            _is_spatial(shape)
        ) else [noise]  # fmt: skip
    if math.prod(shape) == 1:
        return [
            ("ones", lambda r, s: np.ones(s, np.int64)),
            (f"lengths up to {largest}", lambda r, s: r.integers(1, largest + 1, s)),
            ("zeros and ones", lambda r, s: r.integers(0, 2, s)),
        ]
    ways: list[tuple[str, Draw]] = [
        ("masks", _mask),
        ("zeros and ones", lambda r, s: r.integers(0, 2, s)),
        ("numbers below 100", lambda r, s: r.integers(0, 100, s)),
    ]
    pixels = ("photo-like pixels", _scaled(_photo, 0, 255))
    return [*ways, pixels] if _is_spatial(shape) else ways


def _float_ways(shape: tuple[int, ...], use: Use) -> list[tuple[str, Draw]]:
    noise: tuple[str, Draw] = ("normal noise", lambda r, s: r.standard_normal(s))
    unit: tuple[str, Draw] = ("noise, 0 to 1", lambda r, s: r.random(s))
    if _is_spatial(shape):
        ways: list[tuple[str, Draw]] = [
            ("photo-like, -1 to 1", _scaled(_photo, -1, 1)),
            ("photo-like, 0 to 1", _scaled(_photo, 0, 1)),
            ("photo-like, 0 to 255", _scaled(_photo, 0, 255)),
            noise,
        ]
        if use.range is not None:
            low, high = use.range
            named = f"photo-like, {low:.3g} to {high:.3g}"
            ways = [(named, _scaled(_photo, low, high)), *(w for w in ways if w[0] != named)]
        return ways
    if max(shape, default=1) >= SIGNAL:
        return [("sound-like", _sound), noise, unit]
    if math.prod(shape) <= 4:
        return [("factors around 1", lambda r, s: 0.5 + r.random(s)), noise, unit]
    return [noise, unit, ("noise, 0 to 255", lambda r, s: 255 * r.random(s))]


def _shape(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return tuple(batch if side is None else side for side in spec.shape)


def _as(dtype: np.dtype[Any], drawn: Array) -> Array:
    if dtype.kind in "iu" and drawn.dtype.kind == "f":
        info = np.iinfo(dtype)
        drawn = np.clip(np.rint(drawn), info.min, info.max)
    return np.asarray(drawn.astype(dtype), order="C")


def _noise(random: Random, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max + 1, shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def _is_spatial(shape: tuple[int, ...]) -> bool:
    """Whether an array (its first side is the batch, if it has one) has two sides with places."""
    sides = sorted(shape[1:] if len(shape) > 2 else shape)
    return len(sides) >= 2 and sides[-2] >= SPATIAL


def _scaled(draw: Draw, low: float, high: float) -> Draw:
    """What ``draw`` gives from 0 to 1, from ``low`` to ``high``."""
    return lambda random, shape: low + (high - low) * draw(random, shape)


def _mask(random: Random, shape: tuple[int, ...]) -> Array:
    """Ones, then zeros, along the last side, as where something shorter is filled up."""
    if not shape:
        return np.ones(shape, np.int64)
    ends = random.integers(max(1, shape[-1] // 2), shape[-1] + 1, (*shape[:-1], 1))
    return (np.arange(shape[-1]) < ends).astype(np.int64)


def _sound(random: Random, shape: tuple[int, ...]) -> Array:
    """A few tones that swell and fade, and a little noise, from -1 to 1 along the longest side."""
    axis = int(np.argmax(shape))
    time = np.arange(shape[axis])
    wave = 0.02 * random.standard_normal(shape[axis])
    for _ in range(6):
        pitch = math.exp(random.uniform(math.log(0.003), math.log(0.4)))
        swell = np.sin(math.pi * time / shape[axis] * random.uniform(0.5, 4) + random.uniform(0, 3))
        wave += random.uniform(0.05, 0.3) * swell * np.sin(2 * math.pi * pitch * time)
    wave = np.clip(wave, -1, 1).reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return wave * (1 - 0.2 * random.random([1 if k == axis else n for k, n in enumerate(shape)]))


def _photo(random: Random, shape: tuple[int, ...]) -> Array:
    """Smooth shapes with edges over one another, in colours that go together, from 0 to 1 (a
    dead-leaves image: Lee, Mumford, Huang, Occlusion Models for Natural Images, IJCV 2001). Its
    two longest sides are its height and width, the others are colours."""
    sides = sorted(sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2])
    height, width = (shape[axis] for axis in sides)
    colours = math.prod(shape) // (height * width)
    canvas = np.zeros((min(height, COARSE), min(width, COARSE), colours), np.float32)
    down, across = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    down, across = down / canvas.shape[0], across / canvas.shape[1]
    canvas[:] = _colour(random, colours)
    for _ in range(SHAPES):
        # Small shapes are many and large ones few, as things at all distances look.
        radius = 0.05 / math.sqrt(random.uniform(0.005, 1))
        y, x = down - random.random(), across - random.random()
        turn, stretch = random.uniform(0, math.pi), random.uniform(0.5, 2)
        along = (math.cos(turn) * x + math.sin(turn) * y) / (radius * stretch)
        beside = (math.cos(turn) * y - math.sin(turn) * x) * stretch / radius
        inside = along**2 + beside**2 < 1 if random.random() < 0.6 else (
            np.maximum(np.abs(along), np.abs(beside)) < 1
        )  # fmt: skip
        shade = 1 + 0.3 * random.standard_normal() * along[inside]
        canvas[inside] = _colour(random, colours) * shade[:, None]
    image = _enlarged(_enlarged(canvas, height, 0), width, 1)
    image += 0.02 * random.standard_normal(image.shape, np.float32)
    np.clip(image, 0, 1, out=image)
    if min(height, width) >= WRITTEN:
        for _ in range(4):
            _write(random, image)
    rest = [axis for axis in range(len(shape)) if axis not in sides]
    image = image.reshape(height, width, *(shape[axis] for axis in rest))
    return image.transpose([[*sides, *rest].index(axis) for axis in range(len(shape))])


def _write(random: Random, image: Array) -> None:
    """A line of small signs on a plain ground, dark on light or light on dark: what stands on
    signs, screens and paper."""
    height, width, _ = image.shape
    size = int(random.integers(1, max(2, height // 80) + 1))
    signs = int(random.integers(4, max(5, width // (8 * size))))
    line = np.zeros((7, 4 * signs + 1), bool)
    for sign in range(signs):
        line[1:6, 4 * sign + 1 : 4 * sign + 4] = random.random((5, 3)) < 0.6
    line = line.repeat(size, 0).repeat(size, 1)
    top = int(random.integers(0, max(1, height - line.shape[0])))
    left = int(random.integers(0, max(1, width - line.shape[1])))
    place = image[top : top + line.shape[0], left : left + line.shape[1]]
    ink = random.choice((0.05, 0.95))
    place[:] = np.where(line[: place.shape[0], : place.shape[1], None], ink, 1 - ink)


def _colour(random: Random, colours: int) -> Array:
    """Mostly a grey, the more so the more alike the channels are."""
    found = random.random() + 0.2 * random.standard_normal(colours)
    return np.clip(found, 0, 1).astype(np.float32)


def _enlarged(image: Array, size: int, axis: int) -> Array:
    """``image`` with ``size`` places along ``axis``, linearly between those that it has."""
    places = np.linspace(0, image.shape[axis] - 1, size)
    below = np.minimum(places.astype(np.int64), max(image.shape[axis] - 2, 0))
    above = np.minimum(below + 1, image.shape[axis] - 1)
    share = (places - below).astype(np.float32)
    share = share.reshape([-1 if k == axis else 1 for k in range(image.ndim)])
    first, second = image.take(below, axis), image.take(above, axis)
    first += share * (second - first)
    return first

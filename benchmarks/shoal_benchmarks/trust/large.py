"""Networks of the size and shape of well-known ones, with random weights: what they compute is
nonsense, what they cost to load, cut and plan is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shoal_benchmarks.random_networks import Layers

if TYPE_CHECKING:
    import onnx

CLASSES = 80
BINS = 16
"""Values that a side of a box is distributed over."""
WIDTHS = (16, 32, 64, 128, 256)
DEPTHS = (2, 4, 4, 2)
NECK = 3
"""Channels of the stages as in YOLOv8's narrowest size; the bottlenecks in their blocks, and in
those of the neck, as in its middle and larger ones."""
SCALES = (8, 16, 32)
"""Pixels of the image for a cell of each of the three maps that boxes are found on."""

DIM, HEADS, BLOCKS, PATCH, SIDE = 384, 6, 14, 16, 224
"""A vision transformer of 101 MB: the small one of Touvron et al., Training data-efficient image
transformers, table 1, with 14 blocks instead of 12."""


def yolo_onnx(seed: int = 0, side: int = 640) -> onnx.ModelProto:
    """A detector in the shape of YOLOv8 for one image of ``side`` pixels, a multiple of 32:
    blocks whose parts are split and joined, two ways up and two down, three heads."""
    layers = _Detector(seed)
    maps = layers.neck(layers.backbone("images"))
    return _model("yolo", layers, layers.heads(maps, side), (3, side, side), "images")


def vit_onnx(seed: int = 0, blocks: int = BLOCKS) -> onnx.ModelProto:
    """A vision transformer as PyTorch exports it with a free batch, which it asks its input for."""
    layers = _Transformer(seed)
    tokens = layers.tokens("image")
    for _ in range(blocks):
        tokens = layers.add("Add", [tokens, layers.attention(layers.norm(tokens))])
        tokens = layers.add("Add", [tokens, layers.mlp(layers.norm(tokens))])
    first = layers.add("Gather", [layers.norm(tokens), layers.whole(0)], axis=1)
    logits = layers.add("Gemm", [first, *layers.dense(DIM, 1000)], transB=1)
    return _model("vit", layers, logits, (3, SIDE, SIDE), "image")


def chain_onnx(count: int) -> onnx.ModelProto:
    """So many small nodes, from the last to the first."""
    layers, tensor = Layers(0), "x"
    for index in range(count):
        tensor = layers.add("Tanh" if index % 2 else "Neg", [tensor])
    layers.nodes.reverse()
    return _model("chain", layers, tensor, (16,), "x")


class _Detector(Layers):
    def silu(self, tensor: str, given: int, made: int, size: int = 1, stride: int = 1) -> str:
        tensor = self.convolution(tensor, given, made, size, stride, then=None)
        return self.add("Mul", [tensor, self.add("Sigmoid", [tensor])])

    def block(self, tensor: str, given: int, made: int, depth: int, around: bool) -> str:
        """Half of the channels through ``depth`` bottlenecks; all that came up joined."""
        half = made // 2
        tensor = self.silu(tensor, given, made)
        left, right = f"{tensor}_left", f"{tensor}_right"
        self.split(tensor, [left, right], [half, half])
        found = [left, right]
        for _ in range(depth):
            tensor = self.silu(self.silu(found[-1], half, half, 3), half, half, 3)
            found.append(self.add("Add", [found[-1], tensor]) if around else tensor)
        return self.silu(self.add("Concat", found, axis=1), half * len(found), made)

    def split(self, tensor: str, names: list[str], sizes: list[int]) -> None:
        from onnx import helper

        sides = self.whole(sizes)
        self.nodes.append(helper.make_node("Split", [tensor, sides], names, tensor + "_s", axis=1))

    def whole(self, value: object) -> str:
        return self.constant(np.asarray(value, np.int64))

    def backbone(self, tensor: str) -> list[str]:
        tensor = self.silu(tensor, 3, WIDTHS[0], 3, 2)
        maps = []
        for given, made, depth in zip(WIDTHS, WIDTHS[1:], DEPTHS, strict=False):
            tensor = self.silu(tensor, given, made, 3, 2)
            tensor = self.block(tensor, made, made, depth, around=True)
            maps.append(tensor)
        maps[-1] = self.pyramid(tensor, WIDTHS[-1])
        return maps[1:]

    def pyramid(self, tensor: str, width: int) -> str:
        """The largest values of ever larger surroundings."""
        found = [self.silu(tensor, width, width // 2)]
        for _ in range(3):
            pool = {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2] * 4}
            found.append(self.add("MaxPool", [found[-1]], **pool))
        return self.silu(self.add("Concat", found, axis=1), width // 2 * 4, width)

    def neck(self, maps: list[str]) -> list[str]:
        fine, middle, coarse = maps
        _, _, low, mid, high = WIDTHS
        up = self.add("Concat", [self.twice(coarse), middle], axis=1)
        middle = self.block(up, high + mid, mid, NECK, around=False)
        up = self.add("Concat", [self.twice(middle), fine], axis=1)
        fine = self.block(up, mid + low, low, NECK, around=False)
        down = self.add("Concat", [self.silu(fine, low, low, 3, 2), middle], axis=1)
        middle = self.block(down, low + mid, mid, NECK, around=False)
        down = self.add("Concat", [self.silu(middle, mid, mid, 3, 2), coarse], axis=1)
        return [fine, middle, self.block(down, mid + high, high, NECK, around=False)]

    def twice(self, tensor: str) -> str:
        """Twice as high and wide."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", [tensor, "", scales], nearest_mode="floor", **how)

    def heads(self, maps: list[str], side: int) -> str:
        """Boxes and classes of all cells, as (batch, 4 + classes, cells)."""
        found = []
        for tensor, width in zip(maps, WIDTHS[2:], strict=True):
            box = self.silu(self.silu(tensor, width, 64, 3), 64, 64, 3)
            box = self.convolution(box, 64, 4 * BINS, 1, then=None)
            kind = self.silu(self.silu(tensor, width, 80, 3), 80, 80, 3)
            kind = self.convolution(kind, 80, CLASSES, 1, then=None)
            both = self.add("Concat", [box, kind], axis=1)
            found.append(self.add("Reshape", [both, self.whole([0, 4 * BINS + CLASSES, -1])]))
        joined = self.add("Concat", found, axis=2)
        self.split(joined, ["bins", "kinds"], [4 * BINS, CLASSES])
        cells = sum((side // scale) ** 2 for scale in SCALES)
        bins = self.add("Reshape", ["bins", self.whole([0, 4, BINS, cells])])
        bins = self.add("Softmax", [self.add("Transpose", [bins], perm=[0, 2, 1, 3])], axis=1)
        mean = self.constant(np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
        sides = self.add("Reshape", [self.add("Conv", [bins, mean]), self.whole([0, 4, cells])])
        self.split(sides, ["before", "after"], [2, 2])
        centres, scale = _cells(side)
        centre = self.constant(centres)
        low, high = self.add("Sub", [centre, "before"]), self.add("Add", [centre, "after"])
        half = self.constant(np.array(2, np.float32))
        middle = self.add("Div", [self.add("Add", [low, high]), half])
        box = self.add("Concat", [middle, self.add("Sub", [high, low])], axis=1)
        box = self.add("Mul", [box, self.constant(scale)])
        return self.add("Concat", [box, self.add("Sigmoid", ["kinds"])], axis=1)


class _Transformer(Layers):
    def whole(self, value: object) -> str:
        return self.constant(np.asarray(value, np.int64))

    def tokens(self, image: str) -> str:
        """Patches in a row behind a first token, and where each lies."""
        patch = self.weight((DIM, 3, PATCH, PATCH), 3 * PATCH**2)
        tensor = self.add("Conv", [image, patch], kernel_shape=[PATCH] * 2, strides=[PATCH] * 2)
        batch = self.add("Gather", [self.add("Shape", [image]), self.whole([0])], axis=0)
        shape = self.add("Concat", [batch, self.whole([DIM]), self.whole([-1])], axis=0)
        tensor = self.add("Reshape", [tensor, shape])
        tensor = self.add("Transpose", [tensor], perm=[0, 2, 1])
        shape = self.add("Concat", [batch, self.whole([1]), self.whole([DIM])], axis=0)
        first = self.add("Expand", [self.weight((1, 1, DIM), 1), shape])
        tensor = self.add("Concat", [first, tensor], axis=1)
        return self.add("Add", [tensor, self.weight((1, (SIDE // PATCH) ** 2 + 1, DIM), 1)])

    def norm(self, tensor: str) -> str:
        scale = self.constant(np.ones(DIM, np.float32))
        return self.add("LayerNormalization", [tensor, scale, self.weight((DIM,), 1, 0.1)], axis=-1)

    def linear(self, tensor: str, given: int, made: int) -> str:
        product = self.add("MatMul", [tensor, self.weight((given, made), given, 1.0)])
        return self.add("Add", [self.weight((made,), made, 0.1), product])

    def attention(self, tensor: str) -> str:
        each = [self.heads(self.linear(tensor, DIM, DIM)) for _ in range(3)]
        keys = self.add("Transpose", [each[1]], perm=[0, 1, 3, 2])
        scale = self.constant(np.array((DIM // HEADS) ** -0.5, np.float32))
        scores = self.add("Mul", [self.add("MatMul", [each[0], keys]), scale])
        mixed = self.add("MatMul", [self.add("Softmax", [scores], axis=-1), each[2]])
        mixed = self.add("Transpose", [mixed], perm=[0, 2, 1, 3])
        mixed = self.add("Reshape", [mixed, self.shape_like(tensor, [-1, DIM])])
        return self.linear(mixed, DIM, DIM)

    def heads(self, tensor: str) -> str:
        shape = self.shape_like(tensor, [-1, HEADS, DIM // HEADS])
        return self.add("Transpose", [self.add("Reshape", [tensor, shape])], perm=[0, 2, 1, 3])

    def shape_like(self, tensor: str, rest: list[int]) -> str:
        """The batch of a tensor, then ``rest``."""
        batch = self.add("Gather", [self.add("Shape", [tensor]), self.whole(0)], axis=0)
        batch = self.add("Unsqueeze", [batch, self.whole([0])])
        return self.add("Concat", [batch, self.whole(rest)], axis=0)

    def mlp(self, tensor: str) -> str:
        tensor = self.linear(tensor, DIM, 4 * DIM)
        root = self.constant(np.array(2**0.5, np.float32))
        bent = self.add("Erf", [self.add("Div", [tensor, root])])
        one, half = (self.constant(np.array(value, np.float32)) for value in (1.0, 0.5))
        bent = self.add("Mul", [tensor, self.add("Add", [bent, one])])
        return self.linear(self.add("Mul", [bent, half]), 4 * DIM, DIM)


def _cells(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The centres of all cells of the three maps in cells, and the size of a cell in pixels."""
    centres, sizes = [], []
    for scale in SCALES:
        count = side // scale
        y, x = np.mgrid[:count, :count] + 0.5
        centres.append(np.stack([x.reshape(-1), y.reshape(-1)]))
        sizes.append(np.full((1, count * count), scale))
    return np.concatenate(centres, 1)[None].astype(np.float32), np.concatenate(sizes, 1)[
        None
    ].astype(np.float32)


def _model(
    name: str, layers: Layers, made: str, image: tuple[int, ...], given: str
) -> onnx.ModelProto:
    from onnx import TensorProto, helper

    return helper.make_model(
        helper.make_graph(
            layers.nodes,
            name,
            [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["batch", *image])],
            [helper.make_tensor_value_info(made, TensorProto.FLOAT, None)],
            layers.weights,
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )

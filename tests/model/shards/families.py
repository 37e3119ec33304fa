"""Small networks, each with something that shards must get right."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from tests.model.nets import model, node, tensor

from shoal.model import load
from shoal.model.network import Network


class Net:
    """A network while it is written down; weights are drawn so that values keep their size."""

    def __init__(self, seed: int = 0, channels: int = 3, size: int = 9, batch: Any = "n") -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shapes = {"x": (channels, size, size)}
        self.batch = batch

    def add(self, op: str, reads: str, **attributes: Any) -> str:
        made = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(node(op, reads, made, **attributes))
        return made

    def weight(self, *shape: int, gain: float = 1.0) -> str:
        name = f"w{len(self.weights)}"
        drawn = self.random.standard_normal(shape)
        self.weights[name] = (gain * drawn).astype(np.float32)
        return name

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def conv(
        self, source: str, given: int, made: int, size: int = 3, *, groups: int = 1,
        bias: bool = True, **attributes: Any,
    ) -> str:  # fmt: skip
        read = given // groups
        names = [source, self.weight(made, read, size, size, gain=(2 / read / size**2) ** 0.5)]
        names += [self.weight(made, gain=0.3)] if bias else []
        grouped = {"group": groups} if groups > 1 else {}
        return self.add(
            "Conv", " ".join(names), kernel_shape=[size] * 2, pads=[size // 2] * 4,
            **grouped, **attributes,
        )  # fmt: skip

    def relu(self, source: str) -> str:
        return self.add("Relu", source)

    def clip(self, source: str) -> str:
        low, high = self.constant(np.float32(0)), self.constant(np.float32(6))
        return self.add("Clip", f"{source} {low} {high}")

    def gemm(self, source: str, given: int, made: int, *, across: bool = True) -> str:
        shape = (made, given) if across else (given, made)
        weight, bias = self.weight(*shape, gain=given**-0.5), self.weight(made, gain=0.3)
        return self.add("Gemm", f"{source} {weight} {bias}", transB=int(across))

    def top(self, source: str, channels: int) -> str:
        pooled = self.add("GlobalAveragePool", source)
        return self.gemm(self.add("Flatten", pooled), channels, 5)

    def load(self, *outputs: str, name: str = "net", opset: int = 17) -> Network:
        shape = [self.batch, *self.shapes["x"]]
        data = model(self.nodes, [tensor("x", shape)], outputs, self.weights, opset=opset)
        return load(data, name=name)


def plain() -> Network:
    """VGG: convolutions, pooling, Flatten between them and dense layers."""
    net = Net(size=8)
    t = net.relu(net.conv("x", 3, 12))
    t = net.relu(net.conv(t, 12, 10))
    t = net.add("MaxPool", t, kernel_shape=[2, 2], strides=[2, 2])
    t = net.relu(net.conv(t, 10, 14))
    t = net.add("MaxPool", t, kernel_shape=[2, 2], strides=[2, 2])
    t = net.relu(net.gemm(net.add("Flatten", t), 14 * 4, 24))
    return net.load(net.gemm(t, 24, 5, across=False))


def residual() -> Network:
    """Basic blocks, one with a convolution on its way around."""
    net = Net()
    x = net.relu(net.conv("x", 3, 8))
    for given, made, stride in ((8, 8, 1), (8, 12, 2)):
        t = net.relu(net.conv(x, given, made, strides=[stride] * 2))
        t = net.conv(t, made, made)
        around = net.conv(x, given, made, 1, strides=[stride] * 2) if made != given else x
        x = net.relu(net.add("Add", f"{t} {around}"))
    return net.load(net.top(x, 12))


def bottleneck() -> Network:
    """Three convolutions in a block: the first must be whole."""
    net = Net()
    x = net.relu(net.conv("x", 3, 16))
    t = net.relu(net.conv(x, 16, 6, 1))
    t = net.relu(net.conv(t, 6, 6))
    x = net.relu(net.add("Add", f"{x} {net.conv(t, 6, 16, 1, bias=False)}"))
    return net.load(net.top(x, 16))


def inverted() -> Network:
    """Depthwise convolutions, one that makes two channels of each, and no activation after."""
    net = Net()
    x = net.clip(net.conv("x", 3, 8))
    x = net.conv(net.clip(net.conv(x, 8, 16, groups=8)), 16, 6, 1)
    t = net.clip(net.conv(x, 6, 18, 1))
    t = net.clip(net.conv(t, 18, 18, groups=18))
    x = net.add("Add", f"{net.conv(t, 18, 6, 1)} {x}")
    return net.load(net.top(net.clip(net.conv(x, 6, 20, 1)), 20))


def grouped() -> Network:
    """Groups of channels go together, behind a width and at the beginning of one."""
    net = Net()
    x = net.relu(net.conv("x", 3, 12))
    x = net.relu(net.conv(x, 12, 8, groups=4))
    t = net.relu(net.conv(x, 8, 16, groups=2))
    t = net.relu(net.conv(t, 16, 24, groups=8))
    return net.load(net.top(net.relu(net.conv(t, 24, 10, 1)), 10))


def fire() -> Network:
    """Two widths side by side."""
    net = Net()
    x = net.relu(net.conv("x", 3, 6, 1))
    left = net.relu(net.conv(x, 6, 8, 1))
    right = net.relu(net.conv(x, 6, 10))
    x = net.relu(net.conv(net.add("Concat", f"{left} {right}", axis=1), 18, 7, 1))
    left, right = net.conv(x, 7, 4), net.conv(x, 7, 4)
    both = net.add("Concat", f"{left} {x} {right}", axis=-3)
    return net.load(net.top(net.relu(net.conv(both, 15, 6, groups=3)), 6))


def dense() -> Network:
    """What is dealt beside what all devices have."""
    net = Net()
    x, channels = net.conv("x", 3, 6), 6
    for _ in range(3):
        t = net.relu(net.conv(net.relu(x), channels, 8, 1))
        x = net.add("Concat", f"{x} {net.conv(t, 8, 4)}", axis=1)
        channels += 4
    t = net.conv(net.relu(x), channels, 9, 1)
    t = net.add("AveragePool", t, kernel_shape=[2, 2], strides=[2, 2])
    return net.load(net.top(net.relu(t), 9))


def gate() -> Network:
    """Squeeze and excitation: what the gate reads is whole, and what it closes is not."""
    net = Net()
    x = net.relu(net.conv("x", 3, 12))
    x = net.relu(net.conv(x, 12, 12, groups=12))
    t = net.relu(net.conv(net.add("GlobalAveragePool", x), 12, 4, 1))
    t = net.add("Sigmoid", net.conv(t, 4, 12, 1))
    x = net.conv(net.add("Mul", f"{x} {t}"), 12, 8, 1)
    return net.load(net.top(net.relu(x), 8))


def numbers() -> Network:
    """Numbers for each channel: slopes, constants, norms that cannot be folded; a resize."""
    net = Net()
    x = net.conv("x", 3, 8)
    x = net.add("PRelu", f"{x} {net.weight(8, 1, 1, gain=0.2)}")
    x = net.add("Mul", f"{x} {net.weight(1, 8, 1, 1)}")
    x = net.add("Sub", f"{net.weight(8, 1, 1)} {x}")
    x = net.add("Div", f"{x} {net.constant(np.float32(2))}")
    x = net.add("InstanceNormalization", f"{x} {net.weight(8)} {net.weight(8)}")
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    x = net.add("Resize", f"{x} _ {scales}", mode="nearest")
    norm = [net.weight(8), net.weight(8), net.weight(8), net.constant(np.ones(8, np.float32))]
    x = net.add("BatchNormalization", " ".join([net.relu(x), *norm]))
    pads = net.constant(np.array([0, 0, 1, 1, 0, 0, 0, 2]))
    x = net.add("ReduceMean", net.add("Pad", f"{x} {pads}"), axes=[2, -1], keepdims=0)
    x = net.add("MatMul", f"{x} {net.weight(8, 6)}")
    x = net.add("Add", f"{x} {net.weight(6)}")
    return net.load(net.add("Tanh", x))


def terms() -> Network:
    """What is done to sums before they are made."""
    net = Net(size=6)
    x = net.relu(net.conv("x", 3, 8))
    a = net.conv(net.relu(net.conv(x, 8, 6)), 6, 8)
    b = net.conv(net.relu(net.conv(x, 8, 5)), 5, 8, bias=False)
    scale = net.add("Sigmoid", net.add("GlobalAveragePool", x))
    a = net.add("Mul", f"{scale} {a}")
    t = net.add("Sum", f"{a} {b} {net.conv(x, 8, 8)} {net.weight(8, 1, 1)}")
    t = net.add("Sub", f"{t} {x}")
    t = net.add("Sub", f"{t} {net.weight(1, 8, 1, 1)}")
    t = net.add("Neg", net.add("Div", f"{t} {net.constant(np.float32(3))}"))
    t = net.add("AveragePool", net.add("Add", f"{t} {scale}"), kernel_shape=[3, 3], pads=[1] * 4)
    t = net.relu(net.add("Flatten", t))
    return net.load(net.gemm(t, 8 * 36, 5))


def turned() -> Network:
    """Transposed convolutions, and two branches of one width each that are multiplied."""
    net = Net(size=4)
    x = net.relu(net.conv("x", 3, 6))
    up = f"{net.weight(6, 8, 2, 2)} {net.weight(8)}"
    t = net.relu(net.add("ConvTranspose", f"{x} {up}", strides=[2, 2], kernel_shape=[2, 2]))
    up = f"{net.weight(8, 4, 3, 3)} {net.weight(4)}"
    t = net.add("ConvTranspose", f"{t} {up}", kernel_shape=[3, 3])
    t = net.add("Mul", f"{net.conv(net.relu(t), 4, 6)} {net.conv(t, 4, 6)}")
    return net.load(net.top(t, 6))


def fixed() -> Network:
    """A batch that is not free, and an old opset."""
    net = Net(batch=1)
    x = net.relu(net.conv("x", 3, 8))
    t = net.conv(net.relu(net.conv(x, 8, 6)), 6, 8, bias=False)
    x = net.relu(net.add("Add", f"{net.conv(x, 8, 8)} {t}"))
    return net.load(net.top(x, 8), opset=9)


FAMILIES: Sequence[Callable[[], Network]] = (
    plain, residual, bottleneck, inverted, grouped, fire, dense, gate, numbers, terms, turned,
    fixed,
)  # fmt: skip

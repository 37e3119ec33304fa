"""From a PyTorch module to steps whose channels are divided into groups."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from shoal.errors import InputError, UnsupportedModelError
from shoal_train.fluid.groups import Division, SubNetwork, split_channels
from shoal_train.fluid.layers import Axis, Mix, Norm
from shoal_train.fluid.steps import Constant, Flat, Joined, Local, Pair, Step, Value, Weighted


class Mean(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The mean over height and width, which stay as 1 where ``keep``."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=self.keep)


LOCAL_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid,
    nn.SiLU, nn.Dropout, nn.Dropout2d, nn.Identity, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, Mean,
)  # fmt: skip
LINEAR_MODULES = (
    nn.Dropout, nn.Dropout2d, nn.Identity, nn.AvgPool2d, nn.AdaptiveAvgPool2d, Mean
)  # fmt: skip
"""What may come after the last layer with weights: it may be done before a sum or after it."""

LOCAL_FUNCTIONS: Mapping[Any, Callable[..., nn.Module]] = {
    torch.relu: nn.ReLU, functional.relu: nn.ReLU, "relu": nn.ReLU, "relu_": nn.ReLU,
    torch.relu_: nn.ReLU, functional.relu6: nn.ReLU6,
    functional.leaky_relu: nn.LeakyReLU, functional.elu: nn.ELU,
    torch.sigmoid: nn.Sigmoid, functional.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid,
    torch.tanh: nn.Tanh, functional.tanh: nn.Tanh, "tanh": nn.Tanh,
    functional.hardswish: nn.Hardswish, functional.hardsigmoid: nn.Hardsigmoid,
    functional.silu: nn.SiLU,
    functional.max_pool2d: nn.MaxPool2d, torch.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    "contiguous": nn.Identity,
}  # fmt: skip
DROPOUTS = (functional.dropout, functional.dropout2d)
ARITHMETIC: Mapping[Any, str] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", "add": "add", "add_": "add",
    operator.mul: "multiply", operator.imul: "multiply", torch.mul: "multiply", "mul": "multiply",
    operator.sub: "subtract", torch.sub: "subtract", operator.truediv: "divide",
    torch.div: "divide",
}  # fmt: skip
FLATTENS = (torch.flatten, "flatten", "view", "reshape", torch.reshape)


@dataclass
class Traced:
    """What came out: steps in order, and the modules that they name."""

    image: Value
    steps: list[Step]
    output: Value
    layers: dict[str, Mix | Norm]
    buffers: dict[str, Tensor]


def trace(
    module: nn.Module, example: Tensor, division: Division, subs: Sequence[SubNetwork]
) -> Traced:
    """Divide the channels of ``module`` (one input, one output of logits) as ``division`` says.

    Raises ``UnsupportedModelError`` that names the first layer which cannot be divided.
    """
    module = copy.deepcopy(module).cpu().eval()
    example = example.detach().cpu()[:1]
    try:
        graph = fx.symbolic_trace(module)
    except Exception as error:  # whatever forward() does with a stand-in for its input
        raise UnsupportedModelError(
            f"{type(module).__name__} cannot be traced ({_first_line(error)}): its forward "
            "must not branch on what is in a tensor"
        ) from error
    try:
        # It prints what it raises as well.
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            ShapeProp(graph).propagate(example)
    except Exception as error:
        reason = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise InputError(
            f"{type(module).__name__} does not take the example of shape {tuple(example.shape)}: "
            f"{_first_line(reason)}"
        ) from error
    return _Tracer(graph, division, subs).run()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


class _Tracer:
    def __init__(
        self, graph: fx.GraphModule, division: Division, subs: Sequence[SubNetwork]
    ) -> None:
        self.graph, self.division = graph, division
        self.keys = tuple(dict.fromkeys(sub.affine for sub in subs))
        self.statistics = tuple(dict.fromkeys(sub.statistics for sub in subs))
        self.values: dict[fx.Node, Value] = {}
        self.steps: list[Step] = []
        self.layers: dict[str, Mix | Norm] = {}
        self.buffers: dict[str, Tensor] = {}

    def run(self) -> Traced:
        nodes = list(self.graph.graph.nodes)
        inputs = [node for node in nodes if node.op == "placeholder"]
        (output,) = (node.args[0] for node in nodes if node.op == "output")
        if len([node for node in inputs if node.users]) != 1 or not isinstance(output, fx.Node):
            raise UnsupportedModelError(
                "a fluid network has one input and one output tensor; this one has others"
            )
        image = next(node for node in inputs if node.users)
        self.values[image] = Value(image.name, _shape(image), None)
        last = _last_layers(nodes, self.graph)
        for node in nodes:
            if node.op not in ("placeholder", "output") and _is_tensor(node) and node.users:
                self._node(node, node in last)
        found = self.values.get(output)
        if found is None or found.axis is not None or len(found.shape) != 1:
            raise UnsupportedModelError(
                "the network must end with a layer with weights that gives the logits, "
                f"(batch, classes); it ends with {output.name}"
            )
        return Traced(self.values[image], self.steps, found, self.layers, self.buffers)

    def _node(self, node: fx.Node, last: bool) -> None:
        if node.op == "get_attr":
            return  # looked up where it is used
        if node.op == "call_module":
            layer = self.graph.get_submodule(str(node.target))
            self._module(node, str(node.target), layer, last)
            return
        target = node.target
        if target in ARITHMETIC:
            self._arithmetic(node, ARITHMETIC[target])
        elif target in (torch.cat, torch.concat, torch.concatenate):
            self._joined(node)
        elif target in FLATTENS:
            self._flat(node)
        elif target in (torch.mean, "mean"):
            self._mean(node)
        elif target in DROPOUTS:
            rest = dict(node.kwargs)
            p = rest.get("p", node.args[1] if len(node.args) > 1 else 0.5)
            self._local(node, nn.Dropout(p))
        elif target in LOCAL_FUNCTIONS:
            rest = {k: v for k, v in node.kwargs.items() if k not in ("input", "inplace")}
            self._local(node, LOCAL_FUNCTIONS[target](*node.args[1:], **rest))
        else:
            raise _cannot(node, f"{_named(target)} is not known here")

    def _module(self, node: fx.Node, name: str, layer: nn.Module, last: bool) -> None:
        if isinstance(layer, LOCAL_MODULES):
            layer = copy.deepcopy(layer)
            if hasattr(layer, "inplace"):
                layer.inplace = False
            self._local(node, layer)
        elif isinstance(layer, nn.Flatten):
            self._flat(node)
        elif isinstance(layer, nn.BatchNorm2d):
            self._norm(node, name, layer)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            self._mix(node, name, layer, last)
        else:
            raise _cannot(node, f"{type(layer).__name__} is not known here", name)

    def _mix(self, node: fx.Node, name: str, layer: nn.Conv2d | nn.Linear, last: bool) -> None:
        source = self._input(node)
        channels = layer.weight.shape[0]
        depthwise = False
        if isinstance(layer, nn.Conv2d):
            if layer.padding_mode != "zeros":
                raise _cannot(node, f"padding mode {layer.padding_mode!r}", name)
            if isinstance(layer.padding, str):
                layer.padding = _same(layer)
            depthwise = layer.groups > 1
            if depthwise and layer.groups != layer.in_channels:
                raise _cannot(
                    node,
                    f"it is a convolution in {layer.groups} groups; only depthwise and full ones "
                    "can be divided",
                    name,
                )
        elif len(source.shape) != 1:
            raise _cannot(node, "a dense layer needs a flat input: put Flatten before it", name)
        if depthwise and source.axis is None:
            raise _cannot(node, "a depthwise convolution of the image cannot be divided", name)
        rows: Axis | None
        if depthwise and source.axis is not None:
            many = channels // layer.in_channels
            rows = Axis(
                tuple(
                    tuple(one * many + more for one in group for more in range(many))
                    for group in source.axis.origin
                )
            )
        elif last:
            rows = None
        else:
            rows = _contiguous(split_channels(channels, self.division.widths, name))
        columns = None if depthwise else source.axis
        self._weighted(node, name, Mix(layer, rows, columns, self.keys, depthwise), rows)

    def _norm(self, node: fx.Node, name: str, layer: nn.BatchNorm2d) -> None:
        source = self._input(node)
        if source.axis is None:
            raise _cannot(node, "batch norm of what is not divided (the image, the logits)", name)
        norm = Norm(layer, source.axis, self.keys, self.statistics)
        self._weighted(node, name, norm, source.axis)

    def _weighted(self, node: fx.Node, name: str, layer: Mix | Norm, axis: Axis | None) -> None:
        if name in self.layers:
            raise _cannot(node, "it is used twice", name)
        self.layers[name] = layer
        source = self._input(node)
        self.steps.append(Weighted(self._value(node, axis), source, name))

    def _local(self, node: fx.Node, module: nn.Module) -> None:
        source = self._input(node)
        if getattr(module, "return_indices", False):
            raise _cannot(node, "pooling that returns indices")
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            _check_adaptive(node, source.shape, _shape(node))
        self.steps.append(Local(self._value(node, source.axis), source, module))

    def _mean(self, node: fx.Node) -> None:
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if not isinstance(dims, list | tuple) or sorted(d % 4 for d in dims) != [2, 3]:
            raise _cannot(node, "a mean over something else than height and width")
        keep = bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False))
        self._local(node, Mean(keep))

    def _flat(self, node: fx.Node) -> None:
        source = self._input(node)
        shape = _shape(node)
        if len(shape) != 1 or shape[0] != math.prod(source.shape):
            raise _cannot(node, f"it makes {shape} of {source.shape}; only flattening all is known")
        axis = source.axis
        if axis is not None:
            area = math.prod(source.shape[1:])
            axis = Axis(
                tuple(
                    tuple(one * area + place for one in group for place in range(area))
                    for group in axis.origin
                )
            )
        self.steps.append(Flat(self._value(node, axis), source))

    def _arithmetic(self, node: fx.Node, op: str) -> None:
        first, second = node.args[0], node.args[1] if len(node.args) > 1 else None
        if node.kwargs or second is None:
            raise _cannot(node, f"{_named(node.target)} with further arguments")
        one, two = (self._maybe(item) for item in (first, second))
        if one is not None and two is not None:
            if op not in ("add", "multiply"):
                raise _cannot(node, f"{op} of two tensors")
            if one.axis != two.axis or (op == "multiply" and one.axis is None):
                raise _cannot(
                    node, f"its two inputs are divided differently ({one.name}, {two.name})"
                )
            self.steps.append(Pair(self._value(node, one.axis), one, two, op))
            return
        if one is None and op in ("add", "multiply"):
            one, second = two, first
        if one is None or one.axis is not None:
            raise _cannot(node, f"{op} with a constant after the first layer")
        name = f"constant_{len(self.buffers)}"
        self.buffers[name] = self._constant(node, second)
        self.steps.append(Constant(self._value(node, None), one, op, name))

    def _joined(self, node: fx.Node) -> None:
        tensors = node.args[0] if node.args else node.kwargs.get("tensors", ())
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        rank = len(_shape(node)) + 1
        inputs = [self._maybe(item) for item in tensors]
        if dim % rank != 1:
            raise _cannot(node, "joining along something else than channels")
        found = [value for value in inputs if value is not None and value.axis is not None]
        if len(found) != len(inputs):
            raise _cannot(node, "joining what is divided with what is not")
        groups: list[tuple[int, ...]] = []
        for group in range(len(self.division.widths)):
            before, mine = 0, []
            for value in found:
                if value.axis is not None:
                    mine += [before + one for one in value.axis.origin[group]]
                before += value.shape[0]
            groups.append(tuple(mine))
        self.steps.append(Joined(self._value(node, Axis(tuple(groups))), tuple(found)))

    def _value(self, node: fx.Node, axis: Axis | None) -> Value:
        value = Value(node.name, _shape(node), axis)
        self.values[node] = value
        return value

    def _maybe(self, item: object) -> Value | None:
        return self.values.get(item) if isinstance(item, fx.Node) else None

    def _input(self, node: fx.Node) -> Value:
        first = node.args[0] if node.args else node.kwargs.get("input")
        value = self._maybe(first)
        if value is None:
            raise _cannot(node, "its input is not known")
        return value

    def _constant(self, node: fx.Node, item: object) -> Tensor:
        if isinstance(item, fx.Node) and item.op == "get_attr":
            *path, last = str(item.target).split(".")
            owner = self.graph.get_submodule(".".join(path))
            item = getattr(owner, last)
            if isinstance(item, nn.Parameter):
                raise _cannot(node, f"the parameter {last!r} is used outside of a layer")
        if isinstance(item, int | float):
            item = torch.tensor(float(item))
        if not isinstance(item, Tensor):
            raise _cannot(node, "an input is neither a tensor nor a fixed number")
        return item.detach().clone()


def _last_layers(nodes: Sequence[fx.Node], graph: fx.GraphModule) -> set[fx.Node]:
    """The layers with weights after which there is none: they give the logits."""
    after: dict[fx.Node, bool] = {}
    last = set()
    for node in reversed(nodes):
        after[node] = any(after[user] for user in node.users)
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            if not after[node]:
                last.add(node)
            after[node] = True
    for node in nodes:
        if node in last:
            _check_after(node, graph)
    return last


def _check_after(layer: fx.Node, graph: fx.GraphModule) -> None:
    """Nothing but sums may follow the last layer: its devices' results are added at the end."""
    waiting = list(layer.users)
    seen = set(waiting)
    for node in waiting:  # grows meanwhile
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        fine = (
            node.op == "output"
            or isinstance(module, (*LINEAR_MODULES, nn.Flatten))
            or node.target in (*FLATTENS, *DROPOUTS, torch.mean, "mean", "size", getattr)
            or node.target == functional.adaptive_avg_pool2d
            or not _is_tensor(node)
        )
        if not fine:
            raise _cannot(node, "it comes after the last layer with weights: end with the logits")
        waiting.extend(user for user in node.users if user not in seen)
        seen.update(node.users)


def _contiguous(sizes: Sequence[int]) -> Axis:
    ends = [sum(sizes[: group + 1]) for group in range(len(sizes))]
    return Axis(tuple(tuple(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)))


def _same(layer: nn.Conv2d) -> tuple[int, int]:
    """The padding that ``"same"`` or ``"valid"`` stands for."""
    if layer.padding == "valid":
        return (0, 0)
    total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if any(size % 2 for size in total):
        raise UnsupportedModelError("padding 'same' with an even kernel: use odd kernels")
    return total[0] // 2, total[1] // 2


def _check_adaptive(node: fx.Node, before: Sequence[int], after: Sequence[int]) -> None:
    if any(a % b for a, b in zip(before[1:], after[1:], strict=True)):
        raise _cannot(
            node, f"adaptive pooling from {tuple(before[1:])} to {tuple(after[1:])}: not a multiple"
        )


def _is_tensor(node: fx.Node) -> bool:
    return hasattr(node.meta.get("tensor_meta"), "shape")


def _shape(node: fx.Node) -> tuple[int, ...]:
    shape = node.meta["tensor_meta"].shape
    return tuple(int(size) for size in shape[1:])


def _named(target: object) -> str:
    return str(getattr(target, "__name__", target))


def _cannot(node: fx.Node, why: str, name: str | None = None) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"layer {name or node.name} cannot be made fluid: {why}. See docs/fluid-training.md for "
        "what can"
    )

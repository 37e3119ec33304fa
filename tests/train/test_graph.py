"""Networks as PyTorch modules: node by node, against the engine that serves them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from tests.model.shards import families

from shoal import zoo
from shoal.errors import UnsupportedModelError
from shoal.model.network import Network, load
from shoal.model.proof import difference
from shoal_train.graph import PartModule, onnx_bytes, with_weights

CHANCE = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return CHANCE.normal(0, 0.5, shape).astype(np.float32)


def network_of(op: str, given: dict[str, object] | None = None, *weights: object) -> Network:
    """One node that reads what is made of images."""
    net = families.Net(channels=4)
    constants = [net.constant(each) for each in weights]
    return net.load(net.add(op, " ".join([net.add("Sigmoid", "x"), *constants]), **(given or {})),
                    opset=18)  # fmt: skip


def module_of(network: Network) -> PartModule:
    (part,) = network.split((), prove=False)
    return PartModule(part)


def off(network: Network, module: PartModule, images: int = 3) -> float:
    """The largest difference of an output from what the engine gives, relative to the largest."""
    feeds = network.probe(5, images)
    with torch.inference_mode():
        (found,) = module({name: torch.from_numpy(array) for name, array in feeds.items()})
    (expected,) = network.run(feeds).values()
    assert found.shape == expected.shape
    return difference(expected, found.numpy())


CASES = {
    "conv": ("Conv", {"pads": [1, 1, 1, 1], "strides": [2, 1]}, weight(6, 4, 3, 3), weight(6)),
    "conv, uneven borders": ("Conv", {"pads": [0, 1, 2, 0]}, weight(6, 4, 3, 3)),
    "conv, groups": ("Conv", {"group": 2, "dilations": [2, 1]}, weight(6, 2, 2, 3)),
    "clip": ("Clip", {}, np.float32(0.4), np.float32(0.6)),
    "leaky": ("LeakyRelu", {"alpha": 0.3}),
    "hard sigmoid": ("HardSigmoid", {"alpha": 0.9, "beta": 0.2}),
    "hard swish": ("HardSwish", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "max pool": ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "max pool, up": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "average": ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 1, 1]}),
    "average, borders counted": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "global average": ("GlobalAveragePool", {}),
    "global max": ("GlobalMaxPool", {}),
    "mean": ("ReduceMean", {"keepdims": 0}, np.array([2, 3])),
    "flatten": ("Flatten", {"axis": 1}),
    "pad": ("Pad", {}, np.array([0, 0, 1, 2, 0, 1, 0, 1]), np.float32(0.7)),
    "transpose": ("Transpose", {"perm": [0, 2, 3, 1]}),
    "batch norm": ("BatchNormalization", {}, weight(4), weight(4), weight(4), np.abs(weight(4))),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_the_engine_does(name: str) -> None:
    network = network_of(*CASES[name])
    assert off(network, module_of(network)) < 1e-5


FAMILIES = ("plain", "bottleneck", "inverted", "grouped", "fire", "dense", "gate", "terms")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_computes_what_the_engine_does(name: str) -> None:
    network = getattr(families, name)()
    assert off(network, module_of(network)) < 1e-5


def test_the_network_that_ships_computes_what_the_engine_does() -> None:
    network = load(zoo.path("fashion-resnet"))
    module = module_of(network)
    assert off(network, module) < 1e-5
    assert with_weights(network, module.weights()).hash == network.hash


def test_weights_that_were_trained_are_in_the_file() -> None:
    network = load(zoo.path("fashion-resnet"))
    module = module_of(network)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 0.9
    assert off(network, module) > 1e-2
    content = onnx_bytes(with_weights(network, module.weights()).graph)
    found = load(content)
    assert off(found, module) < 1e-5
    assert [node.op for node in found.nodes] == [node.op for node in network.nodes]
    assert onnx.load_model_from_string(content).graph.input[0].name == "image"


def test_all_outputs_of_a_part_are_given_and_only_what_is_asked_for_is_trained() -> None:
    network = load(zoo.path("fashion-resnet"))
    graph = network.graph.copy()
    graph.outputs = (*graph.outputs, "relu_8")
    (part,) = Network(graph, "two outputs").split((), prove=False)
    module = PartModule(part, only=["dense.bias", "relu_8"])
    assert module.weights().keys() == {"dense.bias"}
    feeds = network.probe(1, 2)
    scores, inner = module({name: torch.from_numpy(array) for name, array in feeds.items()})
    expected = part.run(feeds)
    assert difference(expected["relu_8"], inner.detach().numpy()) < 1e-5
    scores.sum().backward()
    assert [p.grad is not None for p in module.parameters()] == [True]


def test_a_parameter_is_what_multiplies_or_is_a_bias() -> None:
    network = load(zoo.path("fashion-resnet"))
    names = set(module_of(network).weights())
    assert {"stem.0.weight", "dense.bias"} <= names
    assert "normalise.mean" not in names


def test_an_operator_that_is_not_there_is_named() -> None:
    network = network_of("Softsign")
    with pytest.raises(UnsupportedModelError, match="Softsign 'softsign1' is not trained through"):
        off(network, module_of(network))


def test_a_way_to_pad_that_is_not_there_is_named() -> None:
    network = network_of("Pad", {"mode": "edge"}, np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    with pytest.raises(UnsupportedModelError, match="Pad 'pad1' does not pad all axes"):
        off(network, module_of(network))

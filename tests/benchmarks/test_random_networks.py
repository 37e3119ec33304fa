"""Networks with random weights: they have the shapes that are known of them."""

import math

import numpy as np
import onnx
import pytest

from shoal.model.network import load
from shoal_benchmarks import random_networks
from shoal_benchmarks.random_networks import Layers, mobilenet_v2_onnx, model, of_photos


class Sizes(Layers):
    """Weights without values: VGG-16 has half a gigabyte of these."""

    def weight(self, shape, fan_in, gain=2.0):
        name = f"weight_{len(self.weights)}"
        self.weights.append(
            onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT)
        )
        return name


def sizes(name):
    layers = Sizes(0)
    return model(name, layers, getattr(random_networks, name)(layers, "image"))


# As published, with a scale and a shift for each channel of a batch norm. Folded, only the shift
# is left, as the bias: the channels that are normed are as many fewer.
@pytest.mark.parametrize(
    ("name", "published", "normed", "convolutions"),
    [
        ("resnet50", 25_557_032, 26_560, 53),
        ("vgg16", 138_357_544, 0, 13),
        ("mobilenet_v2", 3_504_872, 17_056, 52),
    ],
)
def test_a_network_has_as_many_parameters_as_published(name, published, normed, convolutions):
    graph = sizes(name).graph
    parameters = sum(math.prod(weight.dims) for weight in graph.initializer if weight.dims)
    assert parameters == published - normed
    assert sum(node.op_type == "Conv" for node in graph.node) == convolutions


@pytest.mark.parametrize(
    ("name", "last_maps"),
    [
        ("resnet50", (2048, 7, 7)),
        ("vgg16", (512, 7, 7)),
        ("mobilenet_v2", (1280, 7, 7)),
    ],
)
def test_shapes_fit_from_the_image_to_the_answer(name, last_maps):
    found = onnx.shape_inference.infer_shapes(
        of_photos(sizes(name)), check_type=True, strict_mode=True
    ).graph
    shapes = {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        for value in found.value_info
    }
    maps = [shape[1:] for shape in shapes.values() if len(shape) == 4 and shape[2] > 1]
    assert maps[-1] == last_maps
    (logits,) = found.output
    assert logits.type.tensor_type.shape.dim[1].dim_value == 1000


def test_mobilenet_loads_and_takes_photos_as_bytes():
    network = load(of_photos(mobilenet_v2_onnx()).SerializeToString())
    (spec,) = network.inputs
    assert (spec.dtype, spec.shape) == ("uint8", (None, 3, 224, 224))
    photo = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), np.uint8)
    (logits,) = network.run({spec.name: photo}).values()
    assert logits.shape == (1, 1000)
    assert np.isfinite(logits).all()
    assert logits.std() > 0

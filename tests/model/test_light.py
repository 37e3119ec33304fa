"""The networks with expected outputs that the onnx package ships, cut everywhere."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import shoal.model as model
from shoal.model import proof

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

EVERY_CUT_ALONE = ["shufflenet", "squeezenet"]
SAMPLED = {
    "bvlc_alexnet": 3,
    "densenet121": 8,
    "inception_v1": 6,
    "inception_v2": 6,
    "resnet50": 5,
    "vgg19": 1,
    "zfnet512": 2,
}


@pytest.fixture(scope="module", params=[*EVERY_CUT_ALONE, *SAMPLED])
def case(request):
    """The short name, the network, the input that the onnx package uses, and the output that it
    expects."""
    path = LIGHT / f"light_{request.param}.onnx"
    network = model.load(path)
    (spec,) = network.inputs
    size = int(np.prod(spec.shape))
    image = (np.arange(size).reshape(spec.shape) / size).astype(np.float32)
    proto = onnx.TensorProto.FromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
    return request.param, network, {spec.name: image}, numpy_helper.to_array(proto)


def test_the_whole_gives_the_expected_output(case):
    _, network, feeds, expected = case
    (found,) = network.run(feeds).values()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_cut_at_every_cut_at_once_it_gives_the_expected_output(case):
    _, network, feeds, expected = case
    tensors = feeds
    for part in network.split(network.cuts, prove=False):
        tensors = part.run_on(part.session(), {name: tensors[name] for name in part.inputs})
    (found,) = tensors.values()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_cut_at_one_place_it_gives_the_expected_output(case):
    name, network, feeds, expected = case
    cuts = network.cuts
    if name in SAMPLED:
        random = np.random.default_rng(7)
        cuts = [cuts[index] for index in random.choice(len(cuts), SAMPLED[name], replace=False)]
    for cut in cuts:
        first, second = network.split([cut], prove=False)
        between = first.run_on(first.session(), feeds)
        assert (
            proof.difference(
                expected, next(iter(second.run_on(second.session(), between).values()))
            )
            <= 1e-3
        ), cut


def test_everything_constant_is_folded_and_every_place_is_a_cut(case):
    _, network, _, _ = case
    operators = {node.op for node in network.nodes}
    assert not operators & {"ConstantOfShape", "Dropout", "Identity", "Unsqueeze", "Constant"}
    assert [cut.at for cut in network.cuts] == list(range(1, len(network.nodes)))
    assert any(len(cut.tensors) == 1 for cut in network.cuts)

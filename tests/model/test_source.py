"""Where networks come from: files, bytes, weights in other files, PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import (
    InputError,
    MissingExtraError,
    ModelFileError,
    UnsupportedModelError,
    UsageError,
)
from shoal.model import limits

GOOD = nets.residual()


def save_with_weights_beside(folder, location="weights.bin"):
    """The residual network with all its weights in one other file."""
    proto = onnx.ModelProto.FromString(GOOD)
    path = folder / "net.onnx"
    convert_model_to_external_data(proto, location=location, size_threshold=0)
    onnx.save(proto, path)
    return path


def change_location(path, **entries):
    proto = onnx.ModelProto.FromString(path.read_bytes())
    for weight in proto.graph.initializer:
        for entry in weight.external_data:
            if entry.key in entries:
                entry.value = entries[entry.key]
    path.write_bytes(proto.SerializeToString())


def refused(path, reason):
    with pytest.raises(ModelFileError, match=reason):
        model.load(path)


def test_a_file_and_its_bytes_are_the_same_network(tmp_path):
    path = tmp_path / "photo.onnx"
    path.write_bytes(GOOD)
    from_file = model.load(path)
    assert from_file.hash == model.load(str(path)).hash == model.load(GOOD).hash
    assert from_file.name == "photo"
    assert model.load(path, name="mine").name == "mine"
    assert model.load(GOOD).name == "small"


def test_weights_are_found_beside_the_file(tmp_path):
    path = save_with_weights_beside(tmp_path)
    assert path.stat().st_size < 1000
    network = model.load(path)
    assert network.hash == model.load(GOOD).hash


def test_weights_in_a_folder_below_are_found(tmp_path):
    path = save_with_weights_beside(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "weights.bin").rename(tmp_path / "data" / "w")
    change_location(path, location="data/w")
    assert model.load(path).hash == model.load(GOOD).hash


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/passwd", "data/../../weights.bin", "", ".", "a\0b", "x" * 9999],
)
def test_weights_elsewhere_are_refused(tmp_path, location):
    folder = tmp_path / "net"
    folder.mkdir()
    path = save_with_weights_beside(folder)
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    change_location(path, location=location)
    refused(path, "outside its own folder|cannot be read|missing")


def test_a_link_that_leads_elsewhere_is_refused(tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    path = save_with_weights_beside(folder)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
    refused(path, "outside its own folder")


def test_missing_short_and_misplaced_weights_are_refused(tmp_path):
    path = save_with_weights_beside(tmp_path)
    weights = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(weights[: len(weights) // 2])
    refused(path, "does not belong to this model")
    (tmp_path / "weights.bin").write_bytes(b"")
    refused(path, "does not belong to this model")
    (tmp_path / "weights.bin").unlink()
    refused(path, "missing")
    (tmp_path / "weights.bin").write_bytes(weights)
    change_location(path, offset="-4096")
    refused(path, "does not belong")
    change_location(path, offset="many")
    refused(path, "damaged place")


def test_bytes_cannot_name_other_files(tmp_path):
    path = save_with_weights_beside(tmp_path)
    refused(path.read_bytes(), "load the model from its file")


def test_missing_files_folders_and_sizes_over_the_limit_are_refused(tmp_path, monkeypatch):
    refused(tmp_path / "none.onnx", "cannot be read")
    refused(tmp_path, "not a file")
    path = tmp_path / "net.onnx"
    path.write_bytes(GOOD)
    monkeypatch.setattr(limits, "FILE_BYTES", len(GOOD) - 1)
    refused(path, "at most")
    refused(GOOD, "more than")
    monkeypatch.setattr(limits, "FILE_BYTES", len(GOOD))
    monkeypatch.setattr(limits, "TOTAL_WEIGHT_BYTES", 1000)
    refused(path, "weights take more than 1000 bytes")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_rights_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(GOOD)
    path.chmod(0)
    refused(path, "cannot be read")


def test_other_things_are_refused():
    with pytest.raises(UsageError, match="not from list"):
        model.load([1, 2, 3])


def test_weights_of_every_kind_of_storage_are_read():
    """Typed fields instead of raw bytes, as old exporters write them."""
    proto = onnx.ModelProto.FromString(GOOD)
    for weight in proto.graph.initializer:
        values = np.frombuffer(weight.raw_data, np.float32)
        weight.ClearField("raw_data")
        weight.float_data.extend(values.tolist())
    assert model.load(proto.SerializeToString()).hash == model.load(GOOD).hash


# PyTorch


@pytest.mark.parametrize("package", ["torch", "onnxscript"])
def test_without_its_packages_the_extra_is_named(monkeypatch, package):
    torch = pytest.importorskip("torch")
    module = torch.nn.ReLU()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"shoal\[torch\]"):
        model.load(module, example=np.zeros((1, 4), np.float32))


def test_modules_are_exported_with_a_free_batch_and_left_as_they_were():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 4 * 4, 5),
    )
    module.train()
    module[1].eval()
    network = model.load(module, example=np.zeros((1, 3, 6, 6), np.float32), name="mine")
    assert module.training
    assert not module[1].training
    assert network.inputs[0].shape == (None, 3, 6, 6)
    assert {node.op for node in network.nodes} == {"Conv", "Relu", "Reshape", "Gemm"}
    feeds = network.probe(batch=3)
    expected = module.eval()(torch.from_numpy(next(iter(feeds.values())))).detach().numpy()
    np.testing.assert_allclose(next(iter(network.run(feeds).values())), expected, atol=1e-5)


def test_modules_that_fix_the_batch_are_exported_with_it():
    torch = pytest.importorskip("torch")

    class Stubborn(torch.nn.Module):
        def forward(self, x):
            return torch.relu(x).reshape(1, 12) + 1

    network = model.load(Stubborn(), example=torch.zeros(1, 3, 4))
    assert network.inputs[0].shape == (1, 3, 4)


def test_modules_with_several_inputs_are_exported():
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):
        def forward(self, left, right):
            return left * 2 + right, left.sum(dim=1)

    network = model.load(Two(), example=(torch.zeros(1, 4), torch.zeros(1, 4)))
    assert [spec.shape for spec in network.inputs] == [(None, 4), (None, 4)]
    assert [spec.shape for spec in network.outputs] == [(None, 4), (None,)]


def test_modules_without_an_example_or_that_cannot_be_exported_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match="example"):
        model.load(torch.nn.ReLU())

    class Choosy(torch.nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(UnsupportedModelError, match="cannot export"):
        model.load(Choosy(), example=torch.zeros(1, 4))


def with_external_constant(op, location):
    proto = onnx.TensorProto(name="v", data_type=1, dims=[4], data_location=1)
    proto.external_data.add(key="location", value=location)
    made = node(op, "" if op == "Constant" else "shape", "c", value=proto)
    nodes = [made, node("Add", "x c", "y")]
    return nets.model(nodes, [tensor("x", [4])], ["y"], {"shape": np.array([4])})


def test_what_a_constant_holds_may_lie_in_another_file_like_a_weight(tmp_path):
    path = tmp_path / "net.onnx"
    (tmp_path / "v").write_bytes(np.float32([1, 2, 3, 4]).tobytes())
    path.write_bytes(with_external_constant("Constant", "v"))
    network = model.load(path)
    found = network.run({"x": np.zeros(4, np.float32)})["y"]
    np.testing.assert_array_equal(found, [1, 2, 3, 4])
    path.write_bytes(with_external_constant("Constant", "/etc/passwd"))
    refused(path, "outside its own folder")


def test_any_other_external_attribute_is_refused():
    with pytest.raises(UnsupportedModelError, match="another file"):
        model.load(with_external_constant("ConstantOfShape", "v"))


# Caches: files that are links to blobs


def cached(folder, name="model.onnx", below="onnx"):
    """A network as a cache of model hubs keeps it: links into a folder of blobs."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "1234" / below
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    path = save_with_weights_beside(folder, "model.onnx_data")
    path.rename(blobs / "aaaa")
    (folder / "model.onnx_data").rename(blobs / "bbbb")
    up = "/".join([".."] * (2 + len(below.split("/"))))
    (snapshot / name).symlink_to(f"{up}/blobs/aaaa")
    (snapshot / "model.onnx_data").symlink_to(f"{up}/blobs/bbbb")
    return snapshot / name


@pytest.mark.parametrize("below", ["onnx", "a/b"])
def test_a_model_in_a_cache_finds_its_weights_among_the_blobs(tmp_path, below):
    network = model.load(cached(tmp_path, below=below))
    assert network.hash == model.load(GOOD).hash
    assert network.name == "model"


def test_a_link_to_a_model_finds_the_weights_beside_the_model(tmp_path):
    (tmp_path / "real").mkdir()
    path = save_with_weights_beside(tmp_path / "real")
    link = tmp_path / "here.onnx"
    link.symlink_to(path)
    assert model.load(link).hash == model.load(GOOD).hash


def test_links_that_lead_out_of_both_folders_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes((2**16) * b"s")
    (tmp_path / "cache").mkdir()
    path = cached(tmp_path / "cache")
    data = path.parent / "model.onnx_data"
    for target in (tmp_path / "secret", "/etc/passwd", path.parent.parent / "other", data):
        data.unlink()
        data.symlink_to(target)
        refused(path, "outside its own folder")


@pytest.mark.parametrize("location", ["../bbbb", "../../blobs/bbbb", "/etc/passwd", "a/../../b"])
def test_places_that_lead_out_of_a_cache_are_refused(tmp_path, location):
    path = cached(tmp_path)
    change_location(path.resolve(), location=location)
    refused(path, "outside its own folder")


# Examples

TWO_FREE = nets.model(
    [node("Add", "x z", "y")], [tensor("x", ["n", "w"]), tensor("z", ["n", "w"])], ["y"]
)
FREE = nets.model([node("Relu", "x", "y")], [tensor("x", ["n", "w"])], ["y"])


def torch_tensor(*shape):
    return pytest.importorskip("torch").zeros(*shape)


@pytest.mark.parametrize(
    "example",
    [
        random(1, 5),
        random(2, 5).astype(np.float64),
        {"x": random(1, 5)},
        {"x": [[1, 2, 3, 4, 5]]},
        [random(1, 5)],
        (random(1, 5),),
    ],
)
def test_an_example_of_the_only_input_may_have_any_form(example):
    assert model.load(FREE, example=example).inputs[0].shape == (None, 5)


def test_an_example_may_be_a_tensor_of_pytorch():
    pytest.importorskip("torch")
    assert model.load(FREE, example=torch_tensor(1, 5)).inputs[0].shape == (None, 5)
    assert model.load(FREE, example={"x": torch_tensor(1, 5).requires_grad_()})


def test_several_inputs_take_a_sequence_or_a_mapping():
    both = random(1, 5)
    for example in ([both, both], {"x": both, "z": both}):
        assert [spec.shape for spec in model.load(TWO_FREE, example=example).inputs] == [
            (None, 5)
        ] * 2


@pytest.mark.parametrize(
    ("data", "example", "reason"),
    [
        (TWO_FREE, random(1, 5), "holds 1 arrays, the network takes 2"),
        (FREE, [random(1, 5)] * 2, "holds 2 arrays, the network takes 1"),
        (FREE, {"input": random(1, 5)}, "'input', which is no input of the network; it has 'x'"),
        (FREE, {1: random(1, 5)}, "no input of the network"),
        (FREE, "x", "holds no numbers"),
        (FREE, {"x": None}, "holds no numbers"),
        (FREE, {"x": {"y": 1}}, "holds no numbers"),
        (FREE, {"x": [[1, 2], [3]]}, "no array"),
        (FREE, object(), "holds no numbers"),
        (FREE, random(5), "Add a batch axis"),
        (FREE, random(1, 1, 1, 5), "has 4 dimensions, the network takes 2"),
        (FREE, random(1, 0), "shape"),
        (FREE, np.full((1, 5), np.nan, np.float32), "NaN"),
        (FREE, np.full((1, 5), 1e300), "infinity"),
        (FREE, np.full((1, 5), 1j), "holds no numbers"),
        (GOOD, random(1, 3, 8, 9), "shape"),
        (TWO_FREE, [random(1, 5), random(2, 5)], "1 of 'x', 2 of 'z'"),
    ],
)
def test_an_example_that_is_none_is_refused(data, example, reason):
    with pytest.raises(InputError, match=reason):
        model.load(data, example=example)


def test_an_example_whose_numbers_the_input_cannot_hold_is_refused():
    bytes_in = nets.model([node("Cast", "x", "y", to=1)], [tensor("x", ["n", "w"], "uint8")], ["y"])
    assert model.load(bytes_in, example=np.array([[1.0, 255.0]]))
    for wrong in (np.array([[256]]), np.array([[-1]]), np.array([[0.5]])):
        with pytest.raises(InputError, match="its values would be others"):
            model.load(bytes_in, example=wrong)


def test_a_bundle_checks_an_example_too():
    from shoal import zoo

    path = zoo.path("mnist-fluid")
    assert model.load(path, example=random(1, 1, 28, 28))
    with pytest.raises(InputError, match="does not fit"):
        model.load(path, example=random(1, 3, 28, 28))


@pytest.fixture(scope="module")
def two_inputs():
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):
        def forward(self, left, right, scale=None):
            return torch.relu(left) + right * (1 if scale is None else scale)

    return Two()


def test_a_module_takes_its_inputs_by_name_or_in_order(two_inputs):
    arrays = random(1, 4), torch_tensor(1, 4)
    for example in (arrays, list(arrays), {"right": arrays[1], "left": arrays[0]}):
        network = model.load(two_inputs, example=example)
        assert [spec.name for spec in network.inputs] == ["left", "right"]
        assert network.inputs[0].shape == (None, 4)
    scaled = model.load(
        two_inputs, example={"left": arrays[0], "right": arrays[1], "scale": [[2.0]]}
    )
    assert [spec.name for spec in scaled.inputs] == ["left", "right", "scale"]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ({"left": random(1, 4), "wrong": random(1, 4)}, r"forward\(left, right, scale=None\)"),
        (random(1, 4), "missing a required argument: 'right'"),
        ([random(1, 4)] * 4, "too many positional"),
        ([random(1, 4), "text"], "holds no numbers"),
        ([random(1, 4), random(1, 3)], "does not run on the example"),
    ],
)
def test_an_example_that_does_not_fit_a_module_is_refused(two_inputs, example, reason):
    with pytest.raises(InputError, match=reason):
        model.load(two_inputs, example=example)


# Memory

PEAK = """
import sys
from shoal.model.network import load

def memory(what):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))

before = memory("VmRSS")
load(sys.argv[1])
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_a_network_is_loaded_with_little_more_memory_than_its_weights(tmp_path, beside):
    count, side = 16, 1024
    nodes = [node("MatMul", f"{f't{k}' if k else 'x'} w{k}", f"t{k + 1}") for k in range(count)]
    weights = {f"w{k}": np.eye(side, k=k, dtype=np.float32) for k in range(count)}
    path = tmp_path / "net.onnx"
    path.write_bytes(nets.model(nodes, [tensor("x", ["n", side])], [f"t{count}"], weights))
    if beside:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights")
        assert path.stat().st_size < 10_000
    command = [sys.executable, "-c", PEAK, str(path)]
    peak = int(subprocess.run(command, capture_output=True, check=True, timeout=100).stdout)
    size = 4 * count * side**2
    assert peak < 3 * size + (50 << 20)

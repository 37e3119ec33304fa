"""Where networks come from: files, bytes, weights in other files, PyTorch."""

import os
import sys

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data
from tests.model import nets
from tests.model.nets import node, tensor

import shoal.model as model
from shoal.errors import MissingExtraError, ModelFileError, UnsupportedModelError, UsageError
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
    with pytest.raises(MissingExtraError, match=r"shoal\[train\]"):
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


def test_an_external_attribute_is_refused():
    proto = onnx.TensorProto(name="v", data_type=1, dims=[4], data_location=1)
    proto.external_data.add(key="location", value="/etc/passwd")
    constant = node("Constant", "", "c", value=proto)
    data = nets.model([constant, node("Add", "x c", "y")], [tensor("x", [4])], ["y"])
    with pytest.raises(UnsupportedModelError, match="another file"):
        model.load(data)

"""What is exported computes what PyTorch computes, and says nothing about this machine."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from shoal.errors import ProofError, StoreError
from shoal.model.engine import Engine
from shoal.model.source import Source, read
from shoal_train import export as export_module
from shoal_train import models, seeding
from shoal_train.export import export


def residual() -> Any:
    return models.ResNet(models.Normalise([0.3], [0.35]), 5, widths=(4, 6), blocks=(1, 1))


def inverted() -> Any:
    blocks = ((1, 4, 1, 1), (3, 6, 2, 2))
    return models.MobileNet(models.Normalise([0.3], [0.35]), 5, stem=4, blocks=blocks, end=8)


MADE = {"residual": residual, "inverted": inverted}


def network(kind: str = "residual") -> Any:
    with seeding.reproducible(7):
        module = MADE[kind]()
        for _ in range(3):  # batch norm statistics other than 0 and 1
            module(torch.rand(8, 1, 9, 7))
    return module.eval()


@pytest.fixture(scope="module", params=MADE)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    made = export(
        network(kind), torch.ones(1, 1, 9, 7), path, input_name="image", output_name="logits"
    )
    assert made.path == path
    assert made.difference < 1e-5
    return path


def test_the_file_agrees_with_pytorch_for_any_batch(exported: Path, kind: str) -> None:
    session = Engine().load(exported.read_bytes(), {})
    assert (session.inputs, session.outputs) == (("image",), ("logits",))
    module = network(kind)
    for batch in (1, 4, 7):
        x = torch.rand(batch, 1, 9, 7)
        with torch.inference_mode():
            expected = module(x).numpy()
        np.testing.assert_allclose(
            session.run({"image": x.numpy()})["logits"], expected, rtol=1e-4, atol=1e-5
        )


def test_the_graph_is_plain_and_whole(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_nothing_in_the_file_tells_about_this_machine(exported: Path) -> None:
    content = exported.read_bytes()
    for trace in (b".py", b"site-packages", str(Path.cwd()).encode(), b"stack_trace"):
        assert trace not in content


def test_a_file_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Path, kind: str
) -> None:
    other = onnx.load(exported)
    monkeypatch.setattr(export_module, "read", lambda module, example: Source(other, None, {}))
    module = network(kind)
    with torch.no_grad():
        module.dense.bias += 0.1
    with pytest.raises(ProofError, match="differs from PyTorch"):
        export(
            module,
            torch.ones(1, 1, 9, 7),
            tmp_path / "m.onnx",
            input_name="image",
            output_name="logits",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["node", "weight"])
def test_tensors_inside_make_way_for_the_names_of_input_and_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    module = network()
    model = read(module, torch.ones(1, 1, 9, 7)).model
    graph = model.graph
    name = graph.node[0].output[0] if taken == "node" else graph.initializer[0].name
    monkeypatch.setattr(export_module, "read", lambda *_: Source(model, None, {}))
    example = torch.ones(1, 1, 9, 7)
    export(module, example, tmp_path / "m", input_name=name, output_name="logits")
    assert onnx.load(tmp_path / "m").graph.input[0].name == name


def test_folders_that_are_missing_are_refused(tmp_path: Path) -> None:
    example = torch.ones(1, 1, 9, 7)
    with pytest.raises(StoreError, match="cannot write"):
        export(network(), example, tmp_path / "no" / "m", input_name="image", output_name="logits")

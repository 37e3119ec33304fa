"""What devices run is what PyTorch computes, alone, layer by layer and apart."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.train.fluid_nets import MAKERS, Depthwise, images, lively

from shoal.errors import UnsupportedModelError
from shoal.model.bundle import Variant, load_bundle
from shoal.model.engine import Engine
from shoal_train.fluid import FluidModel, SubNetwork, make_fluid
from shoal_train.fluid.pack import measure, write
from shoal_train.fluid.parts import export_alone, export_dense


def model_of(name: str, groups: int | str, **options: Any) -> FluidModel:
    model = make_fluid(lively(MAKERS[name](**options)), images(), groups)
    model.calibrate(images(30))
    return model.eval()


def expected(model: FluidModel, sub: SubNetwork) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        return model(images(), sub).numpy()


def close(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> bool:
    return bool(np.abs(got - want).max() <= 1e-5 * max(1.0, float(np.abs(want).max())))


def run(content: bytes, name: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    (result,) = Engine().load(content, {}).run({name: x}).values()
    return result


@pytest.mark.parametrize("groups", [2, "2:1:1"])
@pytest.mark.parametrize("name", MAKERS)
def test_each_sub_network_alone(name: str, groups: int | str) -> None:
    model = model_of(name, groups)
    for sub in model.sub_networks:
        content = export_alone(model, sub)
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        assert close(run(content, "image", images().numpy()), expected(model, sub))


def test_batch_norm_with_a_negative_factor_stays_after_the_pooling() -> None:
    model = model_of("plain", 2)
    with torch.no_grad():
        model.layer("layers.2").scale.values["C100"][1] *= -1
    found = onnx.load_from_string(export_alone(model, model.full))
    assert [node.op_type for node in found.graph.node].count("Add") == 1
    got = run(export_alone(model, model.full), "image", images().numpy())
    assert close(got, expected(model, model.full))


@pytest.mark.parametrize("groups", [2, 3, "2:1:1"])
@pytest.mark.parametrize("name", ["plain", "residual", "lenet", "depthwise"])
def test_devices_that_exchange_channels_give_the_same(name: str, groups: int | str) -> None:
    options = {"squeeze": False} if name == "depthwise" else {}
    model = model_of(name, groups, **options)
    for sub in (model.full, model.of(model.division.everything[:-1])):
        kept = [[group for group in own if group in sub.groups] for own in model.division.owners]
        owners = [tuple(own) for own in kept if own]
        x = images().numpy()
        for stage in export_dense(model, sub, owners):
            given = [run(content, stage.input, x) for content in stage.models]
            if stage.join.op == "sum":
                x = np.sum(given, axis=0)
                continue
            x = np.full((len(x), *stage.join.tensor.shape[1:]), np.nan, np.float32)
            for owner, channels in stage.join.channels.items():
                x[:, list(channels)] = given[int(owner)]
        assert close(x, expected(model, sub))


def test_a_network_with_squeeze_and_excitation_has_no_way_layer_by_layer(tmp_path: Path) -> None:
    model = make_fluid(lively(Depthwise()), images(), 2)
    with pytest.raises(UnsupportedModelError, match="different sizes"):
        export_dense(model, model.full, model.division.owners)
    measured = measure(model, torch.zeros(4, 1, 14, 14, dtype=torch.uint8), torch.zeros(4))
    (sentence,) = write(model, tmp_path / "m.fluid", "m", measured)
    assert "different sizes" in sentence
    found = load_bundle(tmp_path / "m.fluid")
    assert {packed.variant for packed in found.subnets} == {Variant.ALONE, Variant.LOGITS}


@pytest.mark.parametrize(("groups", "dense", "apart"), [(2, 1, 1), (3, 4, 4), (5, 6, 26)])
def test_the_bundle_holds_all_ways_and_each_weight_once(
    tmp_path: Path, groups: int, dense: int, apart: int
) -> None:
    model = model_of("plain", groups)
    pixels = (images(20) * 255).to(torch.uint8)
    measured = measure(model, pixels, torch.arange(20) % 5)
    assert write(model, tmp_path / "m.fluid", "m", measured, "made by hand") == ()
    bundle = load_bundle(tmp_path / "m.fluid")
    assert bundle.groups == model.division.widths
    ways = [packed.variant for packed in bundle.subnets]
    assert (ways.count(Variant.DENSE), ways.count(Variant.LOGITS)) == (dense, apart)
    for packed in bundle.subnets:
        table = measured.apart if packed.variant is Variant.LOGITS else measured.alone
        assert packed.accuracy == table[packed.name]
        assert packed.images == 20
    x = {"image": images().numpy()}
    reference = bundle.part(bundle.reference.stages[0].parts["0"]).run(x)["logits"]
    assert close(reference, expected(model, model.full))
    weights = sum(
        layer.weight.numel() * 4 for layer in model.layers.values() if hasattr(layer, "columns")
    )
    blobs = {
        name: len(bundle.part(part).blobs[name])
        for packed in bundle.subnets
        for stage in packed.stages
        for part in stage.parts.values()
        for name in bundle.part(part).blobs
    }
    assert sum(blobs.values()) <= weights

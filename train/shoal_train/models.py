"""The networks that ``shoal train`` can train."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from shoal.errors import UsageError
from shoal_train.datasets import DataSet


class Normalise(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """``(x - mean) / deviation`` per channel, inside the network: callers feed plain pixels."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class FromPixels(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A network that takes pixels as bytes: ``module`` on ``(pixel - mean) / scale``."""

    def __init__(self, module: nn.Module, mean: float, scale: float) -> None:
        super().__init__()
        self.module, self.mean, self.scale = module, mean, scale

    def forward(self, pixels: Tensor) -> Tensor:
        """What ``module`` makes of ``pixels``, ``uint8`` of shape (batch, 3, height, width)."""
        made: Tensor = self.module((pixels.float() - self.mean) / self.scale)
        return made


class ResidualBlock(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Two 3x3 convolutions and a way around them (He et al., 2016, the basic block)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(channels_in, channels, 3, stride)
        self.second = convolution(channels, channels, 3, 1)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.around = convolution(channels_in, channels, 1, stride)
        # The block starts as its way around alone, which trains steadily from the first step.
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.around(x) + self.second(torch.relu(self.first(x)))
        return torch.relu(x)


class ResNet(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A small residual network for small images: stem, stages of blocks, average, dense.

    Takes floats from 0 to 1, ``(batch, channels, height, width)``, any height and width from 4;
    gives logits ``(batch, classes)``. Each stage after the first halves height and width.
    """

    def __init__(
        self,
        normalise: Normalise,
        classes: int,
        widths: Sequence[int] = (16, 32, 64),
        blocks: Sequence[int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        self.normalise = normalise
        channels = normalise.mean.shape[1]
        self.stem = convolution(channels, widths[0], 3, 1)
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                stride = 2 if stage and not block else 1
                stages.append(ResidualBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(self.normalise(x)))
        return self.dense(torch.flatten(self.average(self.blocks(x)), 1))


class InvertedResidual(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Channels made ``wider`` times as many, one 3x3 convolution of each of them alone, and few
    channels again; and a way around where shapes allow it (Sandler et al., 2018, MobileNetV2)."""

    def __init__(self, channels_in: int, channels: int, stride: int, wider: int) -> None:
        super().__init__()
        inner = channels_in * wider
        layers: list[nn.Module] = []
        if wider > 1:
            layers += [convolution(channels_in, inner, 1, 1), nn.ReLU6()]
        layers += [convolution(inner, inner, 3, stride, groups=inner), nn.ReLU6()]
        narrow = convolution(inner, channels, 1, 1)
        self.layers = nn.Sequential(*layers, narrow)
        self.around = stride == 1 and channels_in == channels
        if self.around:  # as in a residual block
            nn.init.zeros_(narrow[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layers(x)
        return x + made if self.around else made


class MobileNet(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A small MobileNetV2 for small images: stem, inverted residuals, wide end, average, dense.

    Takes and gives what ``ResNet`` does. ``blocks`` are groups of blocks, each as (how many times
    ``wider`` they are inside, channels, how many blocks, stride of the first).
    """

    def __init__(
        self,
        normalise: Normalise,
        classes: int,
        stem: int = 16,
        blocks: Sequence[tuple[int, int, int, int]] = (
            (1, 16, 1, 1),
            (2, 24, 2, 2),
            (4, 40, 3, 2),
            (4, 64, 2, 1),
        ),
        end: int = 128,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.stem = convolution(normalise.mean.shape[1], stem, 3, 1)
        made: list[nn.Module] = []
        before = stem
        for wider, channels, count, stride in blocks:
            for block in range(count):
                made.append(InvertedResidual(before, channels, 1 if block else stride, wider))
                before = channels
        self.blocks = nn.Sequential(*made)
        self.end = convolution(before, end, 1, 1)
        self.rectify = nn.ReLU6()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(end, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.rectify(self.stem(self.normalise(x))))
        return self.dense(torch.flatten(self.average(self.rectify(self.end(x))), 1))


class ConvNet(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Plain convolutions, each followed by pooling that halves height and width; then dense.

    Takes and gives what ``ResNet`` does, for any height and width from ``2 ** len(widths)``.
    """

    def __init__(
        self, normalise: Normalise, shape: Sequence[int], classes: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.normalise = normalise
        channels, height, width = shape
        layers: list[nn.Module] = []
        for out in widths:
            # Pooled first: batch norm and ReLU then have a quarter of the work.
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()]
            channels, height, width = out, height // 2, width // 2
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(channels * height * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(torch.flatten(self.layers(self.normalise(x)), 1))


class Vgg(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """VGG-11 for small images: eight 3x3 convolutions and three dense layers (Simonyan and
    Zisserman, 2015, configuration A), with batch norm, and without the pooling behind the sixth.

    ``width`` is that of the first layer (64 in the paper); the hidden dense layers are eight times
    as wide. Takes and gives what ``ResNet`` does, for any height and width from ``SMALLEST``.
    """

    SMALLEST = 16

    def __init__(
        self, normalise: Normalise, shape: Sequence[int], classes: int, width: int
    ) -> None:
        super().__init__()
        channels, *sides = shape
        if min(sides) < self.SMALLEST:
            raise UsageError(
                f"vgg halves an image four times, and these are of {sides[0]}x{sides[1]}: give "
                f"larger ones, from {self.SMALLEST}x{self.SMALLEST}, or use another model"
            )
        self.normalise = normalise
        layers: list[nn.Module] = []
        for stage in ((1,), (2,), (4, 4), (8, 8, 8, 8)):
            for times in stage:
                layers += [convolution(channels, times * width, 3, 1), nn.ReLU()]
                channels = times * width
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(channels * sides[0] * sides[1], channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(torch.flatten(self.layers(self.normalise(x)), 1))


def convolution(
    channels_in: int, channels: int, size: int, stride: int, groups: int = 1
) -> nn.Sequential:
    """A convolution that keeps height and width (but for the stride), then batch norm."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    )


def normalise_for(data: DataSet) -> Normalise:
    """The normalisation to mean 0 and deviation 1 over the training images of ``data``."""
    pixels = data.train.images
    mean = pixels.mean((0, 2, 3)) / 255
    deviation = pixels.std((0, 2, 3)) / 255
    return Normalise(mean.tolist(), [max(value, 1e-3) for value in deviation.tolist()])


MODELS: dict[str, Callable[[DataSet], nn.Module]] = {
    "cnn": lambda data: ConvNet(normalise_for(data), data.shape, len(data.classes), (32, 32, 32)),
    "cnn-wide": lambda data: ConvNet(
        normalise_for(data), data.shape, len(data.classes), (32, 48, 64)
    ),
    "mobilenet": lambda data: MobileNet(normalise_for(data), len(data.classes)),
    "resnet": lambda data: ResNet(normalise_for(data), len(data.classes)),
    "vgg": lambda data: Vgg(normalise_for(data), data.shape, len(data.classes), 16),
}


def build(name: str, data: DataSet) -> nn.Module:
    """The untrained network ``name`` for the images and classes of ``data``.

    Its weights come from PyTorch's global generator: see ``seeding.reproducible``.
    """
    if name not in MODELS:
        raise UsageError(f"there is no model {name!r}: use {', '.join(sorted(MODELS))}")
    return MODELS[name](data)

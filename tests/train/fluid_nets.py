"""Small networks of each kind that can be made fluid, with values that no layer can hide."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoal_train import models

IMAGE = (1, 14, 14)


def plain() -> nn.Module:
    return models.ConvNet(models.Normalise([0.3], [0.35]), IMAGE, 5, (8, 9))


def residual() -> nn.Module:
    return models.ResNet(models.Normalise([0.3], [0.35]), 5, widths=(8, 12), blocks=(1, 2))


class Depthwise(nn.Module):
    """Inverted residual blocks, squeeze and excitation, a concatenation, two dense layers."""

    def __init__(self, squeeze: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.first, self.second = self.block(8, 8, 1), self.block(8, 12, 2)
        self.squeeze = nn.Conv2d(12, 8, 1) if squeeze else None
        self.excite = nn.Conv2d(8, 12, 1)
        self.hidden, self.dense = nn.Linear(24, 16), nn.Linear(16, 5)

    @staticmethod
    def block(channels: int, out: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU6(inplace=True),
            nn.Conv2d(2 * channels, 2 * channels, 3, stride, 1, groups=2 * channels, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU6(),
            nn.Conv2d(2 * channels, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.first(x)
        x = self.second(x)
        if self.squeeze is not None:
            small = functional.silu(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
            x = x * torch.sigmoid(self.excite(small))
        x = torch.cat([x, functional.hardswish(x)], 1).mean((2, 3))
        return self.dense(torch.relu(self.hidden(x)))


class LeNet(nn.Module):
    """Convolutions with biases, no batch norm, functional pooling, view."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 10, 3, padding="same")
        self.three, self.four = nn.Linear(90, 21), nn.Linear(21, 5)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.one(x)), 2)
        x = functional.avg_pool2d(torch.tanh(self.two(x)), 2)
        x = functional.leaky_relu(self.three(x.view(x.size(0), -1)), 0.1)
        return self.four(self.dropout(x))


def lively(module: nn.Module) -> nn.Module:
    """Random weights and batch norm statistics far from 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.3)
            else:
                nn.init.uniform_(parameter, 0.5, 1.0)
        for _ in range(3):
            module(torch.rand(8, *IMAGE))
    return module.eval()


MAKERS = {"plain": plain, "residual": residual, "depthwise": Depthwise, "lenet": LeNet}


def images(count: int = 3) -> Tensor:
    return torch.rand((count, *IMAGE), generator=torch.Generator().manual_seed(1))

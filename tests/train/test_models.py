"""The networks that are trained: what they are made of, and how they begin."""

import numpy as np
import pytest
import torch
from tests.train import tiny
from torch import nn

from shoal_train import models, seeding


@pytest.mark.parametrize("name", sorted(models.MODELS.keys() - {"vgg"}))
def test_each_takes_images_and_gives_a_number_for_each_class(name: str) -> None:
    """But for ``vgg``, for which these are too small."""
    data = tiny.data()
    module = models.build(name, data).eval()
    assert module(torch.rand(3, *data.shape)).shape == (3, len(data.classes))


def test_a_block_of_a_mobilenet_begins_as_its_way_around() -> None:
    x = torch.rand(2, 4, 6, 6)
    with seeding.reproducible(7), torch.inference_mode():
        same = models.InvertedResidual(4, 4, 1, 3).eval()
        np.testing.assert_array_equal(same(x), x)
        assert models.InvertedResidual(4, 4, 2, 3).eval()(x).shape == (2, 4, 3, 3)
        assert models.InvertedResidual(4, 6, 1, 3).eval()(x).shape == (2, 6, 6, 6)


def test_the_convolutions_of_a_mobilenet_that_see_more_than_a_point_see_one_channel() -> None:
    module = models.build("mobilenet", tiny.data())
    found = [each for each in module.blocks.modules() if isinstance(each, nn.Conv2d)]
    wide = [each for each in found if each.kernel_size != (1, 1)]
    assert len(wide) == len(module.blocks) > 0
    assert all(each.groups == each.in_channels == each.out_channels for each in wide)

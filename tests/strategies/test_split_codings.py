"""Ways to pack what crosses a cut, for tensors of any shape."""

import numpy as np
import pytest

from shoal.codec.frame import pack, unpack
from shoal.strategies.split.codings import for_tensors

FULL = np.linspace(-1, 1, 4 * 64, dtype=np.float32).reshape(1, 4, 8, 8)


@pytest.mark.parametrize("shape", [(1, 0, 8, 8), (1, 4, 0, 8), (0,), (), (1, 3)])
def test_tensors_without_numbers_or_dimensions_are_packed_as_well(shape: tuple[int, ...]) -> None:
    """A branch that keeps no channel gives such a tensor."""
    tensors = {"full": FULL, "odd": np.zeros(shape, np.float32)}
    groups = for_tensors([tensors, tensors])
    assert any(",channel" in coding.codecs[0] for group in groups for coding in group)
    for group in groups:
        for coding in group:
            arrived = unpack(pack(tensors, coding.codecs[0]))
            assert {name: a.shape for name, a in arrived.items()} == {
                name: a.shape for name, a in tensors.items()
            }

"""A network whose output is as long as what it finds, served in two stages."""

import numpy as np
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor
from tests.runtime.tiny import Crowd, book, plan, stage

import shoal
from shoal.errors import InputError

NODES = [
    node("MatMul", "x w", "a"),
    node("Relu", "a", "b"),
    node("Greater", "b limit", "over"),
    node("NonZero", "over", "where"),
    node("Transpose", "where", "found"),
]


@pytest.mark.parametrize("batch", [1, "n"])
def test_each_image_is_answered_with_as_many_as_there_are(tmp_path, batch):
    weights = {"w": np.eye(6, dtype=np.float32), "limit": np.float32(1e3)}
    network = shoal.load(nets.model(NODES, [tensor("x", [batch, 6])], ["found"], weights))
    parts = network.split([2])
    crowd = Crowd(tmp_path)
    try:
        for part in parts:
            crowd.store.add_part(part)
        crowd.start("a", "b")
        served = book(network, parts, plan("both", stage(parts[0], "a"), stage(parts[1], "b")))
        service = crowd.serve(served)
        for large in ([], [2], [0, 3, 5]):
            image = random(1, 6)
            image[0, large] = 4e3
            found = service.infer({"x": image}).outputs["found"]
            np.testing.assert_array_equal(
                found, [[0, place] for place in large] or np.empty((0, 2))
            )
        with pytest.raises(InputError, match="cannot be put together"):
            service.submit_together([{"x": random(1, 6)}] * 2)
    finally:
        crowd.close()

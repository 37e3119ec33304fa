"""A detector serves its boxes, as many as there are, however it is spread and whoever dies."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from tests.model import nets

import shoal

pytestmark = pytest.mark.system

DETECTOR = nets.detector()
IMAGES = [np.random.default_rng(k).random((1, 3, 64, 64), dtype=np.float32) for k in range(60)]


@pytest.mark.parametrize(
    ("strategy", "options"),
    [("pipeline", {"stages": 3}), ("shards", {"rho": "1"})],
)
def test_boxes_are_those_of_the_whole_network_while_a_worker_dies(
    strategy: str, options: dict[str, Any], tmp_path: Path
) -> None:
    session = ort.InferenceSession(DETECTOR, providers=["CPUExecutionProvider"])
    network = shoal.load(DETECTOR, name="detector")
    store = shoal.PartStore(tmp_path)
    counts = set()
    with shoal.local_cluster(3) as cluster:
        book = shoal.plan(network, cluster, strategy, store=store, **options)
        with shoal.deploy(book, cluster, store=store) as service:
            answers = service.infer_many({"x": image} for image in IMAGES)
            for number, (image, answer) in enumerate(zip(IMAGES, answers, strict=True)):
                if number == 20:
                    cluster.processes["worker-2"].kill()
                boxes, classes = session.run(None, {"x": image})
                np.testing.assert_allclose(answer.outputs["found"], boxes, rtol=1e-3, atol=1e-3)
                np.testing.assert_array_equal(answer.outputs["classes"], classes)
                counts.add(len(boxes))
            assert service.stats().failed == 0
    assert len(counts) > 3, "as many boxes as are found"

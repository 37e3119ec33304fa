"""The table of operators, held against what the engine gives for images together and alone."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from tests.model.independence import cases, contrib_cases
from tests.model.independence.cases import MIXED, Case, parsed

from shoal.model.independence import Along, Common, Extent, Follower, Mixed
from shoal.model.independence.table import RULES
from shoal.model.weights import Weight

IMAGES = 3
CASES = [*cases.CASES, *contrib_cases.CASES]


def draw(case: Case, name: str, images: int, rng: np.random.Generator) -> np.ndarray:
    """An input for so many images."""
    dims, layout, dtype = parsed(case.inputs[name])
    shape = list(dims)
    if isinstance(layout, Along):
        shape[layout.axis] *= images
    if dtype == "float32":
        return rng.uniform(0.05, 0.95, shape).astype(np.float32)
    return rng.integers(0, 200 if dtype == "uint8" else case.high, shape).astype(dtype)


def image(array: np.ndarray, layout: Along, number: int) -> np.ndarray:
    """The rows of an image, as they would be if it were alone."""
    shape = array.shape
    images = shape[layout.axis] // layout.rows
    parted = array.reshape(
        *shape[: layout.axis], layout.outer, images, layout.inner, *shape[layout.axis + 1 :]
    )
    return parted.take(number, axis=layout.axis + 1).reshape(
        *shape[: layout.axis], layout.rows, *shape[layout.axis + 1 :]
    )


def session(case: Case) -> ort.InferenceSession:
    inputs = []
    for name, written in case.inputs.items():
        dims, layout, dtype = parsed(written)
        open_dims = [
            None if isinstance(layout, Along) and axis == layout.axis else d
            for axis, d in enumerate(dims)
        ]
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        inputs.append(helper.make_tensor_value_info(name, number, open_dims))
    graph = helper.make_graph(
        [case.node],
        "one",
        inputs,
        [onnx.ValueInfoProto(name=name) for name in case.node.output],
        [numpy_helper.from_array(value, name) for name, value in case.weights.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", case.opset),
            helper.make_opsetid("com.microsoft", 1),
            helper.make_opsetid("ai.onnx.ml", 3),
        ],
        ir_version=9,
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


class Told(Follower):
    """Tells what a rule says, not held against the shape of what is made."""

    def _held(self, node, name, layout):
        return layout


def followed(case: Case, one: list[np.ndarray] | None = None) -> list:
    """The layouts of the outputs; ``one`` holds them for one image. Without it, what is said is
    not held against their shapes."""
    shapes, entering = {}, {}
    for name, written in case.inputs.items():
        dims, layout, _ = parsed(written)
        shapes[name] = Extent.of(dims) if layout == Common() else Extent.measured(dims)
        entering[name] = layout
    for name, array in zip(case.node.output, one or (), strict=False):
        shapes[name] = Extent.measured(array.shape)
    follower = (Told if one is None else Follower)(
        [("", case.opset), ("com.microsoft", 1), ("ai.onnx.ml", 3)],
        {name: Weight.of(value) for name, value in case.weights.items()},
        shapes,
    )
    found = follower.follow([case.node], entering)
    return [found[name] for name in case.node.output]


@pytest.mark.parametrize("case", [c for c in CASES if MIXED not in c.expected], ids=lambda c: c.id)
def test_images_lie_where_the_rule_says_and_are_what_each_is_alone(case):
    rng = np.random.default_rng(1)
    together = {name: draw(case, name, IMAGES, rng) for name in case.inputs}
    layouts = {name: parsed(written)[1] for name, written in case.inputs.items()}
    engine = session(case)
    given = engine.run(None, together)
    for number in range(IMAGES):
        feeds = {
            name: image(array, layouts[name], number) if isinstance(layouts[name], Along) else array
            for name, array in together.items()
        }
        alone = engine.run(None, feeds)
        found = followed(case, alone)
        assert found == [parsed(written)[1] for written in case.expected]
        for layout, whole, part, written in zip(found, given, alone, case.expected, strict=True):
            assert part.shape == parsed(written)[0]
            np.testing.assert_allclose(image(whole, layout, number), part, rtol=1e-5, atol=1e-6)


VAGUE = ("do not fit together", "shape is not known", "more than is known")


@pytest.mark.parametrize("case", [c for c in CASES if MIXED in c.expected], ids=lambda c: c.id)
def test_what_takes_images_together_is_told_by_its_rule(case):
    """Also where the engine would refuse it: what a rule cannot tell it must not say."""
    first, *more = followed(case)
    for layout in (first, *(layout for layout in more if layout is not None)):
        assert isinstance(layout, Mixed), layout
        assert case.node.op_type in layout.why
        assert not any(words in layout.why for words in VAGUE), layout.why


NOT_RUN = {
    ("", "AffineGrid"): "its size has the number of images in it: see test_follow",
    ("", "SwiGLU"): "this engine does not have it yet; it is elementwise by its definition",
}


def test_every_rule_was_held_against_the_engine():
    held = {(c.node.domain, c.node.op_type) for c in CASES if MIXED not in c.expected}
    rules = {(domain, op) for domain, table in RULES.items() for op in table}
    assert rules - held == NOT_RUN.keys()

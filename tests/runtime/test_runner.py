"""Running a part for one job or many: joins, batches, carried tensors, early exits."""

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given as hypothetical
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from tests.runtime import tiny

from shoal.codec.frame import Frame, pack, unpack
from shoal.core.actions import Away, Given, Run
from shoal.core.events import JobKey
from shoal.errors import FrameError, InputError, PlanError
from shoal.model.engine import Session
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Exit, Home, Join, Slice
from shoal.runtime.body import Body
from shoal.runtime.confidence import confidence
from shoal.runtime.runner import gather, run


def job(number):
    return JobKey("g", "1", number, 1, 0)


def given(**arrays):
    return Given({"g": Body(arrays)})


def action(*jobs, outputs=("y",), exit=None):
    return Run(tuple(job(k) for k in range(len(jobs))), "part", jobs, outputs, exit)


@pytest.fixture(scope="module")
def session():
    (whole,) = tiny.network().split([])
    return whole.session()


class Recorder:
    """A session that knows what it was fed, and doubles it."""

    inputs, outputs = ("x",), ("y",)

    def __init__(self):
        self.fed = []

    def run(self, feeds, outputs):
        self.fed.append(feeds)
        return {"y": feeds["x"] * 2} if outputs else {}


def test_one_job_gets_what_the_network_gives(net, session):
    (image,) = tiny.images(1)
    (outcome,) = run(action(given(x=image)), session)
    np.testing.assert_array_equal(outcome.body.arrays()["y"], tiny.expected(net, image))
    assert outcome.size == 4 * tiny.WIDTH
    assert outcome.confidence is None


def test_what_came_over_a_link_is_counted_and_what_was_here_is_not():
    packed = Body(frame=pack({"x": np.ones((1, 64), np.float32)}, "raw"))
    outcomes = run(action(Given({"g": packed}), given(x=np.ones((1, 64)))), Recorder())
    assert [outcome.size_in for outcome in outcomes] == [packed.size, 0]


def test_jobs_are_stacked_and_each_gets_its_own_rows_back():
    session = Recorder()
    bodies = [np.full((count, 3), count, np.float32) for count in (1, 3, 2)]
    outcomes = run(action(*(given(x=array) for array in bodies)), session)
    assert [len(feeds["x"]) for feeds in session.fed] == [6]
    for outcome, array in zip(outcomes, bodies, strict=True):
        np.testing.assert_array_equal(outcome.body.arrays()["y"], array * 2)


def test_nobody_gets_the_rows_of_another_by_a_job_whose_tensors_have_unlike_rows():
    odd = given(x=np.ones((1, 3), np.float32), carried=np.zeros((2, 3), np.float32))
    good = given(x=np.ones((1, 3), np.float32), carried=np.ones((1, 3), np.float32))
    for jobs in ((odd, good), (good, odd)):
        with pytest.raises(InputError, match="cannot be stacked"):
            run(action(*jobs, outputs=("y", "carried")), Recorder())


def test_rows_of_a_batch_do_not_keep_the_whole_batch_alive():
    """Outputs are kept for recovery, and their size is what is counted."""
    outcomes = run(action(*(given(x=np.ones((1, 3), np.float32)) for _ in range(4))), Recorder())
    array = outcomes[0].body.arrays()["y"]
    assert array.base is None or array.base.nbytes == array.nbytes


def test_a_tensor_that_only_passes_by_is_carried_not_copied():
    skip = np.ones((1, 5), np.float32)
    (outcome,) = run(
        action(given(x=np.ones((1, 3), np.float32), skip=skip), outputs=("y", "skip")), Recorder()
    )
    assert outcome.body.arrays()["skip"] is skip


def test_the_engine_is_not_fed_what_it_does_not_take(session):
    (image,) = tiny.images(1)
    (outcome,) = run(action(given(x=image, other=image)), session)
    assert list(outcome.body.arrays()) == ["y"]


def test_a_tensor_that_nobody_gives_is_named(session):
    with pytest.raises(InputError, match="'x' is missing"):
        run(action(given(z=np.ones(3))), session)
    with pytest.raises(InputError, match="'skip' is neither computed nor given"):
        run(action(given(x=tiny.images(1)[0]), outputs=("y", "skip")), session)


def test_a_batch_with_one_job_that_lacks_a_tensor_is_refused_as_input():
    with pytest.raises(InputError, match="'x'"):
        run(action(given(x=np.ones((1, 3))), given(z=np.ones((1, 3)))), Recorder())


def test_rows_that_do_not_fit_each_other_are_refused_as_input():
    with pytest.raises(InputError, match="stacked"):
        run(action(given(x=np.ones((1, 3))), given(x=np.ones((1, 4)))), Recorder())


def test_a_damaged_body_is_told_from_a_failed_run(session):
    frame = pack({"x": tiny.images(1)[0]})
    damaged = Given({"g": Body(frame=Frame(frame.head, (bytes(frame.size),)))})
    with pytest.raises(FrameError):
        run(action(damaged), session)


# -- slices

JOIN = Join(
    "channels",
    TensorSpec("x", "float32", (None, 4)),
    {"a": Slice((0, 2)), "b": Slice((1, 3))},
    fill=(9.0,),
)


def slices(**bodies):
    return Given({name: Body(arrays) for name, arrays in bodies.items()}, JOIN)


def test_slices_of_all_givers_are_joined():
    joined = gather(
        slices(a={"x": np.array([[0.0, 2.0]], np.float32)}, b={"x": np.array([[1, 3]], np.float32)})
    )
    np.testing.assert_array_equal(joined["x"], [[0, 1, 2, 3]])


def test_what_nobody_gave_is_filled():
    joined = gather(slices(b={"x": np.array([[1.0, 3.0]], np.float32)}))
    np.testing.assert_array_equal(joined["x"], [[9, 1, 9, 3]])


def test_a_carried_tensor_comes_from_any_of_the_givers():
    skip = np.ones((1, 2), np.float32)
    half = np.array([[0.0, 2.0]], np.float32)
    joined = gather(slices(a={"x": half, "skip": skip}, b={"x": half}))
    assert joined["skip"] is skip


def test_a_slice_of_the_wrong_shape_is_refused():
    with pytest.raises(InputError):
        gather(slices(a={"x": np.ones((1, 3), np.float32)}))


def test_others_are_not_given_what_stays_here():
    array = np.arange(12, dtype=np.float32).reshape(1, 6, 2)
    act = action(given(x=array), outputs=("y",))
    act = msgspec.structs.replace(act, home=Home("y", 1, 4))
    (outcome,) = run(act, Recorder())
    np.testing.assert_array_equal(outcome.body.arrays()["y"], array * 2)
    frame = outcome.body.frame("raw")
    np.testing.assert_array_equal(unpack(frame)["y"], array[:, :2] * 2)
    assert outcome.size == 16


# -- exits

LOGITS = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
EXITS = {"softmax": 0.7, "margin": 0.5, "entropy": 0.2703, "agreement": 0.7}


@pytest.mark.parametrize("criterion", EXITS)
def test_confidence_by_each_criterion(criterion):
    sure = confidence(LOGITS, Exit("y", "y", 0.5, criterion))
    assert sure == pytest.approx(EXITS[criterion], abs=1e-3)


def test_how_far_exits_agree_is_said_by_a_constant_that_all_logits_have():
    exit = Exit("y", "y", 0.5, "agreement", temperature=2.0)
    shifted = LOGITS - LOGITS.max() + 2.0 * np.log(np.array([[0.35], [0.04]]))
    assert confidence(shifted[:1], exit) == pytest.approx(0.35)
    assert confidence(shifted, exit) == pytest.approx(0.04)
    assert confidence(np.array([[np.nan, 0.0]]), exit) == 0.0


@pytest.mark.parametrize("criterion", [each for each in EXITS if each != "agreement"])
def test_confidence_lies_between_no_idea_and_certainty(criterion):
    exit = Exit("y", "y", 0.5, criterion)
    assert confidence(np.zeros((1, 10)), exit) == pytest.approx(
        0.1 if criterion == "softmax" else 0.0, abs=1e-9
    )
    assert confidence(np.array([[0.0, 1e4, 0.0]]), exit) == pytest.approx(1.0)


@pytest.mark.parametrize("criterion", EXITS)
def test_one_class_alone_is_certain(criterion):
    assert confidence(np.array([[3.0]]), Exit("y", "y", 0.5, criterion)) == pytest.approx(1.0)


def test_a_batch_is_as_sure_as_its_least_sure_row():
    rows = np.concatenate([LOGITS, np.zeros((1, 3), np.float32)])
    assert confidence(rows, Exit("y", "y", 0.5)) == pytest.approx(1 / 3)


def test_temperature_softens():
    hot = confidence(LOGITS, Exit("y", "y", 0.5, temperature=4.0))
    assert 1 / 3 < hot < 0.7


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("criterion", EXITS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_sure_of_nothing(criterion, bad):
    rows = np.array([[0.0, 9.0, 0.0], [0.0, bad, 0.0]], np.float32)
    assert confidence(rows, Exit("y", "y", 0.5, criterion)) == 0.0


@settings(max_examples=200, deadline=None)
@hypothetical(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.sampled_from(sorted(EXITS)),
    st.floats(0.01, 100.0),
)
def test_confidence_is_a_share_to_the_last_bit(logits, criterion, temperature):
    """Peers refuse answers that claim another."""
    assert 0.0 <= confidence(logits, Exit("y", "y", 0.5, criterion, temperature)) <= 1.0


def test_an_unknown_criterion_is_named():
    with pytest.raises(PlanError, match="'gut feeling'"):
        confidence(LOGITS, Exit("y", "y", 0.5, "gut feeling"))


def test_an_exit_says_how_sure_it_is_and_what_it_would_answer():
    exit = Exit("y", "class", 0.5)
    (outcome,) = run(action(given(x=LOGITS / 2), exit=exit), Recorder())
    assert outcome.confidence == pytest.approx(0.7)
    assert list(outcome.exit_body.arrays()) == ["class"]


def test_the_tensor_of_an_exit_need_not_go_on():
    exit = Exit("y", "class", 0.5)
    skip = np.ones((1, 2), np.float32)
    (outcome,) = run(action(given(x=LOGITS, skip=skip), outputs=("skip",), exit=exit), Recorder())
    assert list(outcome.body.arrays()) == ["skip"]
    assert list(outcome.exit_body.arrays()) == ["class"]


def test_each_job_of_a_batch_leaves_or_stays_by_itself():
    exit = Exit("y", "y", 0.5)
    sure, unsure = run(action(given(x=LOGITS / 2), given(x=LOGITS * 0), exit=exit), Recorder())
    assert sure.confidence == pytest.approx(0.7)
    assert unsure.confidence == pytest.approx(1 / 3)


def test_an_output_without_rows_cannot_be_dealt_out():
    class Sum(Recorder):
        def run(self, feeds, outputs):
            return {"y": feeds["x"].sum(axis=0)[:1]}

    with pytest.raises(InputError, match="no row for each image"):
        run(action(*(given(x=np.ones((1, 3), np.float32)) for _ in range(2))), Sum())


def stand_in(own, other, place):
    """A part that multiplies ``x`` by its own weights, and by those of another while that is
    away."""
    weights = [
        numpy_helper.from_array(own, "own"),
        numpy_helper.from_array(other, "other"),
        numpy_helper.from_array(np.array([place], np.int64), "place"),
    ]
    nodes = [
        helper.make_node("Gather", ["away", "place"], ["instead"], axis=0),
        helper.make_node("Mul", ["other", "instead"], ["more"]),
        helper.make_node("Add", ["own", "more"], ["all"]),
        helper.make_node("MatMul", ["x", "all"], ["y"]),
    ]
    ends = [("x", [None, 4]), ("away", [2]), ("y", [None, 3])]
    x, away, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in ends)
    graph = helper.make_graph(nodes, "shard", [x, away], [y], weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return Session(ort.InferenceSession(model.SerializeToString()))


def test_a_part_that_is_told_who_is_away_does_their_work():
    random = np.random.default_rng(0)
    x, both = random.normal(size=(1, 4)).astype("f4"), random.normal(size=(2, 4, 3)).astype("f4")
    session = stand_in(both[0], both[1], 1)

    def made(*missing):
        away = Away("away", missing)
        (outcome,) = run(Run((job(0),), "part", (given(x=x),), ("y",), away=away), session)
        return outcome.body.arrays()["y"]

    np.testing.assert_allclose(made(False, False), x @ both[0], rtol=1e-5)
    np.testing.assert_allclose(made(False, True), x @ both.sum(axis=0), rtol=1e-5)

"""No plan serves that does not give the whole network's answer."""

import msgspec
import numpy as np
import pytest
from tests.toys.network import ToyNetwork, ToyPart

from shoal.codec.codecs import register
from shoal.errors import InputError, ProofError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Exit, Forecast, Join, Plan, PolicySpec, Slice, Spread, Stage
from shoal.plan.playbook import make_playbook
from shoal.plan.prove import prove, run_plan

NETWORK = ToyNetwork((6, 8, 8, 5), skips={2: ()})


class Shard:
    """Some channels of the tensor that nodes 0 and 1 make; the sum kind gives all, scaled."""

    def __init__(self, channels=None, scale=1.0):
        self.channels, self.scale = channels, scale
        self.hash = f"shard-{channels}-{scale}"
        self.inputs = ("t0",)
        self.info = msgspec.structs.replace(ToyPart(NETWORK, 0, 2).info)
        self.runs = self.sessions = 0

    def session(self):
        self.sessions += 1

    def run_on(self, session, feeds):
        self.runs += 1
        made = ToyPart(NETWORK, 0, 2).run_on(None, feeds)["t2"]
        return {"t2": made[:, list(self.channels)] if self.channels else made * self.scale}


TAIL = ToyPart(NETWORK, 2, 3)
TENSOR = TensorSpec("t2", "float32", (None, 8))


def playbook_of(shards, how, **fields):
    head = Stage(
        {name: shard.hash for name, shard in shards.items()}, ("t0",), ("t2",), Spread.ALL, how
    )
    stages = (head, Stage({"a": TAIL.hash}, ("t2",), ("t3",)))
    plans = [
        Plan("shards", stages, Forecast(1, 1), **fields),
        Plan("again", stages, Forecast(1, 1)),
    ]
    parts = {shard.hash: shard for shard in shards.values()} | {TAIL.hash: TAIL}
    book = make_playbook(
        network="toy",
        strategy="test",
        policy=PolicySpec("preferred"),
        plans=plans[: 1 if fields else 2],
        parts={name: part.info for name, part in parts.items()},
        inputs=NETWORK.inputs,
        outputs=NETWORK.outputs,
    )
    return book, parts


def channels(**by_device):
    return Join("channels", TENSOR, {name: Slice(c) for name, c in by_device.items()})


def test_channel_shards_that_cover_all_are_proved_and_run_once():
    shards = {"a": Shard((0, 1, 2, 7)), "b": Shard((3, 4, 5, 6, 0))}
    how = channels(a=(0, 1, 2, 7), b=(3, 4, 5, 6, 0))
    assert prove(*playbook_of(shards, how), NETWORK) == {"shards": 0.0, "again": 0.0}
    assert shards["a"].sessions == 1
    assert shards["a"].runs == 2  # for one image, and for two


def test_sums_are_proved():
    shards = {"a": Shard(scale=0.25), "b": Shard(scale=0.75)}
    how = Join("sum", TENSOR, {"a": Slice(), "b": Slice()})
    found = prove(*playbook_of(shards, how), NETWORK)
    assert found["shards"] < 1e-6


def test_a_channel_in_the_wrong_place_is_found():
    shards = {"a": Shard((0, 1, 2, 3)), "b": Shard((4, 5, 6, 7))}
    how = channels(a=(0, 1, 2, 3), b=(4, 5, 7, 6))
    with pytest.raises(ProofError, match=r"plan 'shards' differs from the whole network by"):
        prove(*playbook_of(shards, how), NETWORK)


class OneByOne(ToyPart):
    """A part that takes the first of the images that it is given together for all of them."""

    def run_on(self, session, feeds):
        first = {name: array[:1].repeat(len(array), axis=0) for name, array in feeds.items()}
        return super().run_on(session, first)


class Stubborn(ToyPart):
    """A part that takes one image at a time."""

    def run_on(self, session, feeds):
        if any(len(array) > 1 for array in feeds.values()):
            raise InputError("one at a time")
        return super().run_on(session, feeds)


@pytest.mark.parametrize(
    ("kind", "reason"), [(OneByOne, "differs from the whole"), (Stubborn, "one at a time")]
)
def test_a_part_that_is_right_for_one_image_only_is_found(kind, reason):
    plan, parts = chain(2)
    first = plan.stages[0].parts["a"]
    parts[first] = kind(SKIPPING, 0, 2)
    with pytest.raises(ProofError, match=reason):
        prove(book_of(plan, parts), parts, SKIPPING)


class Coarse:
    """A codec that keeps whole numbers only."""

    def encode(self, array):
        return array.astype(np.int8).tobytes(), b""

    def decode(self, data, meta, dtype, shape):
        return np.frombuffer(data, np.int8).astype(dtype).reshape(shape)


def test_what_a_codec_does_to_tensors_is_part_of_the_proof():
    register("coarse", lambda settings: Coarse())
    plan, parts = chain(2)
    coarse = msgspec.structs.replace(plan.stages[0], codec="coarse")
    for lossy in (
        msgspec.structs.replace(plan, stages=(coarse, plan.stages[1])),
        msgspec.structs.replace(plan, codec="coarse"),
    ):
        with pytest.raises(ProofError, match="differs from the whole network"):
            prove(book_of(lossy, parts), parts, SKIPPING)
        free = msgspec.structs.replace(lossy, tolerance=None)
        assert prove(book_of(free, parts), parts, SKIPPING)["chain"] > 1e-4
    unknown = msgspec.structs.replace(plan, codec="telepathy")
    with pytest.raises(ProofError, match="telepathy"):
        run_plan(unknown, parts, SKIPPING.probe(0))


def test_an_approximation_needs_only_the_right_shape():
    shards = {"a": Shard((0, 1, 2, 3))}
    book, parts = playbook_of(shards, channels(a=(0, 1, 2, 3)), tolerance=None)
    assert prove(book, parts, NETWORK)["shards"] > 0


def test_several_probes_may_be_asked_for():
    shards = {"a": Shard(tuple(range(8)))}
    book, parts = playbook_of(shards, channels(a=tuple(range(8))))
    prove(book, parts, NETWORK, seeds=(0, 1, 2))
    assert (shards["a"].sessions, shards["a"].runs) == (1, 6)


def test_the_users_images_count_as_well():
    """What is right on made-up inputs and wrong on an image is wrong."""

    class Bright(ToyPart):
        def run_on(self, session, feeds):
            made = super().run_on(session, feeds)
            bright = max(float(array.max()) for array in feeds.values()) > 50
            return {name: array + bright for name, array in made.items()}

    plan, parts = chain(2)
    first = plan.stages[0].parts["a"]
    parts[first] = Bright(SKIPPING, 0, 2)
    book = book_of(plan, parts)
    assert prove(book, parts, SKIPPING)["chain"] == 0
    images = SKIPPING.given([{"t0": np.full((1, 6), 100, np.float32)}])
    with pytest.raises(ProofError, match="differs from the whole network"):
        prove(book, parts, SKIPPING, more=images)


def chain(*ends, exit=None):
    pieces = [ToyPart(SKIPPING, a, b) for a, b in zip((0, *ends), (*ends, 4), strict=True)]
    stages = tuple(Stage({"a": part.hash}, part.inputs, part.outputs, exit=exit) for part in pieces)
    return Plan("chain", stages, Forecast(1, 1)), {part.hash: part for part in pieces}


def book_of(plan, parts):
    return make_playbook(
        network="toy",
        strategy="test",
        policy=PolicySpec("preferred"),
        plans=[plan],
        parts={name: part.info for name, part in parts.items()},
        inputs=SKIPPING.inputs,
        outputs=SKIPPING.outputs,
    )


SKIPPING = ToyNetwork((6, 6, 6, 6, 6), skips={3: (0, 1)})


def test_carried_tensors_reach_the_stage_that_needs_them():
    plan, parts = chain(1, 2, 3)
    feeds = SKIPPING.probe(3)
    assert plan.stages[2].inputs == ("t0", "t1", "t2")
    whole = ToyPart(SKIPPING, 0, 4).run_on(None, feeds)
    assert np.array_equal(run_plan(plan, parts, feeds)["t4"], whole["t4"])


def test_exits_are_passed_by():
    plan, parts = chain(2, exit=Exit("t1", "t4", 0.0))
    assert run_plan(plan, parts, SKIPPING.probe(0)).keys() == {"t4"}


def test_a_part_that_is_not_at_hand_is_named():
    plan, parts = chain(2)
    missing = plan.stages[1].parts["a"]
    del parts[missing]
    with pytest.raises(ProofError, match=f"plan 'chain', stage 1: the part {missing} is not at"):
        run_plan(plan, parts, SKIPPING.probe(0))


def test_a_stage_that_is_not_given_what_its_part_needs_is_named():
    plan, parts = chain(2)
    first = msgspec.structs.replace(plan.stages[0], outputs=("t2",))
    starved = msgspec.structs.replace(
        plan, stages=(first, msgspec.structs.replace(plan.stages[1], inputs=("t2",)))
    )
    with pytest.raises(ProofError, match="needs t0, t1, which the stage is not given"):
        run_plan(starved, parts, SKIPPING.probe(0))


def test_a_part_that_does_not_give_an_output_is_named():
    plan, parts = chain(2)
    greedy = msgspec.structs.replace(plan.stages[0], outputs=("t2", "t9"))
    with pytest.raises(ProofError, match="its part does not give t9"):
        run_plan(msgspec.structs.replace(plan, stages=(greedy,)), parts, SKIPPING.probe(0))


def test_a_plan_that_is_exact_may_promise_just_that():
    shards = {"a": Shard((0, 1, 2, 7)), "b": Shard((3, 4, 5, 6, 0))}
    how = channels(a=(0, 1, 2, 7), b=(3, 4, 5, 6, 0))
    assert prove(*playbook_of(shards, how, tolerance=0.0), NETWORK) == {"shards": 0.0}

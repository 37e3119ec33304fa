"""What the policies decide: pure functions of a snapshot."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toys import distribution

from shoal.core.policy import GROUP, DeviceView, View, find_policy
from shoal.errors import PlanError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Forecast, Join, Plan, Playbook, PolicySpec, Slice, Spread, Stage

preferred = find_policy("preferred")
replicas = find_policy("replicas")

IMAGE = ("image",)


def view(now=0.0, **devices):
    """Devices by name: True and False for usable, or a view."""
    views = {
        name: facts if isinstance(facts, DeviceView) else DeviceView(usable=facts)
        for name, facts in devices.items()
    }
    return View(now, views)


def stage(devices, inputs, outputs, **kinds):
    return Stage(dict.fromkeys(devices, f"{inputs}-{outputs}"), (inputs,), (outputs,), **kinds)


def book(*plans, policy="preferred", **settings):
    return Playbook(
        id="1",
        network="toy",
        strategy="test",
        policy=PolicySpec(policy, settings),
        plans=plans,
        parts={},
        inputs=(TensorSpec("image", "float32", (None, 3)),),
        outputs=(TensorSpec("logits", "float32", (None, 4)),),
    )


def plan(name, *stages, **forecast):
    return Plan(name, stages, Forecast(1, 1, **forecast))


CHAIN = plan("chain", stage("a", "image", "m"), stage("b", "m", "logits"))
OTHER = plan("other", stage("c", "image", "m"), stage("b", "m", "logits"))
ALONE = plan("alone", stage("c", "image", "logits"))
BOOK = book(CHAIN, OTHER, ALONE)


def choose(policy, playbook, snapshot, at=IMAGE):
    choice, _ = policy.choose(playbook, snapshot, at, None)
    return choice


def test_the_first_plan_whose_devices_are_all_usable_is_chosen():
    assert choose(preferred, BOOK, view(a=True, b=True, c=True)).plan == "chain"
    assert choose(preferred, BOOK, view(a=False, b=True, c=True)).plan == "other"
    assert choose(preferred, BOOK, view(a=True, b=False, c=True)).plan == "alone"
    assert choose(preferred, BOOK, view(a=True, b=True)).route == (("a",), ("b",))
    assert choose(preferred, BOOK, view(a=True)) is None


def test_a_request_that_was_stopped_goes_on_where_it_was():
    found = choose(preferred, BOOK, view(a=False, b=True, c=False), at=("m",))
    assert (found.plan, found.start, found.route) == ("chain", 1, ((), ("b",)))
    assert choose(preferred, BOOK, view(a=True, b=False, c=True), at=("m",)) is None
    assert choose(preferred, BOOK, view(a=True, b=True), at=("elsewhere",)) is None


def test_the_order_of_the_tensors_at_hand_does_not_matter():
    two = plan("two", Stage({"a": "p"}, ("x", "y"), ("logits",)))
    assert choose(preferred, book(two), view(a=True), at=("y", "x")).plan == "two"


def test_one_of_several_holders_is_the_least_busy():
    many = book(plan("many", stage("abc", "image", "logits"), stage_ms=(10.0,)))
    snapshot = view(
        a=DeviceView(work_ms=30), b=DeviceView(work_ms=10, slowdown=3.0), c=DeviceView(work_ms=20)
    )
    assert choose(preferred, many, snapshot).route == (("c",),)
    assert preferred.forward(many, many.plans[0], 0, snapshot, None)[0] == "c"
    assert preferred.forward(many, many.plans[0], 0, view(a=False), None)[0] is None


def test_all_holders_have_to_be_usable_where_the_join_needs_all():
    slices = {"a": Slice(), "b": Slice()}
    how = Join("sum", TensorSpec("logits", "float32", (None, 4)), slices, least=2)
    shards = book(plan("shards", stage("ab", "image", "logits", spread=Spread.ALL, join=how)))
    assert choose(preferred, shards, view(a=True, b=True)).route == (("a", "b"),)
    assert choose(preferred, shards, view(a=True, b=False)) is None


LINE = plan("line", stage("a", "image", "m"), stage("b", "m", "logits"), stage_ms=(10.0, 10.0))
SPARE = plan("spare", stage("c", "image", "logits"), stage_ms=(20.0,))
SPARED = book(LINE, SPARE)


def lagging(**slowdown):
    return view(**{name: DeviceView(slowdown=slowdown.get(name, 1.0)) for name in "abc"})


def test_a_plan_one_of_whose_devices_has_become_slow_is_left_for_a_better_one():
    assert choose(preferred, SPARED, lagging(b=2.4)).plan == "line"  # 24 ms: not worth it
    assert choose(preferred, SPARED, lagging(b=4.0)).plan == "spare"
    assert choose(preferred, SPARED, lagging(b=4.0, c=3.0)).plan == "line"  # c is no better
    assert choose(preferred, SPARED, lagging(a=4.0, b=4.0, c=4.0)).plan == "line"


def test_a_plan_that_was_asked_for_is_not_left_since_another_would_always_be_better():
    quick = plan("quick", stage("c", "image", "logits"), stage_ms=(1.0,))
    assert choose(preferred, book(LINE, quick), lagging()).plan == "line"
    assert choose(preferred, book(LINE, quick), lagging(b=1.9)).plan == "line"


def test_a_slow_device_is_tried_again_now_and_then():
    memory, plans = None, []
    for _ in range(60):
        choice, memory = preferred.choose(SPARED, lagging(b=4.0), IMAGE, memory)
        plans.append(choice.plan)
    assert plans.count("line") == 3
    assert choose(preferred, SPARED, lagging(b=1.2)).plan == "line"


def replicated(**hop_ms):
    whole = plan(
        "replicas",
        stage(("fast", "slow"), "image", "logits"),
        stage_ms=(10.0,),
        holder_ms=({"fast": 10.0, "slow": 40.0},),
    )
    return book(whole, policy="replicas", hop_ms=hop_ms)


def test_replicas_go_where_they_end_first():
    idle = view(fast=True, slow=True)
    assert choose(replicas, replicated(), idle).route == (("fast",),)
    busy = view(fast=DeviceView(work_ms=31), slow=True)
    assert choose(replicas, replicated(), busy).route == (("slow",),)
    dead = view(fast=False, slow=True)
    assert choose(replicas, replicated(), dead).route == (("slow",),)
    assert choose(replicas, replicated(), view()) is None


def test_a_device_that_is_slower_than_its_forecast_gets_less():
    throttled = view(fast=DeviceView(slowdown=5.0), slow=True)
    assert choose(replicas, replicated(), throttled).route == (("slow",),)


def test_the_way_there_counts():
    far = replicated(fast=50.0, slow=1.0)
    assert choose(replicas, far, view(fast=True, slow=True)).route == (("slow",),)
    assert replicas.forward(far, far.plans[0], 0, view(fast=True, slow=True), None)[0] == "slow"
    assert replicas.forward(far, far.plans[0], 0, view(), None)[0] is None


def test_replicas_answer_whole_requests_only():
    assert choose(replicas, replicated(), view(fast=True, slow=True), at=("m",)) is None
    assert choose(replicas, book(CHAIN), view(a=True, b=True)) is None


def test_settings_from_a_stranger_do_no_harm():
    odd = msgspec.structs.replace(replicated(), policy=PolicySpec("replicas", {"hop_ms": "far"}))
    assert choose(replicas, odd, view(fast=True, slow=True)).route == (("fast",),)


def test_an_unknown_policy_is_answered_with_the_known_ones():
    with pytest.raises(PlanError, match=r"'magic' .*preferred, relay, replicas"):
        find_policy("magic")


def test_a_policy_that_is_broken_is_named_with_what_brings_it(tmp_path, monkeypatch):
    """What it raised reached whoever asked, and a worker said nothing to its gateway."""
    distribution.write(
        tmp_path, "badness", distribution.entries(GROUP, bad="badness:policy"), "1 / 0"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlanError, match=r"'bad' .*of badness 1.2.* ZeroDivisionError"):
        find_policy("bad")


devices = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(
        DeviceView,
        usable=st.booleans(),
        work_ms=st.floats(0, 1000),
        slowdown=st.floats(0.1, 10),
    ),
)


@st.composite
def playbooks(draw):
    plans = []
    for k in range(draw(st.integers(1, 4))):
        names = ["image", *(f"m{j}" for j in range(draw(st.integers(0, 2)))), "logits"]
        stages = []
        for j in range(len(names) - 1):
            holders = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
            spread = draw(st.sampled_from(Spread))
            stages.append(stage(holders, names[j], names[j + 1], spread=spread))
        plans.append(plan(f"plan {k}", *stages))
    return book(*plans)


@given(playbooks(), devices, st.sampled_from(["image", "m0", "m1", "logits"]))
@settings(deadline=None)
def test_every_route_can_be_followed_and_none_is_overlooked(playbook, facts, at):
    snapshot = View(0.0, facts)
    choice = choose(preferred, playbook, snapshot, (at,))

    def possible(one, start):
        return all(
            (all if s.spread is Spread.ALL else any)(snapshot.usable(d) for d in s.parts)
            for s in one.stages[start:]
        )

    ways = [
        (one.name, start)
        for one in playbook.plans
        for start, s in enumerate(one.stages)
        if s.inputs == (at,) and possible(one, start)
    ]
    if choice is None:
        assert ways == []
        return
    assert (choice.plan, choice.start) == ways[0]
    chosen = playbook.plan(choice.plan)
    assert len(choice.route) == len(chosen.stages)
    for index, names in enumerate(choice.route):
        wanted = chosen.stages[index]
        if index < choice.start:
            assert names == ()
        elif wanted.spread is Spread.ALL:
            assert set(names) == set(wanted.parts)
        else:
            assert len(names) == 1
        assert all(snapshot.usable(name) and name in wanted.parts for name in names)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6), st.integers(1, 60))
@settings(deadline=None)
def test_work_dealt_by_replicas_ends_about_when_the_best_deal_would(run_ms, count):
    names = [f"d{k}" for k in range(len(run_ms))]
    times = dict(zip(names, run_ms, strict=True))
    whole = plan(
        "replicas",
        stage(names, "image", "logits"),
        stage_ms=(min(run_ms),),
        holder_ms=(times,),
    )
    playbook = book(whole, policy="replicas")
    given_to = dict.fromkeys(names, 0.0)
    for _ in range(count):
        snapshot = view(**{name: DeviceView(work_ms=ms) for name, ms in given_to.items()})
        ((device,),) = choose(replicas, playbook, snapshot).route
        given_to[device] += times[device]
    # Each request ended no later than it would have anywhere else, so all others are nearly full.
    rate = sum(1 / ms for ms in run_ms)
    assert max(given_to.values()) <= (count + len(names) - 1) / rate * (1 + 1e-9)


def joined(devices, least):
    """A stage that all run together, with so many of them."""
    slices = {name: Slice((index,)) for index, name in enumerate(devices)}
    tensor = TensorSpec("m", "float32", (None, len(devices)))
    join = Join("channels", tensor, slices, least=least)
    return stage(devices, "image", "m", spread=Spread.ALL, join=join)


def test_a_stage_of_all_is_run_by_those_that_are_there_if_they_are_enough():
    together = plan("together", joined("abc", 2), stage("abc", "m", "logits"))
    shards = book(together, plan("alone", stage("c", "image", "logits")))
    assert choose(preferred, shards, view(a=True, b=True, c=True)).route[0] == ("a", "b", "c")
    found = choose(preferred, shards, view(a=True, b=False, c=True))
    assert (found.plan, found.route[0]) == ("together", ("a", "c"))
    assert found.route[1][0] in "ac"
    assert choose(preferred, shards, view(a=False, b=False, c=True)).plan == "alone"

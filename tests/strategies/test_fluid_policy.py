"""When devices answer together and when each for itself: pure functions of a snapshot."""

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.policy import Choice, DeviceView, View, find_policy
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Forecast, Join, Plan, Playbook, PolicySpec, Slice, Spread, Stage
from shoal.strategies.fluid.policy import Mood

fluid = find_policy("fluid")
LOGITS = TensorSpec("logits", "float32", (None, 4))
RUN_MS = 10.0
RATE = 100.0
MARKS = {"high_s": 0.5, "low_s": 0.1, "calm_s": 1.0}


def together(names: str, accuracy: float) -> Plan:
    join = Join("sum", LOGITS, {name: Slice() for name in names}, least=len(names))
    stage = Stage(
        {name: f"part {names} {name}" for name in names},
        ("image",),
        ("logits",),
        spread=Spread.ALL,
        join=join,
    )
    return Plan(f"together {names}", (stage,), forecast(accuracy, RATE))


def alone(name: str, accuracy: float) -> Plan:
    return Plan(
        f"alone {name}",
        (Stage({name: f"alone {name}"}, ("image",), ("logits",)),),
        forecast(accuracy, RATE),
    )


def forecast(accuracy: float, rate: float) -> Forecast:
    return Forecast(10.0, rate, accuracy, stage_ms=(RUN_MS,))


def book(*plans: Plan, **marks: float) -> Playbook:
    return Playbook(
        id="1",
        network="toy",
        strategy="fluid",
        policy=PolicySpec("fluid", {**MARKS, **marks}),
        plans=plans,
        parts={},
        inputs=(TensorSpec("image", "float32", (None, 3)),),
        outputs=(LOGITS,),
    )


def all_sets(names: str) -> list[Plan]:
    """A plan for each set of devices: the more there are, the more accurate."""
    plans = [
        together("".join(some), 0.9 + 0.1 * size / len(names))
        for size in range(len(names), 1, -1)
        for some in combinations(names, size)
    ]
    return plans + [alone(name, 0.9 + 0.1 / len(names)) for name in names]


PAIR = book(*all_sets("ab"))


def view(
    names: str = "ab",
    now: float = 0.0,
    waiting: int = 0,
    gone: str = "",
    work_ms: dict[str, float] | None = None,
) -> View:
    devices = {
        name: DeviceView(usable=name not in gone, work_ms=(work_ms or {}).get(name, 0.0))
        for name in names
    }
    return View(now, devices, waiting=waiting)


def choose(playbook: Playbook, snapshot: View, memory: object = None) -> tuple[str, object]:
    choice, memory = fluid.choose(playbook, snapshot, ("image",), memory)
    return (choice.plan if choice else ""), memory


def test_while_there_is_time_all_answer_together() -> None:
    choice, _ = fluid.choose(PAIR, view(), ("image",), None)
    assert choice == Choice("together ab", (("a", "b"),))


def test_above_the_high_mark_each_answers_for_itself() -> None:
    plan, memory = choose(PAIR, view(waiting=51))
    assert plan == "together ab"
    plan, memory = choose(PAIR, view(waiting=52), memory)
    assert plan == "alone a"
    plan, _ = choose(PAIR, view(waiting=52, work_ms={"a": 20.0}), memory)
    assert plan == "alone b"


def test_work_that_was_given_counts_too() -> None:
    assert choose(PAIR, view(work_ms={"b": 501.0}))[0] == "alone a"
    slow = View(0.0, {"a": DeviceView(), "b": DeviceView(work_ms=60, slowdown=10)})
    assert choose(PAIR, slow)[0] == "alone a"


def test_back_when_it_was_calm_for_a_while() -> None:
    _, memory = choose(PAIR, view(waiting=60))
    plan, memory = choose(PAIR, view(now=0.5), memory)
    assert plan.startswith("alone")
    plan, memory = choose(PAIR, view(now=0.9, waiting=20), memory)
    assert plan.startswith("alone")  # above the low mark: the calm begins anew
    plan, memory = choose(PAIR, view(now=1.5), memory)
    assert plan.startswith("alone")
    plan, memory = choose(PAIR, view(now=2.0), memory)
    assert plan == "together ab"


def test_where_it_was_too_early_to_go_together_the_calm_must_last_twice_as_long() -> None:
    """Each for itself there is no queue, but together there is one at once."""
    memory: object = None
    now, waits = 0.0, []
    for _ in range(4):
        _, memory = choose(PAIR, view(now=now, waiting=60), memory)
        went = now
        while choose(PAIR, view(now=now), memory)[0].startswith("alone"):
            now += 0.1
        waits.append(now - went)
        _, memory = choose(PAIR, view(now=now), memory)
        now += 0.1
    assert [round(wait) for wait in waits] == [1, 2, 4, 8]
    now += 60  # this time it was right
    _, memory = choose(PAIR, view(now=now, waiting=60), memory)
    assert choose(PAIR, view(now=now + 1.1), memory)[0] == "together ab"


def test_after_an_idle_time_it_begins_together() -> None:
    _, memory = choose(PAIR, view(waiting=60))
    assert choose(PAIR, view(now=60.0), memory)[0] == "together ab"


def test_who_is_left_answers() -> None:
    assert choose(PAIR, view(gone="a"))[0] == "alone b"
    assert choose(PAIR, view(gone="b"))[0] == "alone a"
    assert choose(PAIR, view(gone="ab"))[0] == ""
    three = book(*all_sets("abc"))
    assert choose(three, view("abc", gone="b"))[0] == "together ac"
    assert choose(three, view("abc", gone="b", waiting=60))[0] == "alone a"


def test_who_comes_back_is_used_from_the_next_request() -> None:
    _, memory = choose(PAIR, view(gone="a"))
    assert choose(PAIR, view(now=0.1), memory)[0] == "together ab"


def test_the_floor_forbids_each_for_itself() -> None:
    strict = book(*all_sets("ab"), floor=0.98)
    assert choose(strict, view(waiting=1000))[0] == "together ab"
    three = book(*all_sets("abc"), floor=0.96)
    assert choose(three, view("abc", gone="c", waiting=1000))[0] == "together ab"


def test_below_the_floor_is_better_than_no_answer_and_the_most_accurate_is_best() -> None:
    strict = book(*all_sets("abc"), floor=0.98)
    assert choose(strict, view("abc", gone="c"))[0] == "together ab"
    assert choose(strict, view("abc", gone="bc"))[0] == "alone a"


def test_of_the_ways_of_one_set_the_first_is_taken() -> None:
    ways = book(together("ab", 1.0), renamed(together("ab", 0.99)), *all_sets("ab")[1:])
    assert choose(ways, view())[0] == "together ab"


def renamed(plan: Plan) -> Plan:
    return Plan("logits ab", plan.stages, plan.forecast)


def test_a_memory_or_marks_that_are_none_are_replaced() -> None:
    odd = book(*all_sets("ab"))
    odd.policy.settings.update({"high_s": "x", "floor": None})
    plan, memory = choose(odd, view(), memory="what?")
    assert plan == "together ab"
    assert isinstance(memory, Mood)


def test_free_hops_go_to_whoever_is_least_busy() -> None:
    plan = Plan(
        "free", (Stage({"a": "p", "b": "p"}, ("image",), ("logits",)),), forecast(1.0, RATE)
    )
    assert fluid.forward(book(plan), plan, 0, view(work_ms={"a": 20.0}), None)[0] == "b"


# -- for any load and any losses

names = st.sampled_from(["a", "ab", "abc", "abcd"])


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[Playbook, Sequence[View]]:
    everybody = draw(names)
    playbook = book(*all_sets(everybody), floor=draw(st.sampled_from([0.0, 0.95, 0.98, 1.0])))
    now, views = 0.0, []
    for _ in range(draw(st.integers(1, 20))):
        now += draw(st.floats(0, 0.7))
        gone = "".join(draw(st.sets(st.sampled_from(everybody))))
        work = {name: draw(st.floats(0, 2000)) for name in everybody}
        views.append(view(everybody, now, draw(st.integers(0, 200)), gone, work))
    return playbook, views


@given(snapshots())
def test_nobody_is_asked_who_is_not_there_and_the_floor_holds_while_it_can(
    story: tuple[Playbook, Sequence[View]],
) -> None:
    playbook, views = story
    floor = playbook.policy.settings["floor"]
    memory: object = None
    for snapshot in views:
        usable = {name for name in snapshot.devices if snapshot.usable(name)}
        able = [plan for plan in playbook.plans if plan.devices <= usable]
        choice, memory = fluid.choose(playbook, snapshot, ("image",), memory)
        if choice is None:
            assert not able
            continue
        plan = playbook.plan(choice.plan)
        assert {name for step in choice.route for name in step} <= usable
        assert plan in able
        best = max(other.forecast.accuracy for other in able)
        assert plan.forecast.accuracy >= min(floor, best)


@given(st.lists(st.tuples(st.floats(0.001, 0.2), st.integers(0, 120)), min_size=1, max_size=200))
@settings(max_examples=200)
def test_whatever_the_load_the_mode_does_not_flap(steps: list[tuple[float, int]]) -> None:
    """Between two times that it goes together, at least the calm time passes."""
    memory: object = None
    now, back, mode = 0.0, -10.0, "together"
    for pause, waiting in steps:
        now += pause
        plan, memory = choose(PAIR, view(now=now, waiting=waiting), memory)
        found = plan.split()[0]
        if mode == "alone" and found == "together":
            assert now - back >= MARKS["calm_s"]
            back = now
        mode = found

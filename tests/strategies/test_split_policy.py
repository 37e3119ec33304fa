"""What the policy ``split`` does when link, device and server change: stories on toy playbooks."""

import itertools
import math

import msgspec
import pytest

from shoal.core.messages import Load
from shoal.core.policy import DeviceView, LinkView, View, find_policy
from shoal.errors import PlanError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec, Stage
from shoal.strategies.split.decide import (
    COOL_S,
    HOLD_S,
    PATIENCE,
    STIR,
)
from shoal.strategies.split.probes import GROWN, PROBE_S, QUIET_S

split = find_policy("split")

IMAGE, MIDDLE = ("image",), ("middle",)
MBIT = 1e6 / 8


def plan(name, *stages, accuracy=1.0, spare=False):
    """Stages of (devices, inputs, outputs, ms)."""
    made = [Stage(dict.fromkeys(devices, f"{a}-{b}"), (a,), (b,)) for devices, a, b, _ in stages]
    forecast = Forecast(1, 1, accuracy, stage_ms=tuple(ms for *_, ms in stages))
    return Plan(name, tuple(made), forecast, spare)


def book(servers=("server",), limits=(), aims=("latency",), up=10 * MBIT):
    """100 ms alone; 20 ms and 5 kB, exact or (2 kB) nearly so; or an image of 50 kB."""
    plans = [
        plan("alone", (["device"], "image", "logits", 100.0)),
        plan("cut", (["device"], "image", "middle", 20.0), (servers, "middle", "logits", 8.0)),
        plan(
            "cut, 4 bits",
            (["device"], "image", "middle", 20.0),
            (servers, "middle", "logits", 8.0),
            accuracy=0.97,
        ),
        plan("image", (servers, "image", "logits", 10.0)),
        plan(
            "alone from the cut",
            (["device"], "image", "middle", 20.0),
            (["device"], "middle", "logits", 80.0),
            spare=True,
        ),
    ]
    settings = {
        "device": "device",
        "servers": list(servers),
        "links": {n: {"up": up, "down": up, "rtt_ms": 4.0, "hop_ms": 0.5} for n in servers},
        "plans": {
            "cut": {"bytes": 5000.0, "pack_ms": 0.2},
            "cut, 4 bits": {"bytes": 2000.0, "pack_ms": 0.3},
            "image": {"bytes": 50_000.0},
        },
        "aims": list(aims),
        "limits": [list(limit) for limit in limits],
    }
    return Playbook(
        id="1",
        network="toy",
        strategy="split",
        policy=PolicySpec("split", settings),
        plans=tuple(plans),
        parts={},
        inputs=(TensorSpec("image", "float32", (None, 3)),),
        outputs=(TensorSpec("logits", "float32", (None, 4)),),
    )


class World:
    """A device and its servers, request after request: ``plans`` are those that they took, ``used``
    those that were in use."""

    def __init__(self, playbook, every_s=0.1, mbit_s=None):
        self.playbook = playbook
        self.every_s = every_s
        self.now = 0.0
        self.memory = None
        self.plans, self.used = [], []
        self.devices = {name: DeviceView() for name in playbook.devices}
        self.links = {}
        self.images = 1
        if mbit_s:
            self.link(mbit_s)

    def link(self, mbit_s, rtt_ms=4.0, at_least=False):
        self.links = {
            name: LinkView(mbit_s * MBIT, rtt_ms, self.now, at_least)
            for name in self.devices
            if name != "device"
        }

    def change(self, device, **facts):
        self.devices[device] = msgspec.structs.replace(self.devices[device], **facts)

    def ask(self, at=IMAGE):
        view = View(self.now, self.devices, self.links, images=self.images)
        choice, memory = split.choose(self.playbook, view, at, self.memory)
        if choice is not None:
            self.memory = memory
        return choice

    def request(self):
        choice = self.ask()
        self.plans.append(choice.plan)
        self.used.append(self.memory.plan)
        self.now += self.every_s
        return choice

    def requests(self, count):
        return [self.request().plan for _ in range(count)]


EXACT = (("accuracy", 0.0),)


def test_the_link_decides_what_a_new_request_does():
    assert World(book(limits=EXACT), mbit_s=0.1).request().plan == "alone"
    assert World(book(limits=EXACT), mbit_s=5).request().plan == "cut"
    assert World(book(), mbit_s=5).request().plan == "cut, 4 bits"
    assert World(book(), mbit_s=200).request().plan == "image"


def test_who_runs_each_stage_is_said():
    choice = World(book(limits=EXACT), mbit_s=5).request()
    assert choice.route == (("device",), ("server",))
    assert choice.start == 0
    assert World(book(), mbit_s=200).request().route == (("server",),)
    assert World(book(), mbit_s=0.01).request().route == (("device",),)


def test_an_unmeasured_link_is_taken_as_stated():
    assert World(book(limits=EXACT, up=5 * MBIT)).request().plan == "cut"
    assert World(book(limits=EXACT, up=0.1 * MBIT)).request().plan == "alone"


def test_a_slow_device_leaves_more_to_the_server_and_a_slow_server_less():
    world = World(book(limits=EXACT), mbit_s=12)
    world.change("device", slowdown=3.0)
    assert world.request().plan == "image"
    world = World(book(limits=EXACT), mbit_s=12)
    world.change("server", slowdown=20.0)
    assert world.request().plan == "alone"


def test_a_better_plan_is_turned_to_after_it_was_better_for_a_few_requests():
    world = World(book(limits=EXACT), mbit_s=5)
    assert world.requests(3) == ["cut"] * 3
    world.link(200)
    assert world.requests(4) == ["cut"] * (PATIENCE - 1) + ["image"] * (5 - PATIENCE)


def test_a_choice_holds_for_a_moment_while_nothing_speaks_against_it():
    world = World(book(limits=EXACT), every_s=HOLD_S / 5, mbit_s=5)
    held = world.request()
    world.change("device", slowdown=3.0)  # it would matter, but nobody looks
    assert [world.request() is held for _ in range(5)] == [True] * 4 + [False]


def test_what_speaks_against_it_ends_it_at_once():
    world = World(book(limits=EXACT), every_s=HOLD_S / 100, mbit_s=5)
    held = world.request()
    world.link(5 * STIR * 0.99)
    assert world.request() is held
    world.link(5 / STIR * 0.99)
    assert world.request() is not held
    world.change("server", usable=False)
    assert world.request().plan == "alone"


def test_what_suits_one_image_need_not_suit_several():
    """Alone 100 ms each; cut 20 + 8 + 5 kB each, and 4 ms + 1 ms for all of them."""
    world = World(book(limits=EXACT), mbit_s=0.57)
    assert [world.request().plan for _ in range(5)] == ["alone"] * 5
    world.images = 10
    assert world.request().plan == "cut"
    world.images = 1
    assert world.request().plan == "alone"


def test_what_holds_holds_for_as_many_images():
    world = World(book(limits=EXACT), every_s=HOLD_S / 100, mbit_s=5)
    held = world.request()
    world.images = 3
    assert world.request() is not held
    assert world.request() is world.memory.uses[0].held


def test_requests_of_different_size_do_not_make_each_other_flap():
    """About the threshold between "cut" and "image", 19.8 Mbit/s for one image."""
    world = World(book(limits=EXACT), mbit_s=19.8)
    for k in range(400):
        world.link(19.8 * (1.03 if k % 14 < 7 else 0.97))
        world.images = 1 + 7 * (k % 2)
        world.request()
    singles, eights = world.used[::2], world.used[1::2]
    assert sum(a != b for a, b in itertools.pairwise(singles)) <= 1
    assert sum(a != b for a, b in itertools.pairwise(eights)) <= 1


def test_only_a_few_sizes_are_remembered():
    world = World(book(limits=EXACT), mbit_s=5)
    for images in range(1, 100):
        world.images = images
        world.request()
    assert [use.images for use in world.memory.uses] == [99, 98, 97, 96]


def test_with_several_servers_every_request_is_looked_at():
    world = World(book(servers=("one", "two"), limits=EXACT), every_s=HOLD_S / 100, mbit_s=5)
    (first,) = world.request().route[-1]
    world.change(first, work_ms=500.0)
    assert world.request().route[-1] != (first,)


def test_one_good_moment_changes_nothing():
    world = World(book(limits=EXACT), mbit_s=5)
    for _ in range(20):
        world.link(5)
        world.requests(2)
        world.link(200)
        world.request()
    assert set(world.plans) == {"cut"}


def test_a_change_is_not_followed_by_another_at_once():
    world = World(book(limits=EXACT), every_s=0.01, mbit_s=5)
    world.requests(30)
    world.link(200)
    assert world.requests(PATIENCE)[-1] == "image"
    turned = world.now
    world.link(1.0)
    while world.request().plan == "image":
        pass
    assert world.now - turned >= COOL_S


@pytest.mark.parametrize("period", [1, 2, 7, 50])
def test_a_square_wave_at_the_threshold_makes_it_turn_once_at_most(period):
    """Between "cut" and "image" the threshold is 19.8 Mbit/s here."""
    world = World(book(limits=EXACT), mbit_s=19.8)
    for k in range(400):
        if k % period == 0:
            world.link(19.8 * (1.03 if (k // period) % 2 else 0.97))
        world.request()
    assert sum(a != b for a, b in itertools.pairwise(world.used)) <= 1
    assert world.plans == world.used


def test_a_square_wave_about_a_hard_limit_does_not_make_it_flap():
    """The fewest bytes just meet the limit, or just do not; the image meets it all the time."""
    limits = (("latency", 33.3),)
    world = World(book(limits=limits, aims=("bytes",)), mbit_s=200)
    for k in range(200):
        world.change("device", slowdown=0.98 if k % 10 < 5 else 1.01)
        world.link(200)
        world.request()
    assert sum(a != b for a, b in itertools.pairwise(world.plans)) == 1
    assert world.plans[-1] == "image"


def test_a_plan_that_breaks_a_hard_limit_is_left_at_once():
    world = World(book(limits=(("accuracy", 0.0), ("latency", 60.0)), aims=("server-cost",)))
    world.link(5)
    assert world.requests(3) == ["cut"] * 3
    world.change("device", slowdown=4.0)
    world.link(200)
    assert world.request().plan == "image"


def test_limits_that_nothing_meets_are_relaxed_and_that_is_said():
    world = World(book(limits=(("accuracy", 0.0), ("latency", 10.0))), mbit_s=5)
    choice = world.request()
    assert (choice.plan, choice.unmet) == ("cut", ("latency",))
    assert world.memory.relaxed == ("latency",)
    world = World(book(limits=(("accuracy", 0.0), ("latency", 60.0))), mbit_s=5)
    world.request()
    assert world.memory.relaxed == ()


def test_a_server_that_is_gone_is_done_without_and_taken_again():
    world = World(book(limits=EXACT), mbit_s=5)
    world.requests(2)
    world.change("server", usable=False)
    assert world.requests(3) == ["alone"] * 3
    world.change("server", usable=True)
    assert world.request().plan == "cut"


def test_of_several_servers_the_idle_one_is_taken():
    world = World(book(servers=("one", "two"), limits=EXACT), mbit_s=5)
    world.change("one", work_ms=40.0, outstanding=5)
    assert world.request().route == (("device",), ("two",))
    world.change("two", load=Load(waiting=10, running=1, run_ms=8.0))
    assert world.request().route == (("device",), ("one",))


def test_a_server_that_is_full_is_not_waited_for():
    world = World(book(limits=EXACT), mbit_s=5)
    world.change("server", load=Load(waiting=20, running=1, run_ms=8.0))
    assert world.request().plan == "alone"


def probes(world, count):
    """When the link was probed beside so many requests, in seconds, and whom to."""
    found = []
    for _ in range(count):
        at, choice = world.now, world.request()
        if choice.probe:
            found.append((at, choice.probe))
    return found


def test_a_link_that_nothing_crosses_is_probed_now_and_then():
    world = World(book(limits=EXACT), mbit_s=0.1)
    found = [at for at, _ in probes(world, 60)]
    assert set(world.plans) == {"alone"}
    assert found[0] >= QUIET_S
    assert all(b - a >= PROBE_S - 1e-9 for a, b in itertools.pairwise(found))
    assert len(found) >= 0.8 * world.now / PROBE_S


def test_a_link_that_is_measured_anyway_is_not_probed():
    world = World(book(limits=EXACT), mbit_s=0.1)
    for _ in range(40):
        world.link(0.1)
        assert not world.request().probe


def test_a_link_that_may_carry_more_than_was_sent_is_probed():
    world = World(book(limits=EXACT), mbit_s=5)
    found = []
    for _ in range(40):
        world.link(5, at_least=True)
        found += probes(world, 1)
    assert len(found) >= world.now / (PROBE_S + 2 * world.every_s) - 1
    assert all(b - a >= PROBE_S - 1e-9 for (a, _), (b, _) in itertools.pairwise(found))


def test_a_link_that_was_never_measured_is_probed_at_once():
    assert World(book(limits=EXACT)).request().probe == "server"


def test_what_a_probe_shows_is_used():
    world = World(book(limits=EXACT), mbit_s=0.1)
    while not world.request().probe:
        pass
    world.link(5)
    assert world.requests(PATIENCE)[-1] == "cut"


def test_a_probe_that_shows_a_quicker_link_is_followed_by_a_larger_one():
    """A small one tells little of a quick link, but that it is quick."""
    world = World(book(limits=EXACT), every_s=0.05, mbit_s=0.1)
    while not world.request().probe:
        pass
    world.link(5, at_least=True)
    ((first, _),) = probes(world, 3)
    world.link(80, at_least=True)
    ((second, _),) = probes(world, 3)
    assert second - first < PROBE_S
    assert world.requests(3 * PATIENCE)[-1] == "image"


def test_what_a_probe_shows_again_is_not_followed_at_once():
    world = World(book(limits=EXACT), every_s=0.05, mbit_s=5)
    world.link(5, at_least=True)
    while not world.request().probe:
        pass
    world.link(5 * GROWN * 0.99, at_least=True)
    assert probes(world, int(0.8 * PROBE_S / world.every_s)) == []


def test_no_probe_is_repeated_while_a_choice_holds():
    world = World(book(limits=EXACT), every_s=HOLD_S / 20, mbit_s=5)
    world.link(5, at_least=True)
    assert len(probes(world, 10)) <= 1


def test_who_is_not_there_is_not_probed():
    world = World(book(limits=EXACT), mbit_s=0.1)
    world.change("server", usable=False)
    assert probes(world, 40) == []


def test_of_several_servers_the_one_is_probed_that_was_measured_the_longest_ago():
    world = World(book(servers=("one", "two"), limits=EXACT), mbit_s=0.1)
    world.now = 5.0
    world.links["two"] = LinkView(0.1 * MBIT, 4.0, 4.0)
    assert world.request().probe == "one"
    world.links["one"] = LinkView(0.1 * MBIT, 4.0, 5.0)
    world.now += PROBE_S
    assert world.request().probe == "two"


def test_a_request_that_was_stopped_goes_on_from_the_cut():
    world = World(book(servers=("one", "two"), limits=EXACT), mbit_s=5)
    world.request()
    world.change("one", usable=False)
    choice = world.ask(MIDDLE)
    assert (choice.plan, choice.start) == ("cut", 1)
    assert choice.route == ((), ("two",))
    world.change("two", usable=False)
    choice = world.ask(MIDDLE)
    assert (choice.plan, choice.start) == ("alone from the cut", 1)
    assert choice.route == ((), ("device",))


def test_going_on_elsewhere_does_not_change_the_plan_in_use():
    world = World(book(limits=EXACT), mbit_s=5)
    world.requests(2)
    world.change("server", usable=False)
    world.ask(MIDDLE)
    world.change("server", usable=True)
    assert world.request().plan == "cut"


def test_tensors_that_no_plan_knows_lead_nowhere():
    assert World(book()).ask(("elsewhere",)) is None


def test_when_nobody_is_there_nothing_is_chosen():
    world = World(book())
    for name in world.devices:
        world.change(name, usable=False)
    assert world.ask() is None


def test_a_playbook_that_lacks_what_is_not_loaded_yet_is_followed_as_it_is():
    whole = book(limits=EXACT)
    world = World(whole, mbit_s=5)
    world.requests(2)
    world.playbook = msgspec.structs.replace(whole, plans=(whole.plans[0], whole.plans[3]))
    assert world.request().plan in ("alone", "image")
    world.playbook = whole
    assert world.requests(PATIENCE + 1)[-1] == "cut"


def test_choosing_is_pure():
    world = World(book(limits=EXACT), mbit_s=5)
    world.requests(3)
    view = View(world.now, world.devices, world.links)
    first = split.choose(world.playbook, view, IMAGE, world.memory)
    assert split.choose(world.playbook, view, IMAGE, world.memory) == first


def test_a_stage_whose_route_is_free_goes_to_the_least_busy():
    world = World(book(servers=("one", "two")))
    world.change("one", work_ms=50.0)
    view = View(0.0, world.devices)
    assert split.forward(world.playbook, world.playbook.plans[1], 1, view, None)[0] == "two"


@pytest.mark.parametrize(
    "spoil",
    [
        {"device": 3},
        {"aims": ["beauty"]},
        {"tolerance": 2.0},
        {"links": {}},
        {"servers": ["stranger"]},
        {"answer_bytes": math.inf},
        {"plans": {"cut": {"bytes": -5.0}}},
        {"unknown": 1},
    ],
)
def test_a_playbook_with_impossible_settings_is_refused(spoil):
    good = book()
    settings = {**good.policy.settings, **spoil}
    bad = msgspec.structs.replace(good, policy=PolicySpec("split", settings))
    with pytest.raises(PlanError, match="make it again"):
        World(bad).request()

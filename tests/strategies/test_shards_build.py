"""Layers dealt over devices: the network that ships, on its sample images."""

from __future__ import annotations

import itertools
import re

import msgspec
import numpy as np
import pytest
from rich.console import Console
from tests.model.nets import model, node, tensor
from tests.toys.network import ToyNetwork, ToyProfile

from shoal import zoo
from shoal.cli.output import table
from shoal.core.policy import DeviceView, View
from shoal.errors import DataError, PlanError
from shoal.model.network import load
from shoal.model.shards import Why
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.playbook import load as load_playbook
from shoal.plan.playbook import plan_without, save
from shoal.plan.profiles import Profiles
from shoal.plan.prove import run_plan
from shoal.plan.size import Size, readable
from shoal.strategies.base import Built
from shoal.strategies.making import Candidate, build, finish, prepare
from shoal.strategies.options import read_options
from shoal.strategies.shards import settle
from shoal.strategies.shards.build import strategy
from shoal.strategies.shards.failures import Kept
from shoal.strategies.shards.policy import policy
from shoal.strategies.shards.promise import BACK
from shoal.strategies.shards.record import because, read_record

COUNT = 120
THREE = "devices: [{name: a}, {name: b}, {name: c}]"


@pytest.fixture(scope="module")
def network():
    return load(zoo.path("fashion-resnet"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sample images, a folder for each class."""
    samples = zoo.samples("fashion-resnet")
    root = tmp_path_factory.mktemp("images")
    for label in range(10):
        (root / str(label)).mkdir()
        chosen = samples.labels[:COUNT] == label
        np.save(root / str(label) / "some.npy", samples.images[:COUNT][chosen])
    return root


def made(network, text=THREE, objective=None, node_ms=5.0, survive=None, **options) -> Built:
    """What the strategy builds, proved, on devices that are slow against their links."""
    where = Cluster.from_yaml(text)
    nodes = network.nodes if isinstance(network.nodes, int) else len(network.nodes)
    profiles = Profiles.scaled(where, ToyProfile((node_ms,) * nodes, fixed_ms=0.1))
    wish = msgspec.structs.replace(objective or Objective(), survive=survive)
    options = {name: str(value) for name, value in options.items()}
    candidate = Candidate(strategy, read_options(strategy.options, options, strategy.name))
    offered = prepare([candidate], network, where, wish)
    (found,) = build(offered, network, where, profiles, wish)
    return finish(found, network, None)


@pytest.fixture(scope="module")
def half(network, folder):
    """Half of each layer is held by all three."""
    return made(network, objective=Objective(min_accuracy=0.6), calibrate=folder, rho=0.5)


def test_all_alive_it_is_the_whole_network(network, half):
    plan = half.playbook.plans[0]
    assert {stage.join.op for stage in plan.stages if stage.join} == {"channels", "sum"}
    assert plan.tolerance == network.tolerance
    feeds = network.probe(5, batch=2)
    (expected,) = network.run(feeds).values()
    (found,) = run_plan(plan, half.parts, feeds).values()
    assert np.allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_it_tells_what_is_kept_without_whom_and_goes_on_without_them(network, half):
    plan = half.playbook.plans[0]
    assert [each.devices for each in plan.forecast.missing] == [("a",), ("b",), ("c",)]
    assert all(0.6 <= each.accuracy < 1 for each in plan.forecast.missing)
    assert all(stage.join.least == 2 for stage in plan.stages if stage.join)
    assert all(plan_without(half.playbook, name) is plan for name in "abc")
    samples = zoo.samples("fashion-resnet")
    good = []
    for number in range(COUNT, COUNT + 100):  # images that it has not seen
        (expected,) = network.run(samples.feed(number)).values()
        (found,) = run_plan(plan, half.parts, samples.feed(number), absent=("b",)).values()
        good.append(found.argmax() == expected.argmax())
        assert not np.allclose(found, expected, atol=1e-3)
    assert np.mean(good) >= plan.forecast.accuracy_without(("b",)) - 0.1


def test_the_last_resort_is_the_whole_network_on_one_device(half):
    assert [plan.name for plan in half.playbook.in_place[1:]] == ["whole"]
    assert half.playbook.plans[1].spare


def test_it_survives_a_file(half, tmp_path):
    save(half.playbook, tmp_path / "book.json")
    again = load_playbook(tmp_path / "book.json")
    assert again == half.playbook
    assert read_record(again) == read_record(half.playbook)


def test_with_everything_common_any_two_of_three_may_be_lost(network):
    """No images are needed for that: nothing is missing."""
    found = made(network, rho=1, survive=2)
    plan = found.playbook.plans[0]
    assert {each.accuracy for each in plan.forecast.missing} == {1.0}
    assert len(plan.forecast.missing) == 6
    feeds = network.probe(1)
    (expected,) = network.run(feeds).values()
    for lost in itertools.combinations("abc", 2):
        (given,) = run_plan(plan, found.parts, feeds, absent=lost).values()
        assert np.allclose(given, expected, atol=1e-4 * np.abs(expected).max())


def test_as_much_is_common_as_the_promise_takes(network, folder):
    little = made(network, objective=Objective(min_accuracy=0.3), calibrate=folder)
    much = made(network, objective=Objective(min_accuracy=0.6), calibrate=folder)
    shares = []
    for found, least in ((little, 0.3), (much, 0.6)):
        record = read_record(found.playbook)
        assert min(loss.promised for loss in record.losses) >= least
        layers = [layer for step in record.steps for layer in step.layers]
        shares.append(sum(layer.common for layer in layers) / sum(layer.units for layer in layers))
    assert 0 <= shares[0] < shares[1] < 1


def test_where_the_parts_keep_nothing_of_the_other_images_all_is_common(
    network, folder, monkeypatch
):
    looks = []

    def nothing(plan, parts, network, sample, absent):
        looks.append(absent)
        return Kept(0, len(sample))

    monkeypatch.setattr(settle, "measure", nothing)
    found = made(network, objective=Objective(min_accuracy=0.8), calibrate=folder)
    record = read_record(found.playbook)
    layers = [layer for step in record.steps for layer in step.layers]
    assert all(layer.common == layer.units for layer in layers)
    assert {loss.promised for loss in record.losses} == {1.0}
    assert len(looks) == len(BACK) * len("abc"), "what is exact is not measured"


def test_without_images_nothing_is_promised_and_nobody_may_be_missing(network):
    found = made(network)
    plan = found.playbook.plans[0]
    assert plan.forecast.missing == ()
    assert all(stage.join.least == 3 for stage in plan.stages if stage.join)
    assert plan_without(found.playbook, "a").name == "whole"


def test_the_quick_get_more(network):
    text = "devices: [{name: a, speed: 3}, {name: b, speed: 1}]"
    record = read_record(made(network, text).playbook)
    layers = [layer for step in record.steps for layer in step.layers]
    assert all(layer.dealt[0] == 3 * layer.dealt[1] for layer in layers)


def test_who_is_often_away_gets_less_and_that_is_told(network):
    text = "devices: [{name: a}, {name: b, reliability: 0.5}, {name: c}]"
    found = made(network, text, deal="inner")
    for layer in (layer for step in read_record(found.playbook).steps for layer in step.layers):
        assert layer.dealt[1] == pytest.approx(0.2 * layer.units, abs=1)
    (note,) = (note for note in found.notes if "of the time" in note)
    assert (
        "b is there 50% of the time: it gets 20% of what not all hold, and by its speed 33%" in note
    )
    assert "10.0% is missing on average, not 16.7%" in note
    longer, shorter = (float(ms) for ms in re.findall(r"([\d.]+) ms", note))
    assert longer > shorter
    same = made(network, THREE.replace("}", ", reliability: 0.5}"), deal="inner")
    assert same.playbook.plans == made(network, deal="inner").playbook.plans
    assert "of the time" not in " ".join(same.notes)


def test_who_has_no_room_gets_less_and_others_more(network):
    free = made(network, deal="all").playbook.plans[0].forecast.memory
    limit = free["a"] - 30_000
    text = f"devices: [{{name: a, memory: {limit}}}, {{name: b}}, {{name: c}}]"
    tight = made(network, text, deal="all").playbook.plans[0].forecast.memory
    assert tight["a"] <= limit
    assert tight["b"] > free["b"]


def test_one_that_is_far_slower_holds_what_all_hold(network):
    text = "devices: [{name: a, speed: 999, memory: 90 MiB}, {name: b, memory: 90 MiB}]"
    record = read_record(made(network, text, deal="all").playbook)
    layers = [layer for step in record.steps if step.op == "channels" for layer in step.layers]
    assert any(layer.dealt[1] == 0 for layer in layers)
    assert all(layer.dealt[1] + layer.common for layer in layers)


def test_what_does_not_pay_is_left_whole_unless_all_is_to_be_dealt(network):
    fast = {"node_ms": 0.001}
    some = made(network, **fast).playbook.plans[0]
    every = made(network, deal="all", **fast).playbook.plans[0]
    assert len(some.stages) < len(every.stages)
    assert some.forecast.latency_ms < every.forecast.latency_ms
    assert "does not pay" in " ".join(made(network, deal="all", **fast).notes)
    assert "does not pay" not in " ".join(made(network).notes)
    assert (
        "whatever is dealt, every device does"
        in strategy.explain(made(network, **fast).playbook, strategy.options()).notes[0]
    )


def test_only_what_is_summed_may_be_dealt(network):
    stages = made(network, deal="inner").playbook.plans[0].stages
    assert {stage.join.op for stage in stages if stage.join} == {"sum"}


def test_filling_with_nothing_keeps_less(network, folder, rebuilding):
    """Until it is known who is lost, what is to be rebuilt is filled with its mean."""
    least = Objective(min_accuracy=0.0)
    found = made(network, objective=least, calibrate=folder, rho=0.25, deal="all", fill="zero")
    zero, mean = (
        np.mean([loss.share for loss in read_record(each.playbook).losses])
        for each in (found, rebuilding)
    )
    assert zero < mean


def test_it_explains_who_holds_what_and_what_is_kept(half, tmp_path):
    options = strategy.options()
    found = strategy.explain(half.playbook, options)
    titles = [sheet.title for sheet in found.sheets]
    assert len(titles) == 5
    for sheet in found.sheets:
        assert sheet.rows
        assert all(len(row) == len(sheet.columns) for row in sheet.rows)
        shown = table(sheet.title, sheet.columns, sheet.rows)
        assert Console(width=200).measure(shown).maximum <= 80, "a terminal holds it"
    record = read_record(half.playbook)
    stands = record.stands
    basis = f"right classes (top-1), measured on {stands.counted} of {stands.images} images"
    assert 0 < stands.counted < stands.images
    assert basis in " ".join(found.notes)
    assert basis in half.notes[0]
    main, whole = half.playbook.in_place
    both = main.forecast.memory["a"] + whole.forecast.memory["a"]
    assert found.sheets[1].rows[0][2] == readable(both)
    first = [step for step in record.steps if step.layers]
    assert [row[-1] for row in found.sheets[0].rows].count("") == (
        sum(len(step.layers) - 1 for step in first) + len(record.steps) - len(first)
    ), "what a region sends is told once"
    curve = [point.worst for point in record.curve]
    assert curve[-1] == 1.0
    assert curve[0] < curve[-1]
    pytest.importorskip("matplotlib")
    assert found.draw(tmp_path).stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"survive": 3}, "2 at most"),
        ({"survive": -1}, "write 0 or more"),
        ({"survive": 1}, "--calibrate FOLDER"),
        ({"rho": 1.5}, "rho"),
        ({"fill": "noise"}, "mean, zero, rebuilt"),
        ({"deal": "some"}, "pays, all, inner"),
        ({"confidence": 1.0}, "0.999"),
        ({"repair": -1}, "0 for never"),
    ],
)
def test_what_makes_no_sense_is_refused(network, options, said):
    with pytest.raises(PlanError, match=said):
        made(network, **options)


def test_an_accuracy_that_is_not_reached_says_what_can_be_had(network, folder):
    wish = Objective(min_accuracy=0.9)
    with pytest.raises(PlanError, match=r"with that rho, 0\.\d+ can") as refused:
        made(network, objective=wish, calibrate=folder, rho=0.0, deal="all")
    had = float(str(refused.value).split("rho, ")[1].split(" can")[0])
    made(
        network,
        objective=Objective(min_accuracy=had - 0.001),
        calibrate=folder,
        rho=0.0,
        deal="all",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "add devices, or take another strategy$"),
        ({"rho": 1, "survive": 1}, "add devices, or take a smaller --rho$"),
        ({"fill": "rebuilt"}, r"add devices, or take --fill mean \("),
    ],
)
def test_a_limit_below_a_shard_is_refused_with_what_would_do(network, options, said):
    limit = Objective(max_memory=Size(100_000))
    with pytest.raises(
        PlanError, match=f"shards: a needs .* has 97.7 KiB .*, b .*, and 1 more; .*{said}"
    ):
        made(network, objective=limit, **options)


def test_images_that_say_too_little_are_refused(network, folder, tmp_path):
    samples = zoo.samples("fashion-resnet")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        made(network, calibrate=tmp_path / "none")
    (tmp_path / "one").mkdir()
    np.save(tmp_path / "one" / "some.npy", samples.images[samples.labels == 1][:8])
    with pytest.raises(DataError, match="one class"):
        made(network, calibrate=tmp_path / "one")
    (tmp_path / "few").mkdir()
    np.save(tmp_path / "few" / "some.npy", samples.images[:20])
    with pytest.raises(PlanError, match="it takes 118 images"):
        made(network, calibrate=tmp_path / "few")
    with pytest.raises(PlanError, match="it takes 432 images, 128 of them to choose by"):
        made(network, objective=Objective(min_accuracy=0.99), calibrate=tmp_path / "few")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "some.npy").write_bytes(b"\x93NUMPY no more")
    with pytest.raises(DataError, match="holds no array"):
        made(network, calibrate=tmp_path / "bad")
    np.save(tmp_path / "bad" / "some.npy", samples.images[:0])
    with pytest.raises(DataError, match="an array of nothing"):
        made(network, calibrate=tmp_path / "bad")


def test_folders_that_are_sorted_otherwise_than_the_classes_are_refused(network, tmp_path):
    """Sorted names put 'ankle boot' before 'bag'; to the network they are 9 and 8."""
    samples = zoo.samples("fashion-resnet")
    for label, name in enumerate(samples.classes):
        (tmp_path / name.replace("/", " ")).mkdir()
        chosen = samples.images[:COUNT][samples.labels[:COUNT] == label]
        np.save(tmp_path / name.replace("/", " ") / "some.npy", chosen)
    with pytest.raises(DataError, match="call each folder by the number of its class"):
        made(network, calibrate=tmp_path)


def test_a_label_that_the_network_does_not_know_is_refused(network, tmp_path):
    (tmp_path / "77").mkdir()
    np.save(tmp_path / "77" / "some.npy", zoo.samples("fashion-resnet").images[:30])
    with pytest.raises(DataError, match="labelled 77"):
        made(network, calibrate=tmp_path)


def test_nodes_of_a_kind_that_are_not_dealt_for_one_reason_are_told_together():
    whys = [
        Why(3, "Conv", "Relu 'a/b' behind it needs the sum"),
        Why(5, "Conv", "it makes a single channel"),
        Why(9, "Conv", "Relu 'c' behind it needs the sum"),
        Why(12, "Gemm", "Relu 'd' behind it needs the sum"),
    ]
    assert because(whys) == (
        "Conv (nodes 3, 9): Relu behind it needs the sum",
        "Conv (node 5): it makes a single channel",
        "Gemm (node 12): Relu 'd' behind it needs the sum",
    )


def test_a_network_without_layers_to_deal_is_refused():
    nodes = [node("Mul", "x x", "y"), node("Relu", "y", "z")]
    squares = load(model(nodes, [tensor("x", ["n", 8])], ["z"]))
    with pytest.raises(PlanError, match="no layer that can be dealt"):
        made(squares)
    with pytest.raises(PlanError, match="layers can be dealt"):
        made(ToyNetwork())


def test_one_device_is_not_several(network):
    with pytest.raises(PlanError, match="one device only"):
        made(network, "devices: [{name: a}]")


@pytest.fixture(scope="module")
def rebuilding(network, folder):
    wish = Objective(min_accuracy=0.0)
    return made(network, objective=wish, calibrate=folder, rho=0.25, deal="all", fill="rebuilt")


def test_what_is_missing_is_rebuilt_once_it_is_known_who_is_lost(network, rebuilding):
    found = rebuilding
    main, *others = found.playbook.in_place
    mended = {plan.name: plan for plan in others if plan.name != "whole"}
    assert list(mended) == [f"rebuilt without {name}" for name in "abc"]
    record = read_record(found.playbook)
    for loss, plan in zip(record.losses, mended.values(), strict=True):
        assert plan.devices == set("abc") - set(loss.devices)
        assert plan.forecast.accuracy == loss.rebuilt_promised
        assert plan.tolerance is None
    before = np.mean([loss.share for loss in record.losses])
    assert np.mean([loss.rebuilt_share for loss in record.losses]) > before
    samples = zoo.samples("fashion-resnet")
    good = {"main": 0, "rebuilt": 0}
    for number in range(COUNT, COUNT + 60):
        (expected,) = network.run(samples.feed(number)).values()
        (filled,) = run_plan(main, found.parts, samples.feed(number), absent=("c",)).values()
        (rebuilt,) = run_plan(
            mended["rebuilt without c"], found.parts, samples.feed(number)
        ).values()
        good["main"] += filled.argmax() == expected.argmax()
        good["rebuilt"] += rebuilt.argmax() == expected.argmax()
    assert good["rebuilt"] > good["main"]


def test_the_policy_takes_what_keeps_most(rebuilding):
    book = msgspec.structs.replace(rebuilding.playbook, plans=rebuilding.playbook.in_place)

    def chosen(usable):
        view = View(0.0, {name: DeviceView(usable=name in usable) for name in "abc"})
        choice, _ = policy.choose(book, view, ("image",), None)
        return choice and (choice.plan, choice.route[0])

    assert chosen("abc") == ("shards on a+b+c", ("a", "b", "c"))
    assert chosen("bc") == ("rebuilt without a", ("b", "c"))
    assert chosen("c") == ("whole", ("c",))
    assert chosen("") is None


def test_who_could_not_load_its_shards_counts_as_missing(rebuilding):
    """Such a device is usable, but the gateway leaves it out of the plan."""

    def without(stage):
        parts = {name: part for name, part in stage.parts.items() if name != "b"}
        return msgspec.structs.replace(stage, parts=parts)

    main, *others = rebuilding.playbook.in_place
    left = msgspec.structs.replace(main, stages=tuple(map(without, main.stages)))
    book = msgspec.structs.replace(rebuilding.playbook, plans=(left, *others))
    view = View(0.0, {name: DeviceView(usable=True) for name in "abc"})
    choice, _ = policy.choose(book, view, ("image",), None)
    assert choice is not None
    assert choice.plan.startswith("rebuilt without"), "the plan of all is not worth 1 without b"

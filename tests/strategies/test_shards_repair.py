"""What is planned for a device that is lost for good."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given
from tests.strategies.test_shards_build import THREE, made

from shoal import zoo
from shoal.errors import PlanError
from shoal.model.network import load
from shoal.plan.identity import from_reserve
from shoal.plan.objective import Objective
from shoal.plan.playbook_check import validate
from shoal.plan.prove import run_plan
from shoal.strategies.shards.dealing import adopt, deal
from shoal.strategies.shards.record import read_record
from shoal.strategies.shards.repair import MOST_DEVICES


@pytest.fixture(scope="module")
def network():
    return load(zoo.path("fashion-resnet"))


@pytest.fixture(scope="module")
def found(network):
    """Nobody may be missing, as nothing is known of what is kept."""
    return made(network, deal="all")


def reserves(book):
    return {plan.reserve.without[0]: plan for plan in book.plans if plan.reserve}


def test_without_each_device_the_others_have_all(network, found):
    plans = reserves(found.playbook)
    assert list(plans) == ["a", "b", "c"]
    feeds = network.probe(3)
    (expected,) = network.run(feeds).values()
    for lost, plan in plans.items():
        assert (plan.devices, plan.forecast.accuracy) == (set("abc") - {lost}, 1.0)
        assert plan.reserve.after_s == 10.0
        (given_,) = run_plan(plan, found.parts, feeds).values()
        assert np.allclose(given_, expected, atol=1e-4 * np.abs(expected).max())
        validate(from_reserve(found.playbook, plan))


def test_only_what_the_lost_one_held_is_brought(found):
    """All weights of the part before are in the part after it, as they are."""
    main, infos = found.playbook.plans[0], found.playbook.parts
    record = {each.lost: each for each in read_record(found.playbook).repairs}
    for lost, plan in reserves(found.playbook).items():
        more: dict[str, int] = {}
        for before, after in zip(main.stages, plan.stages, strict=True):
            for name, part in after.parts.items():
                old, new = infos[before.parts[name]].blobs, infos[part].blobs
                assert old.keys() <= new.keys()
                more |= {blob: size for blob, size in new.items() if blob not in old}
        held = read_record(found.playbook).steps
        index = "abc".index(lost)
        alone = sum(layer.unit_bytes * layer.dealt[index] for s in held for layer in s.layers)
        assert 0.9 * alone < sum(more.values()) <= alone
        assert sum(record[lost].weights.values()) == sum(more.values())
        assert f"{max(sum(each.weights.values()) for each in record.values()) / 1024:.1f} KiB" in (
            " ".join(found.notes)
        )


def test_who_has_no_room_for_it_adopts_less(network, found):
    record = read_record(found.playbook).repairs[0]
    main, whole, spared, *_ = found.playbook.plans
    parts = {stage.parts["b"] for plan in (main, whole, spared) for stage in plan.stages}
    limit = sum(found.playbook.parts[part].memory for part in parts) - 20_000  # a little less
    tight = f"devices: [{{name: a}}, {{name: b, memory: {limit}}}, {{name: c}}]"
    tighter = read_record(made(network, tight, deal="all").playbook).repairs[0]
    assert tighter.fits
    assert 0 < tighter.weights["b"] < record.weights["b"]
    assert tighter.weights["c"] > record.weights["c"]


def test_where_there_is_no_room_there_is_no_repair_and_it_says_so(network, found):
    """The parts of a and b fit there once only; where the others have room, these do all."""
    limit = int(1.1 * found.playbook.plans[0].forecast.memory["b"])
    devices = f"{{name: a, memory: {limit}}}, {{name: b, memory: {limit}}}, {{name: c}}"
    tight = made(network, f"devices: [{devices}]", deal="all")
    fits = {each.lost: each for each in read_record(tight.playbook).repairs}
    assert fits["a"].fits
    assert fits["a"].weights["b"] == 0 < fits["a"].weights["c"]
    assert (fits["c"].fits, fits["c"].instead) == (True, True), "in the place of what is there"
    assert (fits["a"].instead, fits["b"].instead) == (False, False)
    assert "when c is lost for good, there is no memory for that beside" in " ".join(tight.notes)
    spared = reserves(tight.playbook)
    assert {name: plan.reserve.instead for name, plan in spared.items()} == {
        "a": False,
        "b": False,
        "c": True,
    }
    for name in "ab":
        assert spared["c"].forecast.memory[name] <= limit
    main = tight.playbook.plans[0].forecast.memory["b"]
    bare = main + (spared["c"].forecast.memory["b"] - main) // 3
    devices = f"{{name: a, memory: {bare}}}, {{name: b, memory: {bare}}}, {{name: c}}"
    none = made(network, f"devices: [{devices}]", deal="all")
    fits = {each.lost: each.fits for each in read_record(none.playbook).repairs}
    assert fits == {"a": True, "b": True, "c": False}
    assert list(reserves(none.playbook)) == ["a", "b"]
    assert "when c is lost for good nothing is brought" in " ".join(none.notes)


def test_it_can_be_left_and_put_off(network):
    for options in ({"repair": 0}, {"rho": 1}):  # where all hold all nothing is to be brought
        assert not reserves(made(network, deal="all", **options).playbook)
    many = ", ".join(f"{{name: d{number}}}" for number in range(MOST_DEVICES + 1))
    crowd = made(network, f"devices: [{many}]", deal="inner")
    assert not reserves(crowd.playbook)
    assert "brought to nobody" in " ".join(crowd.notes)
    late = made(network, deal="all", repair=90).playbook
    assert {plan.reserve.after_s for plan in reserves(late).values()} == {90.0}


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=40),
    st.lists(st.floats(0.1, 5), min_size=2, max_size=6),
    st.integers(0, 9),
    st.data(),
)
def test_what_is_adopted_is_what_was_missing(importance, shares, common, data):
    dealing = deal(importance, shares, common)
    lost = data.draw(st.integers(0, len(shares) - 1))
    left = shares[:lost] + shares[lost + 1 :]
    after = adopt(dealing, lost, importance, left)
    assert after.missing(()) == ()
    assert after.units == len(importance)
    assert sorted(unit for units in after.adopted for unit in units) == sorted(dealing.dealt[lost])
    assert after.dealt == dealing.dealt[:lost] + dealing.dealt[lost + 1 :]
    for second in range(len(left)):
        gone = {*after.dealt[second], *after.adopted[second]}
        assert set(after.missing((second,))) == (gone if len(left) > 1 else {*range(after.units)})


def test_with_devices_lost_and_no_room_there_is_still_a_promise(network, tmp_path):
    samples = zoo.samples("fashion-resnet")
    np.save(tmp_path / "some.npy", samples.images[:120])
    wish = Objective(min_accuracy=0.3, max_memory=12 << 20)
    book = made(network, THREE, wish, calibrate=tmp_path, rho=0.25, deal="all").playbook
    assert len(book.plans[0].forecast.missing) == 3


def test_a_playbook_whose_reserve_makes_no_sense_is_refused(found):
    main = found.playbook.plans[0]
    spared = reserves(found.playbook)["a"]
    for change in ({"without": ()}, {"without": ("b",)}, {"without": ("z",)}, {"after_s": -1.0}):
        wrong = msgspec.structs.replace(spared.reserve, **change)
        plans = (main, msgspec.structs.replace(spared, reserve=wrong))
        with pytest.raises(PlanError, match="in reserve"):
            validate(msgspec.structs.replace(found.playbook, plans=plans))
    with pytest.raises(PlanError, match="first plan is in reserve"):
        validate(msgspec.structs.replace(found.playbook, plans=(spared, main)))

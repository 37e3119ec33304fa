"""Coded layers: whoever of the tolerated is lost, the answer is that of the whole network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.nets import model, node, tensor
from tests.model.shards import families
from tests.model.shards.test_part import networks
from tests.strategies.test_shards_build import made

from shoal import zoo
from shoal.errors import PlanError, ProofError
from shoal.model.network import Network, load
from shoal.model.shards import coded_regions, coded_shard
from shoal.plan.objective import Objective
from shoal.plan.playbook import load as load_playbook
from shoal.plan.playbook import save
from shoal.plan.prove import run_plan
from shoal.plan.size import Size
from shoal.strategies.base import Built
from shoal.strategies.shards import coded as coding
from shoal.strategies.shards.build import strategy
from shoal.strategies.shards.prepare import ShardOptions
from shoal.strategies.shards.record import read_record

MOST_SETS = 12
"""That are tried once more, beside the proof of all, on inputs that this did not see."""


def cluster(devices: int) -> str:
    return f"devices: [{', '.join(f'{{name: d{k}}}' for k in range(devices))}]"


def coded(network: Network, devices: int, survive: int, **options: object) -> Built:
    given = {"deal": "all", **options}
    return made(network, cluster(devices), fill="coded", survive=survive, **given)


def check(found: Built, network: Network, devices: int, survive: int) -> None:
    """Sets that are tolerated, on inputs that it was not proved on."""
    plan = found.playbook.plans[0]
    names = [f"d{k}" for k in range(devices)]
    sets = [s for n in range(1, survive + 1) for s in itertools.combinations(names, n)]
    assert [(m.devices, m.accuracy) for m in plan.forecast.missing] == [(s, 1.0) for s in sets]
    feeds = network.probe(11, 1 if network.inputs[0].shape[0] else 2)
    (expected,) = network.run(feeds).values()
    scale = np.abs(expected).max()
    drawn = np.random.default_rng(0).permutation(len(sets))[:MOST_SETS]
    for lost in ((), *(sets[k] for k in drawn)):
        (answer,) = run_plan(plan, found.parts, feeds, absent=lost).values()
        assert np.abs(answer - expected).max() <= 1e-4 * scale, lost
    too_many = names[: survive + 1]
    if any(stage.join for stage in plan.stages) and len(too_many) < devices:
        with pytest.raises(ProofError, match="cannot run it alone"):
            run_plan(plan, found.parts, feeds, absent=too_many)


@pytest.fixture(scope="module")
def network():
    return load(zoo.path("fashion-resnet"))


@pytest.mark.parametrize(
    ("devices", "survive"),
    [(n, f) for n in range(2, 9) for f in range(1, 4) if f < n],
)
def test_whoever_is_lost_it_is_exact(devices, survive):
    network = families.residual()
    found = coded(network, devices, survive)
    least = {stage.join.least for stage in found.playbook.plans[0].stages if stage.join}
    assert least == {devices - survive}
    check(found, network, devices, survive)


def test_so_it_is_for_a_trained_network(network):
    check(coded(network, 4, 2), network, 4, 2)


@pytest.mark.parametrize("make", families.FAMILIES, ids=lambda make: make.__name__)
def test_each_family_is_exact_without_any_two_of_five(make):
    network = make()
    check(coded(network, 5, 2), network, 5, 2)


@given(networks(), st.integers(2, 8), st.integers(1, 3))
@settings(deadline=None, max_examples=8)
def test_random_networks_are_exact(network, devices, survive):
    survive = min(survive, devices - 1)
    check(coded(network, devices, survive), network, devices, survive)


def test_no_images_and_no_number_are_needed_and_one_may_be_lost(network):
    found = made(network, fill="coded")
    assert [each.devices for each in found.playbook.plans[0].forecast.missing] == [
        ("a",), ("b",), ("c",)
    ]  # fmt: skip
    assert "answers are exact with any 1 lost" in found.notes[0]
    assert [plan.name for plan in found.playbook.plans[1:]] == ["whole"]


def test_weights_are_those_of_the_code(network):
    """Each device holds a third of each layer that is coded: 1.33 of the network in all."""
    record = read_record(coded(network, 4, 1).playbook)
    assert all(step.op == "coded" for step in record.steps)
    held = [sum(step.bytes[k] for step in record.steps) for k in range(4)]
    assert max(held) == pytest.approx(network.weight_bytes / 3, rel=0.03)
    channels = {layer.name: (layer.units, layer.dealt) for s in record.steps for layer in s.layers}
    assert all(dealt == (-(-units // 3),) * 4 for units, dealt in channels.values())


def test_what_cannot_be_coded_is_said(network):
    inverted = families.inverted()
    found = coded(inverted, 3, 1)
    assert any("its groups read different channels" in note for note in found.notes)
    few = coded(network, 8, 0)
    assert not few.playbook.plans[0].forecast.missing
    many = coded_regions(families.plain(), 8)
    assert [why.words for why in many.whys] == ["it makes 5 channels, fewer than the 8 blocks"]


def test_nothing_to_code_is_said():
    nodes = [node("Relu", "x", "y")]
    still = load(model(nodes, [tensor("x", ["n", 3, 4, 4])], ["y"], {}), name="still")
    with pytest.raises(PlanError, match="has no layer that can be dealt"):
        coded(still, 3, 1)


def test_where_computing_is_cheap_little_is_coded(network):
    much = made(network, fill="coded")
    little = made(network, node_ms=0.01, fill="coded")
    counts = [
        sum(stage.join is not None for stage in found.playbook.plans[0].stages)
        for found in (much, little)
    ]
    assert counts[0] > counts[1] >= 1


def test_it_survives_a_file(network, tmp_path):
    found = coded(network, 4, 2)
    save(found.playbook, tmp_path / "book.json")
    assert load_playbook(tmp_path / "book.json") == found.playbook
    explained = strategy.explain(found.playbook, ShardOptions())
    rows = [row for sheet in explained.sheets for row in sheet.rows]
    assert any("coded" in row for row in rows)
    assert any(sheet.title == "what is kept without whom"
               for sheet in explained.sheets)  # fmt: skip


def test_parts_that_do_not_give_all_are_not_served(network, monkeypatch):
    """The proof must be able to fail: a parity slice of other coefficients than are stated."""

    def other(network, region, row):
        return coded_shard(network, region, row if 0.0 in row else (1.0, 1.01))

    monkeypatch.setattr(coding, "coded_shard", other)
    with pytest.raises(ProofError, match="differs from the whole network"):
        coded(network, 3, 1)
    coded(network, 2, 0)  # with everybody there nobody asks it


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rho": 0.5}, "nothing is held by all where layers are coded"),
        ({"deal": "inner"}, "nothing is added where layers are coded"),
        ({"repair": 10}, "brought to nobody where layers are coded"),
        ({"survive": 3}, "nobody is left to answer"),
    ],
)
def test_options_that_make_no_sense_are_refused(network, options, words):
    with pytest.raises(PlanError, match=words):
        made(network, fill="coded", **options)


def test_that_nothing_is_repaired_may_be_said(network):
    found = made(network, fill="coded", repair=0)
    assert not any(plan.reserve for plan in found.playbook.plans)


def test_too_many_devices_are_refused(network):
    with pytest.raises(PlanError, match="there are 9 devices, and layers are coded for 8"):
        coded(network, 9, 1)


def test_a_device_too_small_for_a_block_is_named(network):
    text = "devices: [{name: a}, {name: b, memory: 2 MB}, {name: c}]"
    with pytest.raises(PlanError, match=r"b needs .* and has .* for them"):
        made(network, text, fill="coded", deal="all")


def test_within_limits_of_memory_less_is_coded_or_all(network):
    """More stages take more memory than the weights that they save, where these are few."""
    free = coded(network, 3, 1)
    most = max(free.playbook.plans[0].forecast.memory.values())
    wish = Objective(max_memory=Size(most - 1))
    found = made(network, cluster(3), wish, fill="coded", survive=1)
    assert max(found.playbook.plans[0].forecast.memory.values()) < most


def test_a_slow_device_is_named(network):
    text = "devices: [{name: a}, {name: b, speed: 0.25}, {name: c}]"
    found = made(network, text, fill="coded")
    assert any(note.startswith("blocks are equal in size, and b takes 4.0 times as long")
               for note in found.notes)  # fmt: skip


def test_it_is_proved_on_the_images_too(network, tmp_path):
    samples = zoo.samples("fashion-resnet")
    np.save(tmp_path / "some.npy", samples.images[:8])
    found = made(network, fill="coded", calibrate=tmp_path)
    assert len(found.images) == 4
    assert replace(found, images=()).playbook.plans[0].forecast.accuracy == 1.0

"""Slices that are packed: what that saves, what it loses, and when it is done unasked."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from rich.console import Console
from tests.strategies.test_shards_build import COUNT, THREE, folder, made, network  # noqa: F401

from shoal import zoo
from shoal.cli.output import table
from shoal.codec.frame import pack
from shoal.errors import PlanError
from shoal.plan.objective import Objective
from shoal.plan.playbook_check import validate
from shoal.plan.prove import run_plan, sent
from shoal.strategies.shards import settle
from shoal.strategies.shards.build import strategy
from shoal.strategies.shards.failures import Kept
from shoal.strategies.shards.prepare import ShardOptions
from shoal.strategies.shards.record import read_record

SLOW = f"{THREE}\nlinks: {{default: {{mbit_s: 1, rtt_ms: 1}}}}"
WISH = Objective(min_accuracy=0.6)


@pytest.fixture(scope="module")
def packed(network, folder):  # noqa: F811
    """Half of each layer is held by all, and what they exchange is rounded to 8 bits."""
    return made(
        network, objective=WISH, calibrate=folder, rho=0.5, deal="all", codec="quant:8", repair=10
    )


def test_what_is_exchanged_is_packed_and_the_answer_is_not(packed):
    plan = packed.playbook.plans[0]
    assert [stage.codec for stage in plan.stages[:-1]] == ["quant:8"] * (len(plan.stages) - 1)
    assert plan.stages[-1].codec == plan.codec == "raw"


def test_it_crosses_links_at_a_quarter_of_the_bytes_and_that_is_told(packed, network, folder):  # noqa: F811
    raw = made(network, objective=WISH, calibrate=folder, rho=0.5, deal="all", codec="raw")
    before, after = (each.playbook.plans[0].forecast for each in (raw, packed))
    assert after.bytes_per_image < 0.35 * before.bytes_per_image
    (note,) = (note for note in packed.notes if "slices are packed" in note)
    assert "(quant:8)" in note
    assert "all of it with --codec raw" in note
    shown = strategy.explain(packed.playbook, ShardOptions())
    titles = [sheet.title for sheet in shown.sheets]
    packings = shown.sheets[titles.index("what is exchanged for an image")]
    assert [row[1] for row in packings.rows] == ["quant:8"] * (len(packings.rows) - 1) + [""]
    assert shown.sheets[titles.index("what is kept without whom")].rows[0][0] == "nobody"
    for sheet in shown.sheets:
        wide = Console(width=200).measure(table(sheet.title, sheet.columns, sheet.rows)).maximum
        assert wide <= 80, "a terminal holds it"
    assert any("packed: with quant:8" in each for each in shown.notes)
    plain = strategy.explain(raw.playbook, ShardOptions())
    assert "what is exchanged for an image" not in [sheet.title for sheet in plain.sheets]


def test_the_bytes_are_those_of_real_slices(packed, network, folder):  # noqa: F811
    """As many as the first images of the calibration make: others are somewhat more or less."""
    plan, record = packed.playbook.plans[0], read_record(packed.playbook)
    samples = zoo.samples("fashion-resnet")
    for stage, step, tensors in zip(
        plan.stages, record.steps, sent(plan, packed.parts, samples.feed(0)), strict=True
    ):
        for device, told in zip(stage.parts, step.packed, strict=False):
            if step.packed and stage.join is not None:
                assert told == pytest.approx(pack(tensors[device], stage.codec).size, rel=0.5)
    assert all(sum(step.packed) <= sum(step.sends) for step in record.steps if step.sends)


def test_what_is_kept_is_measured_through_the_codec(packed, network):  # noqa: F811
    plan, record = packed.playbook.plans[0], read_record(packed.playbook)
    assert plan.tolerance is None
    assert 0.6 <= plan.forecast.accuracy == record.promised < 1
    assert record.promised <= record.share
    samples = zoo.samples("fashion-resnet")
    good, apart = [], []
    for number in range(COUNT, COUNT + 60):
        (expected,) = network.run(samples.feed(number)).values()
        (found,) = run_plan(plan, packed.parts, samples.feed(number)).values()
        good.append(found.argmax() == expected.argmax())
        apart.append(np.abs(found - expected).max() / np.abs(expected).max())
    assert np.mean(good) >= plan.forecast.accuracy - 0.05
    assert 1e-4 < max(apart) < 0.2


def test_several_images_are_answered_as_each_alone(packed):
    plan, samples = packed.playbook.plans[0], zoo.samples("fashion-resnet")
    feeds = [samples.feed(number) for number in range(3)]
    (name,) = feeds[0]
    both = {name: np.concatenate([each[name] for each in feeds])}
    (together,) = run_plan(plan, packed.parts, both, absent=("b",)).values()
    for number, each in enumerate(feeds):
        (alone,) = run_plan(plan, packed.parts, each, absent=("b",)).values()
        np.testing.assert_allclose(together[number], alone[0], rtol=1e-3, atol=1e-3)


def test_what_is_repaired_is_measured_too(packed):
    plans = [plan for plan in packed.playbook.plans if plan.reserve is not None]
    assert len(plans) == 3
    for plan in plans:
        assert plan.tolerance is None
        assert 0.6 <= plan.forecast.accuracy < 1
        assert any(stage.codec == "quant:8" for stage in plan.stages)


def test_nothing_is_packed_unasked_where_links_are_quick(network, folder):  # noqa: F811
    found = made(network, objective=WISH, calibrate=folder, rho=0.5)
    plan = found.playbook.plans[0]
    assert {stage.codec for stage in plan.stages} == {"raw"}
    assert (plan.forecast.accuracy, plan.tolerance) == (1.0, network.tolerance)


@pytest.fixture(scope="module")
def unasked(network, folder):  # noqa: F811
    return made(network, SLOW, WISH, calibrate=folder, rho=0.5, deal="all")


def test_it_is_packed_unasked_where_that_pays(unasked):
    plan = unasked.playbook.plans[0]
    assert {stage.codec for stage in plan.stages} == {"raw", "quant:8"}
    assert 0.6 <= plan.forecast.accuracy < 1


def test_but_not_where_the_promise_would_be_broken(network, folder, monkeypatch):  # noqa: F811
    real, looks = settle.measure, []

    def rounded_keeps_nothing(plan, *rest):
        looks.append({stage.codec for stage in plan.stages})
        return Kept(0, 100) if looks[-1] != {"raw"} else real(plan, *rest)

    monkeypatch.setattr(settle, "measure", rounded_keeps_nothing)
    found = made(network, SLOW, WISH, calibrate=folder, rho=0.5, deal="all")
    plan = found.playbook.plans[0]
    assert {stage.codec for stage in plan.stages} == {"raw"}
    assert (plan.forecast.accuracy, plan.tolerance) == (1.0, network.tolerance)
    assert {"raw", "quant:8"} in looks
    assert {"raw", "half"} in looks


def test_without_loss_no_images_are_needed_and_it_is_exact(network):  # noqa: F811
    for options in ({}, {"fill": "coded"}):
        found = made(network, deal="all", codec="lossless", **options)
        plan = found.playbook.plans[0]
        assert any(stage.codec == "lossless" for stage in plan.stages)
        assert (plan.forecast.accuracy, plan.tolerance) == (1.0, network.tolerance)
        assert any("answers are the same" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"codec": "zip"}, "codec: no codec is called 'zip'"),
        ({"codec": "quant:99"}, "codec: "),
        ({"codec": "half"}, "measured on images: give some with --calibrate"),
        ({"codec": "quant:8", "fill": "coded"}, "coded ones would be off by many times that"),
    ],
)
def test_what_makes_no_sense_is_refused(network, options, said):  # noqa: F811
    with pytest.raises(PlanError, match=said):
        made(network, **options)


def test_images_that_are_too_few_to_promise_anything_are_refused(network, tmp_path):  # noqa: F811
    (tmp_path / "few").mkdir()
    np.save(tmp_path / "few" / "some.npy", zoo.samples("fashion-resnet").images[:20])
    with pytest.raises(PlanError, match="it takes 104 images"):
        made(network, calibrate=tmp_path / "few", codec="half", survive=0)


def test_a_playbook_that_rounds_coded_slices_is_refused(network):  # noqa: F811
    book = made(network, deal="all", fill="coded").playbook
    plan = book.plans[0]
    at = next(k for k, stage in enumerate(plan.stages) if stage.join is not None)
    stages = list(plan.stages)
    for codec, wrong in (("lossless", False), ("half", True), ("raw;%s=quant:4", True)):
        name = stages[at].join.tensor.name
        text = codec % name if "%s" in codec else codec
        stages[at] = msgspec.structs.replace(plan.stages[at], codec=text)
        changed = msgspec.structs.replace(plan, stages=tuple(stages))
        other = msgspec.structs.replace(book, plans=(changed, *book.plans[1:]))
        if not wrong:
            validate(other)
            continue
        with pytest.raises(PlanError, match="loses something of coded slices"):
            validate(other)

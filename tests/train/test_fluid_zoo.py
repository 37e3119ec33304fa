"""The fluid networks that ship are as good as their records say."""

import json

import numpy as np
import pytest

from shoal import zoo
from shoal.model.bundle import Variant, load_bundle

SHIPPED = ("mnist-fluid", "fashion-mnist-fluid")


@pytest.mark.parametrize("name", SHIPPED)
def test_they_are_small_and_say_how_they_were_made(name: str) -> None:
    card = zoo.card(name)
    assert zoo.path(name).name == "model.fluid"
    assert card.files["model.fluid"].bytes < 500_000
    assert card.facts["training"]["command"].startswith("shoal train fluid --data ")
    assert card.facts["fluid"]["lacking"] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_sub_network_is_nearly_as_right_about_the_samples_as_its_record_says(
    name: str,
) -> None:
    samples, bundle = zoo.samples(name), load_bundle(zoo.path(name))
    assert len(samples) == 200
    for packed in bundle.subnets:
        if packed.variant is not Variant.ALONE:
            continue
        (logits,) = bundle.part(packed.stages[0].parts["0"]).run({"image": samples.images}).values()
        right = float(np.mean(logits.argmax(1) == samples.labels))
        # 200 images: three standard deviations of a share of 0.87 are 0.07.
        assert right == pytest.approx(packed.accuracy, abs=0.08)


def test_the_halves_of_mnist_are_within_a_point_of_static_and_the_whole_within_a_third() -> None:
    runs = json.loads((zoo.path("mnist-fluid").parent / "runs.json").read_text())
    static = {run["seed"]: run["accuracy"]["C100"] for run in runs if run["kind"] == "static"}
    fluid = [run for run in runs if run["kind"] == "fluid"]
    assert fluid
    for run in fluid:
        if run["seed"] not in static:
            continue
        found = run["accuracy"]
        assert found["C100"] >= 0.990
        assert found["C100"] >= static[run["seed"]] - 0.003
        assert min(found["L50"], found["U50"]) >= static[run["seed"]] - 0.01


def test_a_device_that_is_added_makes_nothing_worse() -> None:
    bundle = load_bundle(zoo.path("fashion-mnist-fluid"))
    alone = {
        frozenset(packed.groups): packed.accuracy
        for packed in bundle.subnets
        if packed.variant is Variant.ALONE
    }
    assert len(alone) == 15
    for groups, accuracy in alone.items():
        for one in groups:
            if len(groups) > 1:
                assert accuracy >= alone[groups - {one}] - 0.003

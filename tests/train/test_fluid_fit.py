"""Training on data that can be learned in a second."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny

from shoal.errors import UsageError
from shoal_train import models, seeding
from shoal_train.fluid import FluidModel, make_fluid
from shoal_train.fluid.fit import (
    _drawn,
    _losses,
    accuracies,
    block_masks,
    fit,
)
from shoal_train.fluid.groups import KINDS
from shoal_train.fluid.turns import POLICIES, turns
from shoal_train.loop import Fitted, Settings
from shoal_train.material import Material, steps_per_epoch

DATA = tiny.data(train=320, test=80)
SETTINGS = Settings(epochs=3, seed=7, batch=16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More cost time with networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def material() -> Material:
    images, labels = torch.from_numpy(DATA.train.images.copy()), torch.from_numpy(DATA.train.labels)
    return Material(images[:256], labels[:256], images[256:], labels[256:])


def untrained(kind: str = "fluid", groups: int = 2) -> FluidModel:
    with seeding.reproducible(7, "weights"):
        module = models.ConvNet(models.normalise_for(DATA), DATA.shape, 4, (8, 8))
        return make_fluid(module, torch.ones(1, *DATA.shape), groups, kind)  # type: ignore[arg-type]


def train(model: FluidModel, policy: str, settings: Settings = SETTINGS, **options: Any) -> Fitted:
    some = material()
    planned = turns(
        model.sub_networks,
        model.division,
        model.kind,
        policy,  # type: ignore[arg-type]
        settings.epochs * steps_per_epoch(len(some.labels), settings.batch),
    )
    with seeding.reproducible(7, "training"):
        return fit(model, some, settings, planned, **options)


def right(model: FluidModel) -> dict[str, float]:
    test = torch.from_numpy(DATA.test.images.copy()), torch.from_numpy(DATA.test.labels)
    return accuracies(model, *test, model.sub_networks)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_teaches_every_sub_network(policy: str) -> None:
    model = untrained()
    fitted = train(model, policy, replace(SETTINGS, epochs=4 if policy == "joint" else 8))
    found = right(model)
    # A quarter has two channels and is alone with them; chance is 0.25.
    assert min(found.values()) > 0.35, found
    assert min(found["L50"], found["U50"]) > 0.5, found
    assert found["C100"] > 0.75
    assert fitted.rows[-1]["accuracy"].keys() == found.keys()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fluid"])
def test_each_baseline_learns_what_it_trains(kind: str) -> None:
    model = untrained(kind)
    train(model, "joint", replace(SETTINGS, epochs=6))
    found = right(model)
    assert found["C100"] > 0.6
    if kind != "static":
        assert found["L50"] > 0.6


def test_any_subset_of_three_devices_learns() -> None:
    model = untrained(groups=3)
    train(model, "joint", replace(SETTINGS, epochs=4))
    found = right(model)
    assert len(found) == 7
    assert min(found.values()) > 0.4, found


def test_of_many_subsets_some_are_drawn_in_each_step() -> None:
    model = untrained(groups=5)
    train(model, "joint", replace(SETTINGS, epochs=4))
    found = right(model)
    assert len(found) == 31
    assert sum(found.values()) / len(found) > 0.5
    assert found["1+2+3+4+5"] > 0.7


def test_of_very_many_subsets_every_size_is_drawn_as_often() -> None:
    model = untrained(groups=8)
    (turn,) = turns(model.sub_networks, model.division, "fluid", "joint", 10)
    chance = torch.Generator().manual_seed(1)
    counts = Counter(len(sub.groups) for _ in range(600) for sub in _drawn(turn, chance))
    assert (counts[8], counts[1]) == (600, 600)
    for size in range(2, 8):
        assert 150 < counts[size] < 250


def test_the_full_network_counts_most_where_there_are_many() -> None:
    """What a step changes of the full network's own values: its share of the whole gradient."""
    some = material()
    norms = []
    for by_size in (False, True):
        model = untrained(groups=8)
        (turn,) = turns(model.sub_networks, model.division, "fluid", "joint", 10)
        subs = (model.full, model.of((0, 1)), model.of((2, 3, 4)), model.of((5,)))
        images = some.images.float() / 255
        _losses(model, images, some.labels, replace(turn, by_size=by_size), subs)
        norms.append(
            [
                sum(float(v.grad.norm()) for n, v in model.named_parameters() if key in n)
                for key in ("scale.values.of8", "scale.values.of1")
            ]
        )
    (full, small), (full_weighed, small_weighed) = norms
    assert full_weighed > 1.5 * full
    assert small_weighed < 0.5 * small


def test_frozen_blocks_stay_as_they_are() -> None:
    model = untrained("dynamic")
    planned = turns(model.sub_networks, model.division, "dynamic", "joint", 64)
    last = planned[-1]
    before = {name: layer.weight.clone() for name, layer in mixes(model).items()}
    fit(model, material(), replace(SETTINGS, epochs=1), [last])
    masks = block_masks(model, last)
    for name, layer in mixes(model).items():
        changed = layer.weight != before[name]
        assert not changed[masks[name] == 0].any(), name
        assert changed[masks[name] == 1].any(), name


def mixes(model: FluidModel) -> dict[str, Any]:
    return {name: layer for name, layer in model.layers.items() if hasattr(layer, "rows")}


class PowerCut(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("policy", ["joint", "nested"])
def test_an_interrupted_training_ends_as_if_nothing_had_happened(
    policy: str, tmp_path: Path
) -> None:
    whole = untrained()
    expected = train(whole, policy)

    class CutsPower:
        def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            if epoch == 3:
                raise PowerCut

        def on_epoch(self, row: dict[str, Any]) -> None: ...

    with pytest.raises(PowerCut):
        train(untrained(), policy, folder=tmp_path, watcher=CutsPower())
    resumed = untrained()
    fitted = train(resumed, policy, folder=tmp_path)
    assert same(whole.state_dict(), resumed.state_dict())
    assert fitted.best_epoch == expected.best_epoch
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in expected.rows]


def test_another_training_does_not_go_on_from_its_checkpoint(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    train(untrained(), "joint", settings, folder=tmp_path, purpose="one")
    with pytest.raises(UsageError, match="another training"):
        train(untrained(), "joint", settings, folder=tmp_path, purpose="two")


def test_a_network_with_other_layers_does_not_go_on_from_its_checkpoint(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    train(untrained(groups=2), "joint", settings, folder=tmp_path)
    with pytest.raises(UsageError, match=r"other layers.*--out"):
        train(untrained(groups=3), "joint", settings, folder=tmp_path)


def test_the_weights_with_the_best_minimum_over_the_targets_are_kept() -> None:
    model = untrained()
    fitted = train(model, "joint", targets=dict.fromkeys(("U25",), 0.0))
    rows = fitted.rows
    least = [min(row["accuracy"].values()) for row in rows]
    assert fitted.best_score == pytest.approx(max(least), abs=1e-4)
    assert least[fitted.best_epoch - 1] == max(least)


def test_it_stops_when_nothing_gets_better() -> None:
    fitted = train(untrained(), "joint", replace(SETTINGS, epochs=30, patience=2))
    assert fitted.stopped_early
    assert len(fitted.rows) < 30

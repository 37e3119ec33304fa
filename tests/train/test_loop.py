"""The training loop on data that can be learned in a second."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny

from shoal.errors import UsageError
from shoal_train import models, seeding
from shoal_train.augment import shift
from shoal_train.loop import Fitted, Settings, Task, cross_entropy, fit
from shoal_train.metrics import predict, top1

DATA = tiny.data(train=480, test=80)


def untrained(seed: int = 7) -> Any:
    with seeding.reproducible(seed, "weights"):
        normalise = models.normalise_for(DATA)
        return models.ResNet(normalise, len(DATA.classes), widths=(4, 8), blocks=(1, 1))


def task(**changes: Any) -> Task:
    test_images = torch.from_numpy(DATA.test.images.copy())
    test_labels = torch.from_numpy(DATA.test.labels)
    fields: dict[str, Any] = {
        "images": torch.from_numpy(DATA.train.images.copy()),
        "labels": torch.from_numpy(DATA.train.labels),
        "objective": cross_entropy,
        "score": lambda module: top1(predict(module, test_images), test_labels),
    }
    return Task(**{**fields, **changes})


def trained(settings: Settings, folder: Path | None = None, **changes: Any) -> tuple[Fitted, Any]:
    module = untrained(settings.seed)
    with seeding.reproducible(settings.seed):
        return fit(module, task(**changes), settings, folder=folder), module.state_dict()


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def test_one_epoch_is_enough_to_learn_to_tell_surfaces_apart() -> None:
    before = task().score(untrained())
    fitted, _ = trained(Settings(epochs=1, seed=7, batch=16))
    assert before < 0.5
    assert fitted.best_score > 0.95
    assert fitted.rows[0]["loss"] < 1.0


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    settings = Settings(epochs=2, seed=7, batch=32)
    first, weights = trained(settings, augment=shift)
    second, again = trained(settings, augment=shift)
    assert same(weights, again)
    assert [row["loss"] for row in first.rows] == [row["loss"] for row in second.rows]
    _, others = trained(Settings(epochs=2, seed=8, batch=32), augment=shift)
    assert not same(weights, others)


class PowerCut(Exception):  # noqa: N818
    pass


def test_an_interrupted_training_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    settings = Settings(epochs=3, seed=7, batch=32)
    whole, expected = trained(settings, augment=shift)

    class CutsPower:
        def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            if (epoch, step) == (3, 2):
                raise PowerCut

        def on_epoch(self, row: dict[str, Any]) -> None: ...

    with pytest.raises(PowerCut), seeding.reproducible(7):
        fit(untrained(), task(augment=shift), settings, folder=tmp_path, watcher=CutsPower())
    log = tmp_path / "train.jsonl"
    assert len(log.read_text().splitlines()) == 2
    resumed, weights = trained(settings, tmp_path, augment=shift)
    assert same(weights, expected)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole.rows]
    assert resumed.best_epoch == whole.best_epoch


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    settings = Settings(epochs=1, seed=7, batch=64)
    first, weights = trained(settings, tmp_path)

    def never(*_: object) -> Any:
        raise AssertionError("trained again")

    second, again = trained(settings, tmp_path, objective=never)
    assert second.rows == first.rows
    assert same(weights, again)


def test_other_settings_do_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    trained(Settings(epochs=1, seed=7, batch=64), tmp_path)
    with pytest.raises(UsageError, match="another training"):
        trained(Settings(epochs=2, seed=7, batch=64), tmp_path)


def test_it_stops_when_nothing_gets_better_and_keeps_the_best_weights() -> None:
    scores = iter([0.2, 0.6, 0.5, 0.6, 0.9])
    seen: list[dict[str, Any]] = []

    def score(module: Any) -> float:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return next(scores)

    fitted, weights = trained(Settings(epochs=5, seed=7, batch=64, patience=2), score=score)
    assert fitted.stopped_early
    assert (len(fitted.rows), fitted.best_epoch, fitted.best_score) == (4, 2, 0.6)
    assert same(weights, seen[1])


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    steps: list[tuple[int, int]] = []

    class Counts:
        def on_step(self, epoch: int, step: int, steps_: int, loss: float) -> None:
            steps.append((step, steps_))

        def on_epoch(self, row: dict[str, Any]) -> None: ...

    few = task(images=task().images[:10], labels=task().labels[:10])
    fit(untrained(), few, Settings(epochs=1, seed=7, batch=64), watcher=Counts())
    assert steps == [(1, 1)]


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": 1, "batch": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Settings(seed=7, **wrong)

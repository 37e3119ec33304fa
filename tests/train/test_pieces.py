"""The small pieces of a training: chance, augmentation, metrics, checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shoal.errors import DataError, StoreError, UsageError
from shoal_train import augment, checkpoint, metrics, seeding


def test_chance_depends_on_seed_and_purpose_alone() -> None:
    def draw(seed: int, *purpose: str | int) -> list[float]:
        return torch.rand(3, generator=seeding.generator(seed, *purpose)).tolist()

    assert draw(7, "epoch", 1) == draw(7, "epoch", 1)
    assert len({tuple(d) for d in (draw(7, "a"), draw(8, "a"), draw(7, "b"), draw(7, "a", 1))}) == 4
    assert seeding.derive(7, "weights") == 6795307509797646295  # on every machine, for ever


def test_reproducible_leaves_the_callers_chance_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeding.reproducible(7):
        first = torch.rand(2)
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    with seeding.reproducible(7):
        assert torch.equal(torch.rand(2), first)


def test_a_shift_moves_an_image_and_fills_with_zeros() -> None:
    images = torch.full((64, 2, 5, 4), 9, dtype=torch.uint8)
    images[:, :, 2, 2] = 200
    moved = augment.shift(images, seeding.generator(1), by=2)
    assert moved.shape == images.shape
    assert moved.dtype == images.dtype
    places = set()
    for image in moved:
        assert torch.equal(image[0], image[1])  # channels move together
        ((down, right),) = (image[0] == 200).nonzero().tolist() or [(9, 9)]
        places.add((down, right))
        if (down, right) != (9, 9):
            expected = torch.zeros(5, 4, dtype=torch.uint8)
            rows = slice(max(0, down - 2), 5 + min(0, down - 2))
            columns = slice(max(0, right - 2), 4 + min(0, right - 2))
            expected[rows, columns] = 9
            expected[down, right] = 200
            assert torch.equal(image[0], expected)
    assert len(places) > 12


def test_mirror_turns_about_half_of_the_images() -> None:
    images = torch.arange(200 * 6, dtype=torch.int32).reshape(200, 1, 2, 3)
    mirrored = augment.mirror(images, seeding.generator(1))
    turned = 0
    for before, after in zip(images, mirrored, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))
        turned += not torch.equal(after, before)
    assert 70 < turned < 130


def test_digits_are_never_mirrored() -> None:
    assert augment.usual(mirrored=False) is augment.shift
    assert augment.usual(mirrored=True) is not augment.shift


def test_metrics_count_what_is_right() -> None:
    logits = torch.eye(3)[torch.tensor([0, 1, 1, 2])]
    labels = torch.tensor([0, 1, 2, 2])
    assert metrics.top1(logits, labels) == 0.75
    assert metrics.by_class(logits, labels, 4) == [1.0, 1.0, 0.5, 0.0]


def test_predict_uses_the_evaluation_mode_and_gives_back_the_old_one() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9)).train()
    images = torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)
    assert torch.equal(metrics.predict(module, images), torch.ones(3, 4))
    assert module.training


def made(purpose: str = "p") -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(
        purpose, {"w": torch.ones(3)}, {"state": {0: {}}}, {"w": torch.zeros(3)}, [0.5], [{"a": 1}]
    )


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(made(), path)
    found = checkpoint.load(path, "p")
    assert torch.equal(found.module["w"], torch.ones(3))
    assert (found.scores, found.rows) == ([0.5], [{"a": 1}])
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    checkpoint.save(made("seed 7"), tmp_path / "c.pt")
    with pytest.raises(UsageError, match=r"another training \(seed 7\).*seed 8.*--out"):
        checkpoint.load(tmp_path / "c.pt", "seed 8")


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("code was run",)


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "fields", "code"])
def test_a_damaged_or_hostile_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(made(), path)
    whole = path.read_bytes()
    if kind == "fields":
        torch.save({"purpose": "p"}, path)
    elif kind == "code":
        torch.save({"purpose": "p", "module": Evil()}, path)
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "truncated": whole[:-200]}[kind])
    with pytest.raises(DataError, match="delete it"):
        checkpoint.load(path, "p")
    assert "code was run" not in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        checkpoint.save(made(), tmp_path / "nowhere" / "c.pt")

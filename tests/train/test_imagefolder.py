"""Images in folders."""

from pathlib import Path

import numpy as np
import pytest

from shoal.errors import DataError
from shoal_train import imagefolder
from shoal_train.datasets import load

Image = pytest.importorskip("PIL.Image", reason="image files need Pillow")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for half in ("train", "test"):
        save(tmp_path / half / "cats" / "b.png", np.full((6, 5), 2))
        save(tmp_path / half / "cats" / "a.png", np.full((6, 5), 1))
        save(tmp_path / half / "dogs" / "c.png", np.full((6, 5), 3))
        (tmp_path / half / "dogs" / "notes.txt").write_text("not an image")
    return tmp_path


def test_classes_are_folders_and_images_are_sorted(root: Path) -> None:
    data = load(f"imagefolder:{root}")
    assert data.classes == ("cats", "dogs")
    assert data.shape == (1, 6, 5)
    assert data.train.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.train.labels.tolist() == [0, 0, 1]


def test_one_coloured_image_makes_all_of_them_rgb(root: Path) -> None:
    pixels = np.zeros((6, 5, 3))
    pixels[..., 2] = 9
    save(root / "test" / "dogs" / "d.png", pixels)
    data = load(f"imagefolder:{root}")
    assert data.shape == (3, 6, 5)
    assert data.test.images[-1].max((1, 2)).tolist() == [0, 0, 9]
    assert data.train.images[0].max((1, 2)).tolist() == [1, 1, 1]


def test_sixteen_bits_are_not_white(root: Path) -> None:
    for half in ("train", "test"):
        for name in ("cats/a.png", "cats/b.png", "dogs/c.png"):
            pixels = np.full((6, 5), 0x5A00, np.uint16)
            Image.fromarray(pixels).save(root / half / name)
    data = load(f"imagefolder:{root}")
    assert data.shape == (1, 6, 5)
    assert set(data.train.images.flat) == {0x5A}


def test_photos_are_turned_upright_and_have_the_size_that_they_have_then(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.full((5, 6), 7, np.uint8)).save(root / "train" / "cats" / "a.png", exif=exif)
    data = load(f"imagefolder:{root}")
    assert data.shape == (1, 6, 5)
    assert data.train.images[0].max() == 7


def test_images_of_another_size_are_refused(root: Path) -> None:
    save(root / "train" / "dogs" / "d.png", np.zeros((6, 7)))
    with pytest.raises(DataError, match=r"d.png is 7x6, but .*a.png is 5x6"):
        load(f"imagefolder:{root}")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello"])
def test_a_damaged_image_is_named(root: Path, content: bytes) -> None:
    (root / "train" / "dogs" / "d.png").write_bytes(content)
    with pytest.raises(DataError, match=r"d.png"):
        load(f"imagefolder:{root}")


def test_a_truncated_image_is_named(root: Path) -> None:
    save(root / "train" / "dogs" / "d.png", np.random.default_rng(0).integers(0, 255, (6, 5)))
    path = root / "train" / "dogs" / "d.png"
    path.write_bytes(path.read_bytes()[:-25])
    with pytest.raises(DataError, match=r"d.png"):
        load(f"imagefolder:{root}")


def test_sizes_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagefolder, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="needs 180 bytes"):
        load(f"imagefolder:{root}")
    monkeypatch.setattr(imagefolder, "MAX_SIDE", 5)
    with pytest.raises(DataError, match="5x6; at most 5"):
        load(f"imagefolder:{root}")


def test_a_wrong_layout_says_which_is_right(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train/CLASS"):
        load(f"imagefolder:{tmp_path / 'nowhere'}")
    (root / "test" / "birds").mkdir()
    with pytest.raises(DataError, match="same classes"):
        load(f"imagefolder:{root}")

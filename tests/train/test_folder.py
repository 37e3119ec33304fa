"""Images in a folder of one's own."""

from pathlib import Path

import numpy as np
import pytest

from shoal.errors import DataError
from shoal.model.spec import TensorSpec
from shoal_train import folder
from shoal_train.folder import fed, read_folder

FLOATS = TensorSpec("x", "float32", (None, 1, 4, 4))
BYTES = TensorSpec("x", "uint8", (None, 1, 4, 4))


def test_inputs_come_with_their_classes_where_folders_are_called_by_them(tmp_path: Path) -> None:
    for label in (0, 2):
        (tmp_path / str(label)).mkdir()
        np.save(tmp_path / str(label) / "some.npy", np.full((3, 1, 4, 4), label, np.float32))
    inputs, labels = read_folder(str(tmp_path), FLOATS)
    assert inputs.shape == (6, 1, 4, 4)
    assert labels is not None
    assert sorted(labels.tolist()) == [0, 0, 0, 2, 2, 2]
    assert inputs[:, 0, 0, 0].tolist() == labels.tolist()


def test_without_such_folders_no_class_is_known(tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", np.zeros((2, 1, 4, 4), np.uint8))
    inputs, labels = read_folder(str(tmp_path), BYTES)
    assert (len(inputs), labels) == (2, None)


def test_no_more_is_read_than_memory_is_meant_for(tmp_path: Path, monkeypatch) -> None:
    np.save(tmp_path / "some.npy", np.zeros((3, 1, 4, 4), np.float32))
    monkeypatch.setattr(folder, "MAX_BYTES", 3 * 16 * 4)
    assert len(read_folder(str(tmp_path), FLOATS).inputs) == 3
    monkeypatch.setattr(folder, "MAX_BYTES", 3 * 16 * 4 - 1)
    with pytest.raises(DataError, match=r"needs 192 B decoded; 191 B are read"):
        read_folder(str(tmp_path), FLOATS)


def test_bytes_are_from_0_to_1_where_floats_are_taken() -> None:
    images = np.array([0, 51, 255], np.uint8)
    assert fed(images, FLOATS).tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert fed(images, FLOATS).dtype == np.float32
    assert fed(images, BYTES) is images
    assert fed(images / np.float32(2), FLOATS).tolist() == [0.0, 25.5, 127.5]

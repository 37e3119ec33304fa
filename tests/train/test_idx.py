"""Reading idx files: what is right is read, and nothing that is wrong gets through."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.train.tiny import idx

from shoal.errors import DataError
from shoal_train import idx as idx_module
from shoal_train.idx import read_idx


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file.gz"
    path.write_bytes(gzip.compress(content))
    return path


def test_an_array_comes_back_with_the_hash_of_its_content(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    content = idx(array)
    got, sha256 = read_idx(write(tmp_path, content))
    np.testing.assert_array_equal(got, array)
    assert sha256 == hashlib.sha256(content).hexdigest()


def test_the_hash_does_not_depend_on_how_it_was_compressed(tmp_path: Path) -> None:
    content = idx(np.zeros((4, 9), np.uint8))
    (tmp_path / "a").write_bytes(gzip.compress(content, 1))
    (tmp_path / "b").write_bytes(gzip.compress(content, 9, mtime=0))
    assert read_idx(tmp_path / "a")[1] == read_idx(tmp_path / "b")[1]


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an idx file"),
        (b"\0\0", "not an idx file"),
        (b"PK\3\4" + GOOD, "not an idx file"),
        (b"\0\0\x0d\2" + GOOD[4:], "only unsigned bytes"),
        (b"\0\0\x08\0" + GOOD[4:], "claims 0 dimensions"),
        (b"\0\0\x08\xff" + GOOD[4:], "claims 255 dimensions"),
        (GOOD[:9], "within its header"),
        (GOOD[:-1], "11 of 12 bytes"),
        (GOOD + b"x", "goes on after"),
        (b"\0\0\x08\2" + b"\xff" * 8, "at most"),
        (b"\0\0\x08\1" + (1 << 29).to_bytes(4, "big") + b"abc", "3 of 536870912 bytes"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_idx(write(tmp_path, content))


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    whole = path.read_bytes()
    for damaged in (
        whole[:-9],
        whole[:20],
        b"not gzip at all",
        whole[:15] + b"\xff\xff" + whole[17:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            read_idx(path)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_idx(tmp_path / "nowhere.gz")


def test_a_bomb_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx_module, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="at most 1000"):
        read_idx(write(tmp_path, idx(np.zeros((1001,), np.uint8))))
    with pytest.raises(DataError, match="goes on after"):
        read_idx(write(tmp_path, idx(np.zeros((1000,), np.uint8)) + bytes(10_000_000)))


@given(some.binary(max_size=200), some.booleans())
def test_random_bytes_are_an_array_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, compressed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.gz"
    path.write_bytes(gzip.compress(content) if compressed else content)
    try:
        array, _ = read_idx(path)
    except DataError:
        return
    assert array.nbytes <= len(content)

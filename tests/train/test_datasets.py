"""Data sets: where they are looked for, and that they are what they claim to be."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.train import tiny

from shoal.errors import DataError, UsageError
from shoal_train import datasets
from shoal_train.datasets import DataSet, Split, balanced, load
from shoal_train.sources import SOURCES


@pytest.fixture
def no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither ``SHOAL_DATA`` nor anything in the cache, which is in the folder returned."""
    monkeypatch.delenv("SHOAL_DATA", raising=False)
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_shoal_data_is_looked_in_first(
    tmp_path: Path, no_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "surfaces", tiny.write_source(tmp_path / "mine" / "surfaces"))
    monkeypatch.setenv("SHOAL_DATA", str(tmp_path / "mine"))
    data = load("surfaces")
    expected = tiny.data()
    np.testing.assert_array_equal(data.train.images, expected.train.images)
    np.testing.assert_array_equal(data.test.labels, expected.test.labels)
    assert data.shape == (1, 12, 12)
    assert data.sha256 == expected.sha256
    assert not no_folders.exists()


def test_what_is_nowhere_is_downloaded_once(
    server: tuple[Path, str], no_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    monkeypatch.setitem(SOURCES, "surfaces", tiny.write_source(folder, url))
    said: list[str] = []
    first = load("surfaces", said.append)
    assert [line.rpartition("/")[2] for line in said] == [
        "train-images.gz",
        "train-labels.gz",
        "test-images.gz",
        "test-labels.gz",
    ]
    again = load("surfaces", said.append)
    assert len(said) == 4
    assert again.sha256 == first.sha256
    assert sorted(path.name for path in (no_folders / "data" / "surfaces").iterdir()) == sorted(
        file.name for file in SOURCES["surfaces"].files
    )


@pytest.mark.parametrize(
    ("sabotage", "says"),
    [
        (lambda path: path.write_bytes(gzip.compress(tiny.idx(np.zeros(80)))), "not the published"),
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "damaged"),
        (lambda path: path.write_bytes(bytes(300_000)), "larger than 200000"),
        (lambda path: path.unlink(), "cannot download"),
    ],
)
def test_a_wrong_download_is_refused_and_not_kept(
    server: tuple[Path, str],
    no_folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: object,
    says: str,
) -> None:
    folder, url = server
    monkeypatch.setitem(SOURCES, "surfaces", tiny.write_source(folder, url))
    assert callable(sabotage)
    sabotage(folder / "test-labels.gz")
    with pytest.raises(DataError, match=says):
        load("surfaces")
    kept = sorted(path.name for path in (no_folders / "data" / "surfaces").iterdir())
    assert kept == ["test-images.gz", "train-images.gz", "train-labels.gz"]


def test_without_a_network_the_error_says_what_to_do(
    tmp_path: Path, no_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny.write_source(tmp_path / "elsewhere", "http://127.0.0.1:9/")
    monkeypatch.setitem(SOURCES, "surfaces", source)
    with pytest.raises(DataError, match=r"Connection refused.*SHOAL_DATA"):
        load("surfaces")


def test_a_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, no_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "surfaces"
    monkeypatch.setitem(SOURCES, "surfaces", tiny.write_source(folder))
    monkeypatch.setenv("SHOAL_DATA", str(tmp_path))
    (folder / "train-labels.gz").write_bytes(gzip.compress(tiny.idx(np.zeros(240))))
    with pytest.raises(DataError, match=r"train-labels.gz is not the published file"):
        load("surfaces")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'imagenet'.*fashion-mnist, mnist or imagefolder:PATH"):
        load("imagenet")


def test_the_known_sources_are_fetched_by_https_and_named_by_hash() -> None:
    for source in SOURCES.values():
        assert source.url.startswith("https://")
        assert source.url.endswith("/")
        assert len({file.sha256 for file in source.files}) == 4
        assert len(source.classes) == 10


def test_labels_that_name_no_class_are_refused() -> None:
    good = tiny.data()
    bad = Split(good.test.images, good.test.labels + 1)
    with pytest.raises(DataError, match="label 4 is not one of the 4"):
        DataSet("bad", good.train, bad, good.classes, "", "", False)


def test_images_and_labels_must_belong_together() -> None:
    with pytest.raises(DataError, match="do not belong together"):
        Split(np.zeros((3, 1, 4, 4), np.uint8), np.zeros(4, np.int64))


def test_the_hash_of_a_data_set_sees_every_label() -> None:
    data = tiny.data()
    before = data.sha256
    data.test.labels[0] = (data.test.labels[0] + 1) % 4
    assert data.sha256 != before


@given(some.lists(some.integers(0, 3), min_size=1, max_size=60), some.integers(1, 5))
def test_balanced_takes_the_first_of_each_class(labels: list[int], per_class: int) -> None:
    array = np.array(labels, np.int64)
    chosen = balanced(array, 4, per_class)
    assert list(chosen) == sorted(set(chosen))
    for number in range(4):
        places = [place for place, label in enumerate(labels) if label == number]
        assert [place for place in chosen if labels[place] == number] == places[:per_class]


def test_find_prefers_the_cache_to_a_download(
    no_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny.write_source(no_folders / "data" / "surfaces", "http://127.0.0.1:9/")
    assert datasets.find(source, lambda text: None) == no_folders / "data" / "surfaces"

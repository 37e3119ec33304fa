"""The bench of codecs: what it measures is there, and its pictures are like photos."""

import numpy as np
import pytest

from shoal.errors import DataError
from shoal_benchmarks import photos
from shoal_benchmarks.codec import activations as activation_rows
from shoal_benchmarks.codec import pictures
from shoal_benchmarks.codec.activations import activations, cuts, images
from shoal_benchmarks.codec.measured import measure
from shoal_benchmarks.subjects import FASHION, load


def test_what_a_codec_does_to_an_array_is_told():
    array = np.linspace(-1, 1, 4096, dtype=np.float32).reshape(1, -1)
    found = measure(array, "quant:8,none", least_ms=0)
    assert found.ratio == pytest.approx(4, rel=0.01)
    assert found.max_error == pytest.approx(1 / 510, rel=0.01)
    assert found.rms_error < found.max_error
    assert found.pack_mb_s > 0
    assert found.unpack_mb_s > 0


def test_pairs_of_codecs_are_compared_on_the_same_arrays():
    arrays = [np.indices((1, 4, 32, 32)).sum(axis=0, dtype=np.float32) for _ in range(2)]
    made = {
        codec: [measure(array, codec, least_ms=0) for array in arrays]
        for codec in ("quant:5", "quant:5,predict", "half")
    }
    found = list(activation_rows.compared("here", made))
    assert [row.name.split(",")[0] for row in found] == ["bytes", "time to pack", "time to unpack"]
    assert found[0].value < 1, "a slope is told by its differences in fewer bytes"


def test_images_are_packed_exactly_and_as_jpeg(monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.delenv(photos.VARIABLE, raising=False)
    monkeypatch.setattr(pictures, "QUICK_IMAGES", 2)
    found = {row.name: row.value for row in pictures.rows(quick=True)}
    about = "image of 150,528 bytes"
    assert found[f"rms error, png, {about}"] == 0
    assert found[f"rms error, jpeg:90, {about}"] > 0
    assert found[f"bytes, jpeg:90, {about}"] < found[f"bytes, jpeg:97,full, {about}"]
    ratio = found["bytes of lossless:predict over those of png"]
    ours, png = (found[f"bytes, {codec}, {about}"] for codec in ("lossless:predict", "png"))
    assert ratio == pytest.approx(ours / png, rel=0.1)


def test_cuts_are_spread_over_the_network_and_one_tensor_crosses_each():
    network = load(FASHION)
    found = cuts(network, (0.1, 0.12, 0.9))
    assert 2 <= len(found) <= 3
    for cut in found:
        (array,) = activations(network, cut, images(FASHION, 1))
        assert array.shape[1:] == tuple(cut.tensors[0].shape[1:])
        assert array.dtype == np.float32


def test_without_a_folder_pictures_are_made_up_and_it_is_said(monkeypatch):
    monkeypatch.delenv(photos.VARIABLE, raising=False)
    first, second = photos.photos(2)
    assert first.shape == (1, 3, 224, 224)
    assert not np.array_equal(first, second)
    neighbours = np.abs(np.diff(first.astype(int), axis=3)).mean()
    assert neighbours < first.std() / 2, "photos are smooth (noise would give more than 1)"
    assert "made-up" in photos.source()


def test_a_folder_of_photos_is_used_evenly(monkeypatch, tmp_path):
    image = pytest.importorskip("PIL.Image")
    for grey in range(6):
        image.new("L", (32, 32), 40 * grey).save(tmp_path / f"{grey}.png")
    monkeypatch.setenv(photos.VARIABLE, str(tmp_path))
    assert [int(photo.mean()) for photo in photos.photos(3)] == [0, 80, 160]
    assert str(tmp_path) in photos.source()


def test_a_folder_without_photos_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(photos.VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="no photo"):
        list(photos.photos(1))

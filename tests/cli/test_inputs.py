from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shoal.cli.inputs import from_arrays, from_images, from_samples
from shoal.errors import InputError, UsageError
from shoal.model.spec import TensorSpec


def playbook(**inputs: tuple[int | None, ...]) -> Any:
    specs = [TensorSpec(name, "float32", shape) for name, shape in inputs.items()]
    return SimpleNamespace(inputs=tuple(specs), network="somebodys")


PHOTOS = playbook(image=(None, 3, 224, 224))


def photo(path: Path) -> Path:
    Image.new("RGB", (300, 260), "teal").save(path)
    return path


def test_samples_come_with_their_labels_and_are_repeated_as_needed() -> None:
    cases = from_samples("fashion-resnet", 503)
    found = list(cases.cases)
    assert cases.count == len(found) == 503
    assert found[500].source == "fashion-resnet 0"
    np.testing.assert_array_equal(found[500].feeds["image"], found[0].feeds["image"])
    assert found[502].label == found[2].label
    assert cases.classes[0].lower().startswith("t-shirt")


def test_all_samples_without_a_count() -> None:
    assert from_samples("fashion-resnet", None).count == 500


def test_a_network_without_samples() -> None:
    with pytest.raises(UsageError, match="zoo"):
        from_samples("nothing", None)


def test_photos_of_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            photo(tmp_path / name)
    cases = from_images([tmp_path], PHOTOS, None)
    found = list(cases.cases)
    assert [case.source for case in found] == ["a.jpg", "b.png"]
    assert found[0].feeds["image"].shape == (1, 3, 224, 224)


def test_not_more_photos_than_wanted(tmp_path: Path) -> None:
    files = [photo(tmp_path / f"{k}.png") for k in range(3)]
    assert len(list(from_images(files, PHOTOS, 2).cases)) == 2


def test_photos_for_a_network_that_takes_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input"):
        from_images([photo(tmp_path / "a.png")], playbook(x=(None, 1, 28, 28)), None)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image"):
        from_images([tmp_path], PHOTOS, None)


def test_a_file_that_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"a\.png"):
        list(from_images([tmp_path / "a.png"], PHOTOS, None).cases)


def test_a_batch_is_asked_image_by_image(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    cases = from_arrays([tmp_path / "x.npy"], playbook(x=(None, 2)), 2)
    found = list(cases.cases)
    assert [case.source for case in found] == ["x.npy[0]", "x.npy[1]"]
    assert found[1].feeds["x"].tolist() == [[2.0, 3.0]]


def test_several_inputs_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 1), "f4"), b=np.ones((2, 1), "f4"))
    (first, _) = from_arrays([tmp_path / "x.npz"], playbook(a=(None, 1), b=(None, 1)), None).cases
    assert set(first.feeds) == {"a", "b"}


def test_one_array_for_a_network_with_several_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1)))
    with pytest.raises(InputError, match="a, b"):
        from_arrays([tmp_path / "x.npy"], playbook(a=(None, 1), b=(None, 1)), None)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"no array \(not an .npy or .npz file\)"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 1)), None)


def test_arrays_that_do_not_fit_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2), "f4"))
    with pytest.raises(InputError, match=r"x\.npy: .*shape \[1, 2\], the network takes"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 5)), None)
    np.save(tmp_path / "x.npy", np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"x\.npy: .*dtype float64"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 5)), None)

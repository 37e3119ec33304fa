import io
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shoal.cli import inputs
from shoal.cli.inputs import Case, Unread, from_arrays, from_images, from_samples, requests_in
from shoal.errors import InputError, MissingExtraError, UsageError
from shoal.model.spec import TensorSpec


def playbook(dtype: str = "float32", **inputs: tuple[int | None, ...]) -> Any:
    specs = [TensorSpec(name, dtype, shape) for name, shape in inputs.items()]
    return SimpleNamespace(inputs=tuple(specs), network="somebodys", preprocessing=None)


PHOTOS = playbook("uint8", image=(None, 3, 224, 224))
CLOTHES = playbook(image=(None, 1, 28, 28))


def fed(path: Path, book: Any, count: int | None = None) -> list[Case]:
    """The cases in a file of arrays, all of which can be read."""
    cases = from_arrays([path], book, count)
    found = list(cases.cases)
    assert len(found) == cases.count
    return [case for case in found if isinstance(case, Case)]


def photo(path: Path) -> Path:
    Image.new("RGB", (300, 260), "teal").save(path)
    return path


def test_samples_come_with_their_labels_and_are_repeated_as_needed() -> None:
    cases = from_samples("fashion-resnet", CLOTHES, 503)
    found = [case for case in cases.cases if isinstance(case, Case)]
    assert cases.count == len(found) == 503
    assert found[500].source == "fashion-resnet 0"
    np.testing.assert_array_equal(found[500].feeds["image"], found[0].feeds["image"])
    assert found[502].label == found[2].label
    assert cases.classes[0].lower().startswith("t-shirt")


def test_all_samples_without_a_count() -> None:
    assert from_samples("fashion-resnet", CLOTHES, None).count == 500


def test_a_network_without_samples() -> None:
    with pytest.raises(UsageError, match="zoo"):
        from_samples("nothing", CLOTHES, None)


def test_samples_that_the_network_does_not_take() -> None:
    with pytest.raises(InputError, match=r"--samples fashion-resnet: .*shape"):
        from_samples("fashion-resnet", playbook(image=(None, 3, 28, 28)), None)


def test_photos_of_a_folder_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.png", "a.jpg", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            photo(tmp_path / name)
    cases = from_images([tmp_path], PHOTOS, None)
    found = [case for case in cases.cases if isinstance(case, Case)]
    assert [case.source for case in found] == ["a.jpg", "b.png"]
    assert found[0].feeds["image"].shape == (1, 3, 224, 224)
    assert "1 of 3 entries are not read (notes.txt)" in caplog.text


def test_not_more_photos_than_wanted(tmp_path: Path) -> None:
    files = [photo(tmp_path / f"{k}.png") for k in range(3)]
    assert len(list(from_images(files, PHOTOS, 2).cases)) == 2


def test_photos_for_a_network_that_takes_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input"):
        from_images([photo(tmp_path / "a.png")], playbook(x=(None, 1, 28, 28)), None)


def test_photos_for_a_network_of_several_inputs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"with one input, and .* takes 'a', 'b'; give arrays"):
        from_images([photo(tmp_path / "a.png")], playbook(a=(None, 4), b=(None, 4)), None)


def test_a_pipe_is_no_photo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="no file on a disk"):
        from_images([tmp_path / "a.png"], PHOTOS, None)
    with pytest.raises(InputError, match="no such file"):
        from_images([tmp_path / ("a" * 300)], PHOTOS, None)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image"):
        from_images([tmp_path], PHOTOS, None)


def test_a_photo_that_cannot_be_read_is_a_failure_of_its_own(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no photo")
    photo(tmp_path / "c.png")
    first, second, third = from_images([tmp_path], PHOTOS, None).cases
    assert (first.source, second.source, third.source) == ("a.png", "b.png", "c.png")
    assert isinstance(second, Unread)
    assert isinstance(second.error, InputError)
    assert "b.png" in str(second.error)
    assert isinstance(third, Case)


def test_a_photo_that_is_not_there_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        from_images([photo(tmp_path / "a.png"), tmp_path / "b.png"], PHOTOS, None)


def test_without_pillow_that_is_said_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"shoal\[images\]"):
        from_images([tmp_path], PHOTOS, None)


def test_a_network_that_takes_other_numbers_than_the_bytes_of_photos(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input"):
        from_images([photo(tmp_path / "a.png")], playbook(x=(None, 3, 224, 224)), None)


# -- arrays


def test_a_batch_is_asked_image_by_image(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    found = fed(tmp_path / "x.npy", playbook(x=(None, 2)), 2)
    assert [case.source for case in found] == ["x.npy[0]", "x.npy[1]"]
    assert found[1].feeds["x"].tolist() == [[2.0, 3.0]]
    assert type(found[1].feeds["x"]) is np.ndarray


def test_several_inputs_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 1), "f4"), b=np.ones((2, 1), "f4"))
    first, _ = fed(tmp_path / "x.npz", playbook(a=(None, 1), b=(None, 1)))
    assert set(first.feeds) == {"a", "b"}


@pytest.mark.parametrize("rows", [(5, 1), (1, 5), (4, 5), (5, 0)])
def test_inputs_for_different_numbers_of_requests_are_not_cut_to_the_fewest(
    tmp_path: Path, rows: tuple[int, int]
) -> None:
    a, b = (np.zeros((count, 2), "f4") for count in rows)
    np.savez(tmp_path / "x.npz", a=a, b=b)
    with pytest.raises(InputError, match=r"as many of each|holds nothing"):
        from_arrays([tmp_path / "x.npz"], playbook(a=(None, 2), b=(None, 2)), None)


@pytest.mark.parametrize(
    ("spec", "shape", "requests"),
    [
        ((None, 3), (5, 3), 5),
        ((None, 3), (3,), None),
        ((None, 3), (5, 1, 3), None),
        ((None,), (5,), 5),
        ((1, 3), (5, 3), 5),  # a batch that is fixed to one image
        ((1, 3), (5, 1, 3), 5),
        ((4, 3), (4, 3), 1),  # four images at a time
        ((4, 3), (12, 3), 3),
        ((4, 3), (3, 4, 3), 3),
        ((4, 3), (6, 3), None),
        ((), (), 1),
        ((), (7,), 7),
        ((), (7, 1), None),
        ((None, 3), (0, 3), 0),
    ],
)
def test_for_how_many_requests_an_array_is(
    spec: tuple[int | None, ...], shape: tuple[int, ...], requests: int | None
) -> None:
    assert requests_in(TensorSpec("x", "float32", spec), shape) == requests


def test_inputs_without_a_free_batch_are_given_one_for_each_request(tmp_path: Path) -> None:
    """A number, a batch of two, and anchors, for three requests: nothing is used twice."""
    book = playbook(x=(None, 2), scale=(), pair=(2, 1), anchors=(4, 4))
    arrays = {
        "x": np.arange(6, dtype="f4").reshape(3, 2),
        "scale": np.arange(3, dtype="f4"),
        "pair": np.arange(6, dtype="f4").reshape(6, 1),
        "anchors": np.arange(48, dtype="f4").reshape(3, 4, 4),
    }
    np.savez(tmp_path / "x.npz", **arrays)
    last = fed(tmp_path / "x.npz", book)[2].feeds
    assert {name: array.shape for name, array in last.items()} == {
        "x": (1, 2), "scale": (), "pair": (2, 1), "anchors": (4, 4),
    }  # fmt: skip
    assert last["scale"] == 2
    assert last["pair"].tolist() == [[4], [5]]
    np.savez(tmp_path / "x.npz", **{**arrays, "scale": np.float32(1)})
    with pytest.raises(InputError, match=r"3 of 'x', 1 of 'scale', 3 of 'pair'.*numpy\.repeat"):
        from_arrays([tmp_path / "x.npz"], book, None)


@pytest.mark.parametrize(
    "arrays", [{"a": 1}, {"a": 1, "b": 1, "c": 1}, {"A": 1, "b": 1}, {"arr_0": 1}, {}]
)
def test_what_is_missing_or_too_much_in_a_file_is_said(
    tmp_path: Path, arrays: dict[str, int]
) -> None:
    np.savez(tmp_path / "x.npz", **{name: np.zeros((1, 1), "f4") for name in arrays})
    with pytest.raises(InputError, match=r"the network takes a, b; give exactly these"):
        from_arrays([tmp_path / "x.npz"], playbook(a=(None, 1), b=(None, 1)), None)


def test_one_array_for_a_network_with_several_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1)))
    with pytest.raises(InputError, match="a, b"):
        from_arrays([tmp_path / "x.npy"], playbook(a=(None, 1), b=(None, 1)), None)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"no array \(.*Python objects"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 1)), None)
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no array"):
        from_arrays([tmp_path / "x.npz"], playbook(x=(None, 1)), None)


@pytest.mark.parametrize("dtype", ["float64", ">f4", "int32", "uint8", "float16", "bool"])
def test_no_numbers_are_converted(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5), dtype))
    with pytest.raises(InputError, match=r"x\.npy: 'x' has dtype .*, the network takes float32"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 5)), None)


def test_arrays_that_do_not_fit_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2), "f4"))
    with pytest.raises(InputError, match=r"x\.npy: .*shape \[3, 2\], the network takes"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 5)), None)
    with pytest.raises(InputError, match="add an axis for the images"):
        from_arrays([tmp_path / "x.npy"], playbook(x=(None, 3, 2)), None)


def lying_npy() -> bytes:
    """An array that says to hold a tebibyte."""
    head = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (1 << 37, 2)}
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue() + b"little"


def test_an_array_that_is_smaller_than_it_says(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(lying_npy())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", lying_npy())
    for name in ("x.npy", "x.npz"):
        with pytest.raises(InputError, match=f"{name} holds no array"):
            from_arrays([tmp_path / name], playbook(x=(None, 2)), None)


def test_what_unpacks_to_more_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 100), "f4"))
    assert (tmp_path / "x.npz").stat().st_size < 5000
    assert len(fed(tmp_path / "x.npz", playbook(x=(None, 100)))) == 1000
    monkeypatch.setattr(inputs, "MAX_BYTES", 100_000)
    with pytest.raises(InputError, match="100000 are unpacked at the most"):
        from_arrays([tmp_path / "x.npz"], playbook(x=(None, 100)), None)


def test_what_is_no_array_among_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 1), "f4"))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("notes.txt", "made on a Monday")
    with pytest.raises(InputError, match=r"notes\.txt.* is no array"):
        from_arrays([tmp_path / "x.npz"], playbook(x=(None, 1)), None)


def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.npy"))
    np.save(path, np.zeros((1, 1), "f4"))
    (case,) = fed(path, playbook(x=(None, 1)))
    assert case.source.encode() == "x\N{REPLACEMENT CHARACTER}.npy".encode()

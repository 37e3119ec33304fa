"""What ``shoal run -o`` writes: no answer runs into another, and none is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.cli.outfile import NUMBERS, Outfile, images_axis
from shoal.errors import StoreError
from shoal.model.spec import TensorSpec


def kept(
    path: Path, shapes: dict[str, tuple[int | None, ...]], answers: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    """What is read from the file that these answers make, by number of their input."""
    outfile = Outfile([TensorSpec(name, "float32", shape) for name, shape in shapes.items()])
    for number, outputs in answers.items():
        outfile.add(number, outputs)
    outfile.write(path / "answers.npz")
    with np.load(path / "answers.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def answer(number: int, *shape: int) -> Any:
    """Numbers of which each tells whose it is and where it was."""
    size = int(np.prod(shape))
    return (1000 * number + np.arange(size, dtype=np.float32)).reshape(shape)


def test_rows_of_images_are_joined_as_in_one_batch(tmp_path: Path) -> None:
    found = kept(tmp_path, {"y": (None, 3)}, {k: {"y": answer(k, 1, 3)} for k in range(4)})
    assert found["y"].shape == (4, 3)
    assert found["y"][:, 0].tolist() == [0, 1000, 2000, 3000]
    assert found[NUMBERS].tolist() == [0, 1, 2, 3]


def test_time_comes_first_and_images_second_where_the_network_has_it_so(tmp_path: Path) -> None:
    found = kept(tmp_path, {"y": (5, None, 2)}, {k: {"y": answer(k, 5, 1, 2)} for k in range(3)})
    assert found["y"].shape == (5, 3, 2)
    for k in range(3):
        np.testing.assert_array_equal(found["y"][:, k], answer(k, 5, 2))


@pytest.mark.parametrize("shape", [(100, 4), (None, 4), (None, None), ()])
def test_what_has_no_axis_of_images_gets_one_before_its_own(
    tmp_path: Path, shape: tuple[int | None, ...]
) -> None:
    """Boxes of all images, in fixed or in growing numbers; what relates images to each other; one
    number."""
    each = {k: {"y": answer(k, *(100 if side is None else side for side in shape))} for k in (0, 1)}
    found = kept(tmp_path, {"y": shape}, each)
    assert found["y"].shape == (2, *each[0]["y"].shape)
    np.testing.assert_array_equal(found["y"][1], each[1]["y"])


def test_a_fixed_batch_of_one_is_a_row(tmp_path: Path) -> None:
    found = kept(tmp_path, {"y": (1, 3)}, {k: {"y": answer(k, 1, 3)} for k in range(4)})
    assert found["y"].shape == (4, 3)


def test_a_fixed_batch_of_several_stays_together(tmp_path: Path) -> None:
    found = kept(tmp_path, {"y": (8, 3)}, {k: {"y": answer(k, 8, 3)} for k in range(2)})
    assert found["y"].shape == (2, 8, 3)


def test_answers_of_different_shapes_are_arrays_of_their_own(tmp_path: Path) -> None:
    each = {2: {"y": answer(2, 3, 4)}, 7: {"y": answer(7, 5, 4)}}
    found = kept(tmp_path, {"y": (None, 4)}, each)
    assert set(found) == {"y/2", "y/7", NUMBERS}
    np.testing.assert_array_equal(found["y/7"], each[7]["y"])


def test_an_output_that_some_answers_have_not_is_not_moved_up(tmp_path: Path) -> None:
    """They left by an exit that has the first output only."""
    each = {k: {"y": answer(k, 1, 2), "z": answer(k, 1, 3)} for k in range(3)}
    del each[1]["z"]
    found = kept(tmp_path, {"y": (None, 2), "z": (None, 3)}, each)
    assert found["y"].shape == (3, 2)
    assert {name for name in found if name.startswith("z")} == {"z/0", "z/2"}
    np.testing.assert_array_equal(found["z/2"], each[2]["z"])


def test_failures_leave_a_gap_in_the_numbers(tmp_path: Path) -> None:
    found = kept(tmp_path, {"y": (None, 2)}, {k: {"y": answer(k, 1, 2)} for k in (0, 3, 4)})
    assert found[NUMBERS].tolist() == [0, 3, 4]
    assert found["y"][:, 0].tolist() == [0, 3000, 4000]


def test_no_answer_at_all(tmp_path: Path) -> None:
    found = kept(tmp_path, {"y": (None, 2)}, {})
    assert found[NUMBERS].tolist() == []


@pytest.mark.parametrize(
    "name",
    ["file", "arr_0", "args", "allow_pickle", "/output/add:0", "../up", "a b", "x.npy", "ü"],
)
def test_outputs_may_be_called_anything(tmp_path: Path, name: str) -> None:
    found = kept(tmp_path, {name: (None, 2)}, {0: {name: answer(5, 1, 2)}})
    np.testing.assert_array_equal(found[name], answer(5, 1, 2))


def test_an_output_called_as_what_the_file_adds(tmp_path: Path) -> None:
    each = {0: {NUMBERS: answer(5, 1, 2), "y": answer(0, 1, 1), "y/3": answer(9, 1, 1)}}
    each[3] = {NUMBERS: answer(6, 1, 2), "y": answer(3, 2, 1), "y/3": answer(8, 1, 1)}
    found = kept(tmp_path, {"y/3": (None, 1), "y": (None, 1), NUMBERS: (None, 2)}, each)
    assert found[NUMBERS].shape == (2, 2)
    assert found[f"{NUMBERS}'"].tolist() == [0, 3]
    assert found["y/3"].tolist() == [[9000], [8000]]
    np.testing.assert_array_equal(found["y/3'"], answer(3, 2, 1))


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "uint8", "float64"])
def test_any_kind_of_numbers(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1, 1]], dtype)
    found = kept(tmp_path, {"y": (None, 3)}, {0: {"y": array}, 1: {"y": array}})
    assert found["y"].dtype == dtype
    assert found["y"].shape == (2, 3)


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Outfile([]).write(tmp_path / "nowhere" / "answers.npz")


@pytest.mark.parametrize(
    ("spec", "shape", "axis"),
    [
        ((None, 3), (1, 3), 0),
        ((5, None, 2), (5, 1, 2), 1),
        ((2, 3, None), (2, 3, 1), 2),
        ((1, 3), (1, 3), 0),
        ((None, 3), (4, 3), None),
        ((None, None), (1, 1), None),
        ((4, 3), (4, 3), None),
        ((None, 3), (1, 3, 1), None),
        ((), (), None),
    ],
)
def test_where_the_images_are(
    spec: tuple[int | None, ...], shape: tuple[int, ...], axis: int | None
) -> None:
    assert images_axis(TensorSpec("y", "float32", spec), [np.zeros(shape)]) == axis

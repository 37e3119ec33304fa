"""Several requests put together to one, and its answer taken apart."""

import gc
import weakref
from concurrent.futures import Future

import msgspec
import numpy as np
import pytest
from tests.core.toys import one, plan, playbook

from shoal.errors import InputError, RemoteError, UnservedError
from shoal.model.spec import TensorSpec
from shoal.runtime.answer import Answer
from shoal.runtime.together import check_together, images_in, joined, parted, take

FREE = TensorSpec("x", "float32", (None, 2))
FIXED = TensorSpec("y", "float32", (1, 2))


def answer(rows):
    made = {"y": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)}
    return Answer(made, "plan", (), 5.0, degraded=True, why="because")


def test_images_are_counted_where_their_number_is_free():
    assert images_in((FREE,), {"x": np.zeros((3, 2))}) == 3
    assert images_in((FIXED,), {"y": np.zeros((1, 2))}) == 1
    assert images_in((FIXED, FREE), {"y": np.zeros((1, 2)), "x": np.zeros((4, 2))}) == 4


def test_only_images_that_do_not_depend_on_each_other_may_be_put_together():
    book = playbook(plan("any", one(0, 12, "a")))
    check_together(1, book)
    with pytest.raises(InputError, match="depends on the others"):
        check_together(2, book)
    check_together(2, msgspec.structs.replace(book, stacks=True))


def test_what_is_joined_is_a_copy():
    given = np.ones((1, 2), np.float32)
    whole = joined([{"x": given}, {"x": 2 * given}])["x"]
    given[:] = 7
    np.testing.assert_array_equal(whole, [[1, 1], [2, 2]])


def test_each_gets_its_rows_and_all_else_of_the_answer():
    whole = Future()
    parts = parted(whole, [1, 3, 2])
    whole.set_result(answer(6))
    rows = [part.result(1).outputs["y"] for part in parts]
    assert [len(each) for each in rows] == [1, 3, 2]
    np.testing.assert_array_equal(np.concatenate(rows), answer(6).outputs["y"])
    assert all(part.result().why == "because" for part in parts)
    assert all(each.base is None for each in rows)


def test_who_keeps_one_keeps_no_other():
    whole = Future()
    first, second = parted(whole, [1, 1])
    whole.set_result(answer(2))
    rows = [each.result().outputs["y"] for each in (whole, second)]
    others = [weakref.ref(each) for each in (whole, second, *rows)]
    gc.disable()
    try:
        del whole, second, rows
        assert [other() for other in others] == [None] * 4
    finally:
        gc.enable()
    assert first.result() is not None


@pytest.mark.parametrize("shape", [(), (4, 1), (1, 2)])
def test_an_answer_that_has_not_a_row_for_each_image_is_an_error_for_all(shape):
    whole = Future()
    parts = parted(whole, [1, 1])
    whole.set_result(Answer({"y": np.zeros(shape, np.float32)}, "plan", (), 5.0))
    for part in parts:
        with pytest.raises(RemoteError, match="2 images were put together, and output 'y'"):
            part.result(1)


def test_all_fail_with_the_whole():
    whole = Future()
    parts = parted(whole, [1, 1])
    whole.set_exception(UnservedError("nobody is there"))
    assert [str(part.exception(1)) for part in parts] == ["nobody is there"] * 2


def test_the_whole_is_given_up_when_nobody_waits_for_it_any_more():
    whole = Future()
    first, second = parted(whole, [1, 1])
    first.cancel()
    assert not whole.cancelled()
    second.cancel()
    assert whole.cancelled()


def test_who_waits_no_more_takes_nothing_from_the_others():
    whole = Future()
    first, second = parted(whole, [1, 1])
    first.cancel()
    whole.set_result(answer(2))
    np.testing.assert_array_equal(second.result(1).outputs["y"], [[2, 3]])


def test_what_a_source_gave_before_it_failed_is_taken():
    def source():
        yield from range(5)
        raise OSError("unplugged")

    camera = source()
    assert take(camera, 3) == ([0, 1, 2], None)
    taken, error = take(camera, 3)
    assert taken == [3, 4]
    assert str(error) == "unplugged"
    assert take(camera, 3) == ([], None)

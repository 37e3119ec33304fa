"""Made-up images confirm what was reasoned, or contradict it."""

import numpy as np
import pytest

from shoal.errors import ModelError
from shoal.model.beside import contradiction


class Net:
    """Stands for a session: a function of inputs."""

    def __init__(self, function):
        self.function = function

    def says(self, tolerance=1e-4, dtype=np.float32):
        def probe(seed):
            random = np.random.default_rng(seed)
            drawn = random.standard_normal((1, 50))
            return {"x": (10 * drawn).astype(dtype)}

        run = lambda session, feeds: {"y": session.function(feeds["x"])}  # noqa: E731
        return contradiction(self, run, probe, tolerance)


def test_what_treats_images_one_by_one_is_confirmed():
    assert Net(np.tanh).says() is None
    assert Net(lambda x: x.argmax(axis=1)).says() is None
    assert Net(lambda x: x // 2).says(dtype=np.int64) is None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(axis=0),
        lambda x: x * len(x),
        lambda x: x + np.arange(len(x), dtype=np.float32)[:, None],
        lambda x: np.where(np.abs(x).max() > 5000, x / 2, x),
        lambda x: np.where(np.abs(x).max() < 1, x / 2, x),
        lambda x: np.where((x == 0).all(axis=1).any(), x + 1, x),
        lambda x: np.round(x / np.abs(x).max() * 127) * np.abs(x).max(),
        lambda x: np.sort(x, axis=0),
        lambda x: (x == x.max(axis=0)).astype(np.int64),
    ],
)
def test_what_takes_them_together_is_contradicted_at_some_scale(function):
    assert "is another when it is beside others" in Net(function).says()


def test_an_output_without_a_row_for_each_is_contradicted():
    assert "has not a row for each image" in Net(lambda x: x[:1]).says()
    assert "has not a row for each image" in Net(lambda x: x.sum()).says()


def test_where_the_engine_fails_nothing_is_confirmed():
    """A table that is looked up by what an image holds, say."""

    def table(x):
        if np.abs(x).max() > 1000:
            raise ModelError("index 1234 is not within the table")
        return x

    assert "cannot be run together: index 1234" in Net(table).says()


def test_whole_numbers_are_tried_as_they_are():
    assert Net(lambda x: x - x.max(axis=0)).says(dtype=np.int64) is not None


def test_where_nothing_finite_comes_of_an_image_alone_nothing_is_told():
    def loud(x):
        with np.errstate(all="ignore"):
            return x / np.float32(0) * len(x)

    assert Net(loud).says() is None


def test_a_hundredth_of_places_may_be_others_where_the_rounding_decides():
    def few(x):
        made = (x > 0).astype(np.int64).repeat(4, axis=1)
        made[:, 0] += len(x) > 1
        return made

    assert Net(few).says() is None
    assert Net(lambda x: (x > 0).astype(np.int64) + (len(x) > 1)).says() is not None

"""Codecs: found by name, and raw bytes that mean the same on every machine."""

import subprocess
import sys

import numpy as np
import pytest

from shoal.codec.codecs import Raw, find_codec
from shoal.errors import FrameError, UsageError


def there_and_back(array):
    data, meta = Raw().encode(array)
    native = array.dtype.newbyteorder("=")
    return Raw().decode(memoryview(bytes(data)), meta, native, array.shape)


def test_raw_bytes_are_little_endian_whatever_the_machine_made_them():
    big = np.arange(6, dtype=">f4").reshape(2, 3)
    data, _ = Raw().encode(big)
    assert bytes(data) == np.arange(6, dtype="<f4").tobytes()
    np.testing.assert_array_equal(there_and_back(big), big)


def test_a_contiguous_array_is_not_copied():
    array = np.zeros((3, 4), np.float32)
    data, _ = Raw().encode(array)
    array[0, 0] = 7.0
    assert np.frombuffer(data, np.float32)[0] == 7.0


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(4, 6)[::2, ::-3],
        np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),
        np.zeros((0, 5), np.float16),
        np.array(3.5),
        np.array([[True], [False]]),
    ],
    ids=["strided", "transposed", "empty", "scalar", "truth values"],
)
def test_any_layout_comes_back_as_it_was(array):
    back = there_and_back(array)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("size", [0, 11, 13])
def test_raw_bytes_of_another_size_are_refused(size):
    with pytest.raises(FrameError, match=f"12 bytes came with {size}"):
        Raw().decode(memoryview(bytes(size)), b"", np.dtype("float32"), (3,))


def test_truth_values_are_zero_or_one():
    with pytest.raises(FrameError, match="truth values"):
        Raw().decode(memoryview(b"\x00\x01\x02"), b"", np.dtype("bool"), (3,))


def test_an_unknown_codec_is_named_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"no codec is called 'zip'; there are: .*raw"):
        find_codec("zip:9")


def test_a_codec_is_made_once_per_setting():
    assert find_codec("raw") is find_codec("raw")


def test_libraries_are_loaded_when_they_are_needed():
    """A worker that packs nothing, or checks a playbook, keeps its memory small."""
    script = (
        "import sys; from shoal.codec.named import check; import shoal.codec.frame;"
        "check('quant:4,lz4;a=jpeg;b=lossless:zstd:3');"
        "print([name for name in ('zstandard', 'lz4', 'PIL') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert shown.stdout.strip() == b"[]"

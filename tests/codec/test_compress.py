"""Compressors: smaller or not at all, and never more than the receiver foretold."""

import contextlib
import threading

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shoal.codec.compress import COMPRESSORS, compressor
from shoal.errors import FrameError

SMOOTH = memoryview(bytes(range(100)) * 40)
WORKING = [compressor("lz4", 1), compressor("zstd", 1), compressor("zstd", 19)]
working = pytest.mark.parametrize("one", WORKING, ids=["lz4", "zstd", "zstd:19"])


@working
def test_what_is_compressed_is_smaller_and_comes_back(one):
    small = one.compress(SMOOTH)
    assert len(small) < len(SMOOTH) / 10
    assert bytes(one.expand(memoryview(small), len(SMOOTH))) == bytes(SMOOTH)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_what_would_not_get_smaller_is_left_alone(name):
    noise = np.random.default_rng(0).bytes(1000)
    assert compressor(name, 1).compress(memoryview(noise)) is None


@working
@pytest.mark.parametrize("off", [-1, 1, -3999, 1 << 40])
def test_a_size_that_differs_from_what_was_foretold_is_refused(one, off):
    small = one.compress(SMOOTH)
    with pytest.raises(FrameError):
        one.expand(memoryview(small), len(SMOOTH) + off)


def test_a_bomb_takes_no_memory():
    """Zstandard's library takes what a frame states, so that is read first."""
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    assert len(bomb) < 10_000
    with pytest.raises(FrameError, match=f"states {1 << 26} bytes in place of 100"):
        compressor("zstd", 1).expand(memoryview(bomb), 100)


def test_a_frame_that_states_no_size_is_refused():
    writer = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(FrameError, match="states -1 bytes"):
        compressor("zstd", 1).expand(memoryview(writer.compress(bytes(100))), 100)


@working
def test_bytes_behind_the_end_are_refused(one):
    small = one.compress(SMOOTH)
    with pytest.raises(FrameError):
        one.expand(memoryview(small + b"more"), len(SMOOTH))


def test_nothing_can_be_expanded_by_the_compressor_that_is_none():
    with pytest.raises(FrameError):
        compressor("none", 1).expand(memoryview(b"abc"), 3)


@given(st.binary(max_size=60), st.integers(1, 200), st.sampled_from(WORKING), st.booleans())
def test_any_bytes_are_expanded_or_refused(data, size, one, begins_well):
    if begins_well:
        data = one.compress(SMOOTH)[: len(data)] + data
    with contextlib.suppress(FrameError):
        assert len(one.expand(memoryview(data), size)) == size


@working
def test_threads_share_a_compressor(one):
    texts = [bytes([number]) * 5000 + bytes(range(256)) for number in range(8)]
    wrong = []

    def work(text):
        for _ in range(50):
            small = one.compress(memoryview(text))
            if bytes(one.expand(memoryview(small), len(text))) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

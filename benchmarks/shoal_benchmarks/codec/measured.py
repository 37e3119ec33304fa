"""One codec on one array."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time_ns

import msgspec
import numpy as np

from shoal.codec.codecs import Array, find_codec
from shoal_benchmarks.measure import quiet_collector

ATTEMPTS_AT_MOST = 200


class Measured(msgspec.Struct, frozen=True):
    """``ratio``: bytes of the array over bytes packed. Errors are relative to the array's range.
    Rates are MB (10^6 bytes of the array) for each second of one core's time."""

    ratio: float
    max_error: float
    rms_error: float
    pack_mb_s: float
    unpack_mb_s: float


def measure(array: Array, codec: str, least_ms: float) -> Measured:
    """Pack and unpack ``array`` over and over, for ``least_ms`` each; the median counts."""
    coder = find_codec(codec)
    data, meta = coder.encode(array)
    packed = memoryview(bytes(data))
    back = coder.decode(packed, meta, array.dtype, array.shape)
    off = (back.astype(np.float64) - array) / (float(np.ptp(array)) or 1.0)
    with quiet_collector():
        pack_ns = _median_ns(lambda: coder.encode(array), least_ms)
        unpack_ns = _median_ns(
            lambda: coder.decode(packed, meta, array.dtype, array.shape), least_ms
        )
    return Measured(
        ratio=array.nbytes / (len(packed) + len(meta)),
        max_error=float(np.abs(off).max()),
        rms_error=float(np.sqrt(np.mean(off * off))),
        pack_mb_s=array.nbytes / pack_ns * 1e3,
        unpack_mb_s=array.nbytes / unpack_ns * 1e3,
    )


def _median_ns(work: Callable[[], object], least_ms: float) -> float:
    work()
    times = [_ns(work)]
    while sum(times) < least_ms * 1e6 and len(times) < ATTEMPTS_AT_MOST:
        times.append(_ns(work))
    return max(float(np.median(times)), 1.0)


def _ns(work: Callable[[], object]) -> int:
    start = thread_time_ns()
    work()
    return thread_time_ns() - start

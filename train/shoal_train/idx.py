"""The idx format of the MNIST family: a small header, then bytes.

Format: two zero bytes, a type code (8: unsigned byte, the only one read here), the number of
dimensions, each dimension as a big-endian 32-bit number, then the values in row-major order
(Y. LeCun, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shoal.errors import DataError

MAX_BYTES = 1 << 30
"""No larger array is read: 20 times what the MNIST family needs."""
MAX_DIMENSIONS = 4
UNSIGNED_BYTE = 8


def read_idx(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Read a gzip-compressed idx file of unsigned bytes.

    Returns the array and the SHA-256 of the uncompressed content: the same file compressed by
    another program has another hash, its content has not. Memory is taken only as bytes arrive,
    and never more than the header announces.

    Raises ``DataError`` if the file cannot be read, is not idx, is damaged or too large.
    """
    try:
        with gzip.open(path, "rb") as file:
            return _read(file, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}): delete it and get it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _read(file: gzip.GzipFile | BinaryIO, path: Path) -> tuple[NDArray[np.uint8], str]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(f"{path} is not an idx file: it must start with two zero bytes")
    if start[2] != UNSIGNED_BYTE:
        raise DataError(f"{path} holds values of type {start[2]}; only unsigned bytes (8) are read")
    if not 1 <= start[3] <= MAX_DIMENSIONS:
        raise DataError(f"{path} claims {start[3]} dimensions; 1 to {MAX_DIMENSIONS} are read")
    sizes = file.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise DataError(f"{path} is truncated: it ends within its header")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    count = math.prod(shape)
    if count > MAX_BYTES:
        raise DataError(f"{path} claims {count} bytes; at most {MAX_BYTES} are read")
    content = file.read(count)
    if len(content) < count:
        raise DataError(f"{path} is truncated: {len(content)} of {count} bytes are there")
    if file.read(1):
        raise DataError(f"{path} is damaged: it goes on after the {count} bytes that it announces")
    digest = hashlib.sha256(start + sizes)
    digest.update(content)
    return np.frombuffer(content, np.uint8).reshape(shape), digest.hexdigest()

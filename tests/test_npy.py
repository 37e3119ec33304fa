"""Files of arrays that hold anything else."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from shoal import npy
from shoal.errors import InputError

WELL = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def saved(head: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head.encode() + b"\n"


def test_an_array_is_read(tmp_path):
    (tmp_path / "x.npy").write_bytes(saved(WELL) + bytes(24))
    assert np.array_equal(npy.load(tmp_path / "x.npy"), np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"PK\x03\x04 no more",
        saved(WELL),
        saved(WELL.replace("2, 3", "1000000000000, 784")),
        saved(WELL.replace("2, 3", "9" * 30 + ",")),
        saved(WELL.replace("2, 3", "-1,")),
        saved(WELL.replace("<f4", "O")),
        saved(WELL.replace("<f4", "zz")),
        saved(WELL.replace("<f4", "<U99999999")),
        saved("(" * 80),
        saved("[" * 9000),
    ],
    ids=repr,
)
def test_what_is_damaged_is_named(tmp_path, held):
    (tmp_path / "x.npy").write_bytes(held)
    with pytest.raises(InputError, match=r"x\.npy holds no array .* write it with numpy.save"):
        npy.load(tmp_path / "x.npy")


def test_several_arrays_are_not_one(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(InputError, match=r"it is an \.npz file"):
        npy.load(tmp_path / "x.npz")

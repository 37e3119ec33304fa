"""The description of a tensor: its name, dtype and shape."""

from __future__ import annotations

import msgspec


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named tensor. ``dtype`` is a NumPy name; ``None`` in ``shape`` is a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

"""The description of a tensor: its name, dtype and shape."""

from __future__ import annotations

import msgspec


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named tensor. ``dtype`` is a NumPy name; ``None`` in ``shape`` is a free dimension.
    ``finite``: an input of it holds numbers only. Else NaN and infinity are meant, where a value is
    missing, or masked."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    finite: bool = True

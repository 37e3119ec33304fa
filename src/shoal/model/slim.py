"""A model without the data of its weights, which stay where they lie in its bytes.

The protobuf library copies all it reads, and each look at a field copies it again. So the large
tensors of a model (initializers, and what ``Constant`` nodes hold) are replaced, before it is
parsed, by ones that name their place in the model's own bytes as external data does.
Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from shoal.errors import ModelFileError
from shoal.model import limits
from shoal.model.dtypes import is_sized, size_bytes
from shoal.model.wire import encoded, fields, numbers_in

_LEAST_BYTES = 4096
"""Smaller tensors stay in the model."""

_GRAPH, _NODE, _OP_TYPE = 7, 1, 4
_WAYS: Mapping[int, Any] = {_GRAPH: {5: {}, _NODE: {5: {5: {}}}}}
"""The fields that lead to a tensor: those of a graph's initializers, and of its nodes' attributes.
"""
_DIMS, _DATA_TYPE, _RAW, _EXTERNAL, _LOCATION = 1, 2, 9, 13, 14
_TYPED = {4: 1, 10: 11}
"""Fields whose packed elements are the raw data of one type: float_data, double_data."""


def slim(data: bytes, name: str) -> bytes:
    """The model with its large tensors as external data at the location ``name``, whose bytes are
    ``data``. What is no well-formed model comes back as it is: who parses it says why."""
    view = memoryview(data)
    try:
        if sum(number == _GRAPH for number, *_ in fields(view)) != 1:
            return data  # several would be merged
        return _slimmed(view, 0, len(view), _WAYS, name)
    except ModelFileError:
        return data


def _slimmed(data: memoryview, start: int, end: int, ways: Mapping[int, Any], name: str) -> bytes:
    """A message with the large tensors behind ``ways`` replaced."""
    pieces: list[bytes | memoryview] = []
    for number, value, begin, stop in fields(data, start, end):
        changed = None
        if number in ways and not isinstance(value, int) and len(value) >= _LEAST_BYTES:
            at = stop - len(value)
            if not ways[number]:
                changed = _tensor(number, data, at, stop, name)
            elif number != _NODE or _is_constant(value):
                changed = encoded(number, _slimmed(data, at, stop, ways[number], name))
        pieces.append(data[begin:stop] if changed is None else changed)
    return b"".join(pieces)


def _is_constant(node: memoryview) -> bool:
    kinds: list[object] = [value for number, value, *_ in fields(node) if number == _OP_TYPE]
    return kinds == [b"Constant"]


def _tensor(number: int, data: memoryview, start: int, end: int, name: str) -> bytes | None:
    """A tensor that names the place of its data; None where it stays as it is: it is small, it is
    not of one piece, or something is wrong with it."""
    found = list(fields(data, start, end))
    held = [each for each in found if each[0] == _RAW or each[0] in _TYPED]
    types = [value for field, value, *_ in found if field == _DATA_TYPE]
    outside = any(each[0] in (_EXTERNAL, _LOCATION) for each in found)
    if len(held) != 1 or len(types) != 1 or outside:
        return None
    ((kind, content, _, stop),), (data_type,) = held, types
    if isinstance(content, int) or not isinstance(data_type, int) or len(content) < _LEAST_BYTES:
        return None
    dims = [dim for field, value, *_ in found if field == _DIMS for dim in numbers_in(value)]
    if data_type != _TYPED.get(kind, data_type) or not is_sized(data_type):
        return None
    if len(dims) > limits.RANK:  # their product could take hours
        return None
    if size_bytes(data_type, math.prod(dims)) != len(content):
        return None
    entries = {"location": name, "offset": str(stop - len(content)), "length": str(len(content))}
    return encoded(
        number,
        b"".join(
            [
                *(data[begin:stop] for field, _, begin, stop in found if field != kind),
                *(
                    encoded(_EXTERNAL, encoded(1, key.encode()) + encoded(2, value.encode()))
                    for key, value in entries.items()
                ),
                encoded(_LOCATION, 1),
            ]
        ),
    )

"""A model without the data of its weights, which stay where they lie in its bytes.

The protobuf library copies all it reads, and each look at a field copies it again. So the large
tensors of a model (initializers, and what ``Constant`` nodes hold) are replaced, before it is
parsed, by ones that name their place in the model's own bytes as external data does.
Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from shoal.errors import ModelFileError
from shoal.model import limits
from shoal.model.dtypes import is_sized, size_bytes
from shoal.model.wire import encoded, varint

_LEAST_BYTES = 4096
"""Smaller tensors stay in the model."""

_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_OP_TYPE, _ATTRIBUTE, _TENSOR = 4, 5, 5
_DIMS, _DATA_TYPE, _RAW, _EXTERNAL, _LOCATION = 1, 2, 9, 13, 14
_TYPED = {4: 1, 10: 11}
"""Fields whose packed elements are the raw data of one type: float_data, double_data."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field in ``data``: all of it from ``begin`` to ``end``, its content from ``start``."""

    number: int
    begin: int
    start: int
    end: int
    value: int | None
    """Of a varint; None for what has a length."""


def slim(data: bytes, name: str) -> bytes:
    """The model with its large tensors as external data at the location ``name``, whose bytes are
    ``data``. What is no well-formed model comes back as it is: who parses it says why."""
    try:
        return b"".join(_model(data, name))
    except ModelFileError:
        return data


def _model(data: bytes, name: str) -> Iterator[bytes]:
    fields = list(_fields(data, 0, len(data)))
    if sum(field.number == _GRAPH for field in fields) != 1:
        yield data  # several would be merged
        return
    for field in fields:
        if field.number == _GRAPH and field.value is None:
            yield encoded(_GRAPH, b"".join(_graph(data, field, name)))
        else:
            yield data[field.begin : field.end]


def _graph(data: bytes, graph: _Field, name: str) -> Iterator[bytes]:
    for field in _fields(data, graph.start, graph.end):
        changed = None
        if field.value is None and field.end - field.start >= _LEAST_BYTES:
            if field.number == _INITIALIZER:
                changed = _tensor(data, field, name)
            elif field.number == _NODE:
                changed = _constant(data, field, name)
        yield data[field.begin : field.end] if changed is None else changed


def _constant(data: bytes, node: _Field, name: str) -> bytes | None:
    fields = list(_fields(data, node.start, node.end))
    kinds = [data[field.start : field.end] for field in fields if field.number == _OP_TYPE]
    if kinds != [b"Constant"]:
        return None
    return encoded(_NODE, b"".join(_within(data, field, _ATTRIBUTE, name) for field in fields))


def _within(data: bytes, field: _Field, number: int, name: str) -> bytes:
    """An attribute with its tensor replaced; any other field as it is."""
    if field.number != number or field.value is not None:
        return data[field.begin : field.end]
    pieces = []
    for inner in _fields(data, field.start, field.end):
        changed = _tensor(data, inner, name) if inner.number == _TENSOR else None
        pieces.append(data[inner.begin : inner.end] if changed is None else changed)
    return encoded(number, b"".join(pieces))


def _tensor(data: bytes, tensor: _Field, name: str) -> bytes | None:
    """A tensor that names the place of its data; None where it stays as it is: it is small, it is
    not of one piece, or something is wrong with it."""
    if tensor.value is not None:
        return None
    fields = list(_fields(data, tensor.start, tensor.end))
    numbers = [field.number for field in fields]
    held = [field for field in fields if field.number == _RAW or field.number in _TYPED]
    if len(held) != 1 or held[0].value is not None or numbers.count(_DATA_TYPE) != 1:
        return None
    if _EXTERNAL in numbers or _LOCATION in numbers:
        return None
    (place,) = held
    data_type = next(field.value for field in fields if field.number == _DATA_TYPE) or 0
    size = place.end - place.start
    if size < _LEAST_BYTES or data_type != _TYPED.get(place.number, data_type):
        return None
    if not is_sized(data_type) or size_bytes(data_type, _elements(data, fields)) != size:
        return None
    entries = (("location", name), ("offset", str(place.start)), ("length", str(size)))
    return encoded(
        tensor.number,
        b"".join(data[field.begin : field.end] for field in fields if field is not place)
        + b"".join(
            encoded(_EXTERNAL, encoded(1, key.encode()) + encoded(2, value.encode()))
            for key, value in entries
        )
        + encoded(_LOCATION, 1),
    )


def _elements(data: bytes, fields: list[_Field]) -> int:
    """The product of the dimensions, each a field or all in one."""
    dims = []
    for field in fields:
        if field.number == _DIMS:
            at = field.start
            while field.value is None and at < field.end:
                value, at = varint(data, at, field.end)
                dims.append(value)
            if field.value is not None:
                dims.append(field.value)
        if len(dims) > limits.RANK:
            raise ModelFileError("A tensor has too many dimensions.")
    return math.prod(dims)


def _fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    at = start
    while at < end:
        begin = at
        tag, at = varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            first = at
            value, at = varint(data, at, end)
            yield _Field(number, begin, first, at, value)
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = varint(data, at, end)
        if size is None or size > end - at:
            raise ModelFileError("The model is damaged or truncated.")
        yield _Field(number, begin, at, at + size, None)
        at += size

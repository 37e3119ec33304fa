"""What must be known of a part's graph before the engine sees it, read from the raw protobuf.

A worker gets graphs from other machines. It does not load the ``onnx`` package (time, memory), so
this file walks the bytes itself. It finds the weights that are blobs, and refuses what no part of
Shoal holds: sub-graphs, functions, data outside the blobs (a path could name any file).
Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shoal.errors import ModelFileError
from shoal.model import limits
from shoal.model.dtypes import is_sized, size_bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class External:
    """A weight kept outside the graph: its name there, ONNX type, shape and blob hash."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    blob: str

    @property
    def nbytes(self) -> int:
        """Bytes of the weight."""
        elements = 1
        for dim in self.dims:
            elements *= dim
        return size_bytes(self.data_type, elements)


def externals(graph: bytes | memoryview, *, branches: bool = False) -> list[External]:
    """The weights of the serialized model ``graph`` that are blobs. ``branches``: it may hold
    sub-graphs, as no part does, but a network as this machine's own user has it.

    Raises :class:`ModelFileError` for bytes that are damaged, too long, or hold what a part
    must not hold.
    """
    view = memoryview(graph)
    if len(view) > limits.GRAPH_BYTES:
        raise ModelFileError(
            f"The graph of a part has {len(view)} bytes; at most {limits.GRAPH_BYTES} are allowed."
        )
    found: list[External] = []
    graphs = 0
    for field, value, _, _ in fields(view):
        if field == 7:
            graphs += 1
            found.extend(_graph(_message(value), branches))
        elif field in (20, 25):
            raise ModelFileError("A part holds functions or training data, which no part may.")
    if sum(external.nbytes for external in found) > limits.TOTAL_WEIGHT_BYTES:
        raise ModelFileError(f"A part has more than {limits.TOTAL_WEIGHT_BYTES} bytes of weights.")
    if graphs != 1:
        raise ModelFileError("These bytes are not the graph of a part: get the part again.")
    return found


def _graph(view: memoryview, branches: bool) -> Iterator[External]:
    nodes = 0
    for field, value, _, _ in fields(view):
        if field == 1:
            nodes += 1
            if nodes > limits.NODES:
                raise ModelFileError(f"A part has more than {limits.NODES} nodes.")
            _check_node(_message(value), branches)
        elif field == 5:
            external = _weight(_message(value))
            if external is not None:
                yield external
        elif field == 15:
            raise ModelFileError("A part holds a sparse weight, which no part may.")


def _check_node(view: memoryview, branches: bool) -> None:
    for field, value, _, _ in fields(view):
        if field == 5:
            for key, inner, _, _ in fields(_message(value)):
                if key in (6, 11) and not branches:
                    raise ModelFileError("A part holds a sub-graph (If, Loop, Scan); none may.")
                if key in (22, 23):
                    raise ModelFileError("A part holds a sparse tensor, which no part may.")
                if key in (5, 10) and _weight(_message(inner)) is not None:
                    raise ModelFileError("A part keeps an attribute outside its graph; none may.")


def _weight(view: memoryview) -> External | None:
    name, data_type, is_external = "", 0, False
    dims: list[int] = []
    entries: dict[str, str] = {}
    for field, value, _, _ in fields(view):
        if field == 1:
            dims.extend(numbers_in(value))
            if len(dims) > limits.RANK:
                raise ModelFileError(f"A weight has more than {limits.RANK} dimensions.")
        elif field == 2:
            data_type = _number(value)
        elif field == 8:
            name = _text(value)
        elif field == 13:
            key, entry = _entry(_message(value))
            entries[key] = entry
        elif field == 14:
            is_external = _number(value) != 0
    if not is_external and not entries:
        return None
    blob = entries.get("location", "")
    if set(entries) != {"location"} or not is_hash(blob):
        raise ModelFileError(
            f"Weight {name!r} names data at {blob!r}; only the hash of a blob is allowed there."
        )
    if not name or not is_sized(data_type) or any(not 0 <= dim < 2**40 for dim in dims):
        raise ModelFileError(f"Weight {name!r} of a part has no usable name, type or shape.")
    external = External(name, data_type, tuple(dims), blob)
    if external.nbytes > limits.TENSOR_BYTES:
        raise ModelFileError(f"Weight {name!r} is larger than {limits.TENSOR_BYTES} bytes.")
    return external


def is_hash(text: str) -> bool:
    """Whether ``text`` is a SHA-256 in lower-case hexadecimal digits."""
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _entry(view: memoryview) -> tuple[str, str]:
    key, entry = "", ""
    for field, value, _, _ in fields(view):
        if field == 1:
            key = _text(value)
        elif field == 2:
            entry = _text(value)
    return key, entry


def fields(
    data: memoryview, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int | memoryview, int, int]]:
    """The fields of a message that lies from ``start`` to ``end``: the number of each, its value
    (the bytes of what is no varint), and where all of it begins and ends."""
    at, end = start, len(data) if end is None else end
    while at < end:
        begin = at
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at, end)
            yield tag >> 3, value, begin, at
            continue
        if kind == _BYTES:
            size, at = _varint(data, at, end)
        elif kind == _FIXED64:
            size = 8
        elif kind == _FIXED32:
            size = 4
        else:
            raise ModelFileError("The graph of a part is damaged: get the part again.")
        if size > end - at:
            raise ModelFileError("The graph of a part is truncated: get the part again.")
        at += size
        yield tag >> 3, data[at - size : at], begin, at


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """The number of variable length at ``at``, before ``end``, and where it ends."""
    value, shift = 0, 0
    while True:
        if at >= end or shift > 63:
            raise ModelFileError("The graph of a part is damaged: get the part again.")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def numbers_in(value: int | memoryview) -> list[int]:
    """Dimensions in one field: a single one, or several packed."""
    if isinstance(value, int):
        return [value]
    values, at = [], 0
    while at < len(value):
        number, at = _varint(value, at, len(value))
        values.append(number)
        if len(values) > limits.RANK:
            raise ModelFileError(f"A weight has more than {limits.RANK} dimensions.")
    return values


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ModelFileError("The graph of a part is damaged: get the part again.")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ModelFileError("The graph of a part is damaged: get the part again.")
    return value


def _text(value: int | memoryview) -> str:
    try:
        return bytes(_message(value)).decode()
    except UnicodeDecodeError:
        raise ModelFileError("The graph of a part is damaged: get the part again.") from None


def adding_model(elements: int) -> bytes:
    """A serialized model that adds the blob ``w`` to the input ``x``, both float32 vectors."""

    def text(field: int, value: str) -> bytes:
        return encoded(field, value.encode())

    node = text(1, "x") + text(1, "w") + text(2, "y") + text(4, "Add")
    place = text(1, "location") + text(2, "0" * 64)
    weight = (
        encoded(1, elements) + encoded(2, 1) + text(8, "w") + encoded(13, place) + encoded(14, 1)
    )
    shape = encoded(1, encoded(1, elements))
    kind = encoded(2, encoded(1, encoded(1, 1) + encoded(2, shape)))
    ends = encoded(11, text(1, "x") + kind) + encoded(12, text(1, "y") + kind)
    graph = encoded(1, node) + text(2, "add") + encoded(5, weight) + ends
    return encoded(1, 8) + encoded(7, graph) + encoded(8, encoded(2, 13))


def encoded(number: int, value: int | bytes) -> bytes:
    """A field of a message."""
    if isinstance(value, int):
        return _packed(number << 3 | _VARINT) + _packed(value)
    return _packed(number << 3 | _BYTES) + _packed(len(value)) + value


def _packed(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])

"""What a user may set of a strategy (``--NAME VALUE``, or a keyword of ``shoal.plan``)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, get_args

import msgspec

from shoal.errors import PlanError

KINDS: Mapping[object, tuple[str, str]] = {
    int: ("a whole number", "4"),
    float: ("a number", "0.5"),
    str: ("a text", "TEXT"),
}
"""What values are called, by their type, and how one is written."""


class Options(msgspec.Struct, frozen=True):
    """The options of a strategy: a subclass has a field with a default for each.

    Its ``__post_init__`` raises PlanError for what makes no sense, which the user so hears before
    anything is measured.
    """


def flag(name: str) -> str:
    """How an option is written on the command line."""
    return f"--{name.replace('_', '-')}"


def read_options(kind: type[Options], given: Mapping[str, object], strategy: str) -> Options:
    """The options of a strategy; numbers may be given as text.

    Raises PlanError for one that it has not, and for a value that is none.
    """
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name in given:
        if name not in types:
            raise PlanError(
                f"the strategy {strategy!r} has no option {name!r} "
                f"(it has: {', '.join(types) or 'none'})"
            )
    return kind(**{name: _read(name, value, types[name]) for name, value in given.items()})


def _read(name: str, value: object, kind: Any) -> object:
    given = os.fspath(value) if isinstance(value, PurePath) else value
    try:
        read: object = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError:
        read = math.nan
    if not isinstance(read, float) or math.isfinite(read):
        return read
    what, like = next(
        (KINDS[each] for each in (kind, *get_args(kind)) if each in KINDS),
        ("what it takes", "VALUE"),
    )
    raise PlanError(f"{name}: {value!r} is not {what}; write {flag(name)} {like}")

"""Names of nodes and clusters, and incarnations.

Names become parts of key expressions, so only characters that mean nothing there are allowed.
An incarnation is 16 hexadecimal digits that sort by start: of two nodes under one name, the one
with the greater incarnation started later.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable

from shoal.errors import UsageError

MAX_NAME = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_INCARNATION = re.compile(r"[0-9a-f]{16}", re.ASCII)
_LARGEST = (1 << 64) - 1


def is_name(text: str) -> bool:
    """Whether ``text`` can name a node or a cluster."""
    return _NAME.fullmatch(text) is not None


def is_incarnation(text: str) -> bool:
    """Whether ``text`` is written like an incarnation."""
    return _INCARNATION.fullmatch(text) is not None


def check_name(text: str, what: str = "node") -> str:
    """``text`` itself when it can be a name; UsageError otherwise."""
    if not is_name(text):
        raise UsageError(
            f"{text[:80]!r} cannot name a {what}: use 1 to {MAX_NAME} letters, digits, '-', '_' "
            "or '.', and begin with a letter or digit"
        )
    return text


def new_incarnation(seen: Iterable[str] = ()) -> str:
    """An incarnation later than all of ``seen``, also when the clock went back in between."""
    # Microseconds leave 12 bits for chance, so that two starts in one microsecond differ.
    stamp = (time.time_ns() // 1000 << 12) | (int.from_bytes(os.urandom(2)) & 0xFFF)
    latest = max((int(one, 16) for one in seen), default=0)
    return f"{min(max(stamp, latest + 1), _LARGEST):016x}"

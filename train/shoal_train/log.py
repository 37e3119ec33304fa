"""The log of a training: one JSON object a line, one line an epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from shoal.errors import StoreError

Row: TypeAlias = Mapping[str, Any]


def write_log(path: Path, rows: Sequence[Row]) -> None:
    """Write all ``rows``, replacing what was there: a log never runs ahead of its checkpoint."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error

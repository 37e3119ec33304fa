"""Where Shoal keeps what can be made or downloaded again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder named by ``SHOAL_CACHE``, or ``~/.cache/shoal``. It need not exist yet."""
    named = os.environ.get("SHOAL_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "shoal"

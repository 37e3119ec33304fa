"""Where Shoal keeps what can be made or downloaded again."""

from __future__ import annotations

import os
from pathlib import Path

from shoal.errors import StoreError


def cache_folder() -> Path:
    """The folder named by ``SHOAL_CACHE``, or ``~/.cache/shoal``. It need not exist yet.

    Raises :class:`StoreError` where there is no home folder to put it in.
    """
    named = os.environ.get("SHOAL_CACHE")
    return expanded(named or "~/.cache/shoal")


def expanded(named: str) -> Path:
    """The path that a user named, whose ``~`` is a home folder.

    Raises :class:`StoreError` where there is no such home.
    """
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise StoreError(
            f"{named!r} is nowhere: this user has no home folder (HOME is not set, or the user of "
            "~user is unknown). Set SHOAL_CACHE to a folder that may be written, or name a full "
            "path."
        ) from None


def is_file(path: Path) -> bool:
    """Whether there is a file; False as well where that cannot be found out: for lack of rights,
    or for a path that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """The same for a folder."""
    try:
        return path.is_dir()
    except OSError:
        return False

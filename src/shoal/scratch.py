"""Folders for temporary files, which go when nobody uses them any more, however those ended.

Who uses a folder holds a shared lock on a file in it; the kernel lets go of it with the process,
whoever killed that. Who can have the lock alone is the last. What nobody removed, because all were
killed, is removed when the next folder is made on this machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Self

from shoal.errors import StoreError
from shoal.process import home, tell_of_forks

PREFIX = "shoal-tmp-"
LOCK = ".shoal-in-use"
_MAKING_S = 3600.0
"""Nobody takes as long between a folder and the lock in it."""


class Scratch:
    """A folder that this process uses. In a ``with`` block it is removed at the end of that."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.home = home()
        self._handle: int | None = handle
        tell_of_forks(self)

    @classmethod
    def make(cls, what: str) -> Scratch:
        """A new folder, ``what`` in its name. StoreError when the disk does not allow it."""
        try:
            sweep(Path(tempfile.gettempdir()))
            while True:
                path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what}-"))
                handle = _held(path, os.O_CREAT)
                if handle is not None:
                    return cls(path, handle)
        except OSError as error:
            raise StoreError(
                f"cannot make a folder for temporary files: {error.strerror or error}; make room "
                "there, or set TMPDIR to a folder that you may write"
            ) from error

    @classmethod
    def join(cls, path: Path) -> Scratch:
        """Use a folder that another process made. OSError when it is gone."""
        handle = _held(path, 0)
        if handle is None:
            raise FileNotFoundError(f"the folder {path} was removed")
        return cls(path, handle)

    def remove(self) -> None:
        """Remove the folder, whoever else uses it. Nothing in a child made by fork."""
        if self.home.here and self._handle is not None:
            _remove(self.path)
            self._let_go()

    def leave(self, within_s: float = 0.0) -> None:
        """Use it no more; the last one removes it. Others may take ``within_s`` to end: a process
        that is gone for its children may still be closing its files."""
        if not self.home.here or self._handle is None:
            return
        end = time.monotonic() + within_s
        alone = _alone(self._handle)
        while not alone and time.monotonic() < end:
            time.sleep(0.01)
            alone = _alone(self._handle)  # who has tried holds the lock no more, and bars nobody
        if alone:
            _remove(self.path)
        self._let_go()

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`: the child is no user of it, and a lock that is
        held by two is not let go of by one."""
        self._let_go()

    def _let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def sweep(base: Path) -> None:
    """Remove the folders in ``base`` that are of this user and that nobody uses."""
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            if not (path / LOCK).exists():
                if time.time() - found.st_mtime > _MAKING_S:
                    path.rmdir()  # ours only if it is empty
                continue
            handle = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _alone(handle):
                    _remove(path)
            finally:
                os.close(handle)


def _held(path: Path, how: int) -> int | None:
    """The lock file, open and locked; None where a sweep was quicker."""
    handle = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW | how, 0o600)
    # On file systems without locks nothing is swept, as nobody can be alone.
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)  # a sweep that has it will not have it for long
    if os.fstat(handle).st_nlink > 0:
        return handle
    os.close(handle)
    return None


def _alone(handle: int) -> bool:
    """Whether nobody else holds the lock, which this process then has for itself."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    """The lock goes last: what is left of an interrupted removal is swept another time."""
    for entry in list(path.iterdir()) if path.is_dir() else ():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()
    shutil.rmtree(path, ignore_errors=True)

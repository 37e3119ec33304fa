"""Zenoh's native library, as this process may use it.

Zenoh makes its threads once in a process and keeps them: in a child made by fork they are missing
and cannot be made again. So there the library is loaded once more, from a copy that knows nothing
of the first. That takes 0.1 s and, while the child lives, memory as large as the library (33 MB).
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zenoh as _first

from shoal.errors import MeshError
from shoal.process import tell_of_forks

_NAME = "zenoh.zenoh"


class _Zenoh:
    """The module ``zenoh``, with threads of this process."""

    def __init__(self) -> None:
        self._library: Any = _first

    def __getattr__(self, name: str) -> Any:
        if self._library is None:
            self._library = _load_copy()
        found = self.__dict__[name] = getattr(self._library, name)
        return found

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`."""
        self.__dict__.clear()
        self._library = None


zenoh = _Zenoh()
tell_of_forks(zenoh)


def _load_copy() -> Any:
    found = importlib.util.find_spec(_NAME)
    if found is None or found.origin is None:
        raise MeshError("Zenoh's library is not a file; it cannot be used in a child made by fork")
    loaded = {name: sys.modules[name] for name in list(sys.modules) if name.startswith("zenoh")}
    try:
        with _copied(Path(found.origin)) as path:
            loader = importlib.machinery.ExtensionFileLoader(_NAME, path)
            spec = importlib.machinery.ModuleSpec(_NAME, loader, origin=path)
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
    except (OSError, ImportError) as error:
        raise MeshError(
            f"Zenoh cannot be loaded a second time, as a child made by fork needs it: {error}; "
            "deploy in a process that was not forked from one that had a service"
        ) from error
    finally:
        for name in [name for name in sys.modules if name.startswith("zenoh")]:
            del sys.modules[name]
        sys.modules.update(loaded)
    return module


@contextmanager
def _copied(library: Path) -> Iterator[str]:
    """A copy that is gone when it is loaded: in memory where the system has files there, as the
    folder for temporary files may be one that nothing may be loaded from."""
    in_memory = hasattr(os, "memfd_create")
    handle, path = (
        (os.memfd_create("zenoh"), "") if in_memory else tempfile.mkstemp(suffix=library.suffix)
    )
    try:
        with library.open("rb") as source, open(handle, "wb", closefd=False) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        yield path or f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
        if path:
            Path(path).unlink(missing_ok=True)


def stop_listening(ports: Collection[int]) -> None:
    """Close the sockets of this process that listen at one of ``ports``: a child has copies of
    its parent's, and while it has, nobody can listen there again when the parent is gone."""
    for entry in list(Path("/dev/fd").iterdir()) if ports else ():
        handle = int(entry.name)
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(handle).st_mode) and _listens(handle, ports):
                os.close(handle)


def _listens(handle: int, ports: Collection[int]) -> bool:
    with socket.socket(fileno=os.dup(handle)) as copy:
        return (
            copy.family in (socket.AF_INET, socket.AF_INET6)
            and copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0
            and copy.getsockname()[1] in ports
        )

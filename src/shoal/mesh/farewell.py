"""How a session of Zenoh ends: the others know at once, and who leaves waits for a moment only.

Zenoh's ``close`` waits for every call that is under way, also for one to a frozen peer or to a host
that is switched off (see ``OPEN_MS`` in :mod:`shoal.mesh.session`). So it has a thread of its own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from shoal.mesh.session import Session

if TYPE_CHECKING:
    import zenoh
else:
    from shoal.mesh.native import zenoh

log = logging.getLogger("shoal.mesh")

_lock = threading.Lock()
_leaving: set[threading.Thread] = set()


def bid(session: Session | None, sign: Any, wait_s: float | None) -> None:
    """Take back the sign of life of a session, if there is one, and close it; wait for that no
    longer than stated (None: for as long as it takes). A thread does the rest and then ends; the
    process does not end before it, as the engine would abort it."""
    if session is None:
        return
    thread = threading.Thread(target=_close, args=(session, sign), name="shoal-farewell")
    with _lock:
        _leaving.difference_update([one for one in _leaving if not one.is_alive()])
        if threading.main_thread().is_alive():
            with contextlib.suppress(RuntimeError):  # the system has no more threads
                thread.start()
                _leaving.add(thread)
    if thread.ident is None:  # or the interpreter ends, and waits for no thread any more
        _close(session, sign)
    else:
        thread.join(wait_s)


def wait_for_all() -> bool:
    """Wait until all sessions that were let go are closed, and their ports are free; whether there
    were any."""
    with _lock:
        threads = [thread for thread in _leaving if thread.is_alive()]
    for thread in threads:
        thread.join()
    return bool(threads)


def _close(session: Session, sign: Any) -> None:
    if sign is not None:
        with contextlib.suppress(zenoh.ZError):
            sign.undeclare()
    try:
        session.close()
    except zenoh.ZError as error:
        log.warning("a Zenoh session could not be closed: %s", error)

"""What belongs to a process: settings of one that Shoal has to itself, that it ends with the one
that started it, and what a child made by fork must leave alone.

A child has copies of all objects of its parent, but of its threads only the one that forked. What
stands on other threads (a link, the engine's threads) can neither be used nor taken down there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from shoal.errors import ForkError

SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while another waits for it. With Python's own 5 ms,
one busy thread turned a hop of 0.5 ms into one of 5 ms; with this, into one of 1 ms."""

_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0

_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def own_process() -> None:
    """Prefer short waits over undisturbed turns. Not for a process that belongs to the user: it
    changes how all of its threads take turns."""
    sys.setswitchinterval(SWITCH_S)


def end_with(parent: int, end: Callable[[], None]) -> None:
    """Call ``end``, on a thread of its own, when the process ``parent`` is gone, however it ended:
    it started this one and holds the other end of its standard input."""
    # Where the kernel tells of it (a thread of the parent that ends counts as well): it is not to
    # kill, since ``end`` has something to do, but to wake whoever was stopped (SIGSTOP) by then.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)

    def watch() -> None:
        # It may have been gone before that. And others may hold that end of the pipe too.
        while os.getppid() == parent:
            ready, _, _ = select.select([0], [], [], _LOOK_S)
            if ready and not os.read(0, 4096):
                break
        end()

    threading.Thread(target=watch, name="shoal-parent", daemon=True).start()


class Home:
    """A process, as that in which something was made and which alone can use it."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is that process."""
        return self is _home

    def check(self, what: str) -> None:
        """Raise ForkError in a child of that process; ``what`` was made there."""
        if self is not _home:
            raise ForkError(
                f"{what} was made by process {self._pid}, from which this one ({os.getpid()}) was "
                "forked: its threads and connections stayed there; make a new one in this process "
                "(docs/operations.md: several processes)"
            )


_home = Home()


def home() -> Home:
    """This process."""
    return _home


class Inherited(Protocol):
    """Something that a child made by fork gets a useless copy of."""

    def in_child(self) -> None:
        """Called in each child, before anything else happens there: be quick, wait for nothing
        and nobody, change nothing that the parent sees."""


def tell_of_forks(thing: Inherited) -> None:
    """Have ``thing`` told in each child, as long as it is there."""
    _inherited.add(thing)


def keep_for_ever(thing: object) -> None:
    """Never take ``thing`` down, not even at the end of the process: that would wait for threads
    which a child does not have."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    global _home
    _home = Home()
    for thing in list(_inherited):
        with contextlib.suppress(Exception):  # one that fails must not keep the others from it
            thing.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

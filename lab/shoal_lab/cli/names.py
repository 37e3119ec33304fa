"""Which lab a command means."""

from __future__ import annotations


def only_lab() -> str:
    """The lab that is up, where none is named. LabStateError if there is none, UsageError if
    there are several."""
    from shoal.errors import LabStateError, UsageError
    from shoal_lab import state

    names = [found.name for found in state.labs()]
    if not names:
        raise LabStateError("no lab is up")
    if len(names) > 1:
        raise UsageError(f"several labs are up ({', '.join(names)}); name one (exec: --lab NAME)")
    return names[0]
